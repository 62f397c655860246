/* Reading what the server says: headers, $JS.ACK subjects, acknowledgements, errors. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/bus_nats_int.h"
#include "common/json.h"

bool header_u64(natsMsg *msg, const char *name, uint64_t *out)
{
	const char *value;
	char *end;

	if (natsMsgHeader_Get(msg, name, &value) != NATS_OK || *value < '0' || *value > '9')
		return false;
	*out = strtoull(value, &end, 10);
	return *end == '\0';
}

int msg_status(natsMsg *msg)
{
	const char *value;

	return natsMsgHeader_Get(msg, "Status", &value) == NATS_OK ? atoi(value) : 0;
}

void msg_core(natsMsg *msg, struct bus_msg *out)
{
	const char *stream;

	*out = (struct bus_msg){
	    .subject = natsMsg_GetSubject(msg),
	    .reply = natsMsg_GetReply(msg),
	    .data = natsMsg_GetData(msg),
	    .len = (size_t)natsMsg_GetDataLength(msg),
	    .stream = "",
	};
	if (natsMsgHeader_Get(msg, "Nats-Stream", &stream) != NATS_OK)
		return;
	out->stream = stream;
	header_u64(msg, "Nats-Sequence", &out->seq);
	header_u64(msg, "Nats-Last-Sequence", &out->prev);
}

/* $JS.ACK.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<time ns>.<pending>, or since 2.10 possibly
 * $JS.ACK.<domain>.<account>.<stream>.….<pending>.<random>: ADR-15. */
bool ack_parse(const char *reply, struct ack_info *out)
{
	const char *tokens[16];
	size_t lens[16], n = 0;

	if (!reply || strncmp(reply, "$JS.ACK.", 8) != 0)
		return false;
	for (const char *p = reply; n < 16; p++) {
		size_t len = strcspn(p, ".");

		tokens[n] = p;
		lens[n++] = len;
		p += len;
		if (*p == '\0')
			break;
	}
	if (n != 9 && n < 11)
		return false;

	size_t at = n == 9 ? 2 : 4;
	if (lens[at] >= sizeof(out->stream))
		return false;
	memcpy(out->stream, tokens[at], lens[at]);
	out->stream[lens[at]] = '\0';
	out->delivered = strtoull(tokens[at + 2], NULL, 10);
	out->seq = strtoull(tokens[at + 3], NULL, 10);
	out->consumer_seq = strtoull(tokens[at + 4], NULL, 10);
	out->time_us = (int64_t)(strtoull(tokens[at + 5], NULL, 10) / 1000);
	out->pending = strtoull(tokens[at + 6], NULL, 10);
	return true;
}

int64_t rfc3339_us(const char *text)
{
	struct tm tm = {0};
	const char *p = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	int64_t us = 0, scale = 100000, offset = 0;

	if (!p)
		return 0;
	if (*p == '.')
		for (p++; *p >= '0' && *p <= '9'; p++, scale /= 10)
			us += (*p - '0') * scale;
	if (*p == '+' || *p == '-') {
		int h = 0, m = 0;

		if (sscanf(p + 1, "%2d:%2d", &h, &m) != 2)
			return 0;
		offset = (h * 3600 + m * 60) * (*p == '-' ? -1 : 1);
	} else if (*p != 'Z') {
		return 0;
	}
	return ((int64_t)timegm(&tm) - offset) * 1000000 + us;
}

/* Numbers: nats-server/server/errors.json. */
static enum bus_result code_result(int err_code, int code, const char *text)
{
	switch (err_code) {
	case 10071: /* wrong last sequence */
	case 10164:
		return BUS_CONFLICT;
	case 10077: /* the store refused; the bound is only in the words */
		return strstr(text, "maximum") ? BUS_FULL : BUS_UNAVAILABLE;
	case 10002: /* account resources */
	case 10023:
	case 10028:
	case 10047: /* storage resources */
		return BUS_FULL;
	case 10014: /* consumer */
	case 10037: /* message */
	case 10057:
	case 10059: /* stream */
		return BUS_NOT_FOUND;
	case 10008: /* cluster or system not there yet, no leader, offline */
	case 10009:
	case 10076:
	case 10118:
	case 10119:
		return BUS_UNAVAILABLE;
	default:
		return code == 503 ? BUS_UNAVAILABLE : BUS_REJECTED;
	}
}

enum bus_result api_result(struct nbus *bus, natsMsg *msg, json_t **root, int *err_code)
{
	struct error err;
	json_t *doc = json_parse(natsMsg_GetData(msg), (size_t)natsMsg_GetDataLength(msg), &err);
	const json_t *error = json_object_get(doc, "error");
	enum bus_result result = BUS_OK;

	if (root)
		*root = doc;
	if (err_code)
		*err_code = 0;
	if (!json_is_object(doc)) {
		snprintf(bus->error_text, sizeof(bus->error_text), "answer is no JSON object");
		result = BUS_REJECTED;
	} else if (error) {
		const char *text = json_string_value(json_object_get(error, "description"));
		int number = (int)json_integer_value(json_object_get(error, "err_code"));
		int code = (int)json_integer_value(json_object_get(error, "code"));

		text = text ? text : "";
		result = code_result(number, code, text);
		snprintf(bus->error_text, sizeof(bus->error_text), "%s (%d)", text, number);
		if (err_code)
			*err_code = number;
	}
	if (!root)
		json_decref(doc);
	return result;
}

/* {"stream":"EVENTS", "seq":42} or …,"duplicate": true}: nearly all of them, and read without a
 * parser. */
static bool puback_fast(const char *data, size_t len, struct bus_ack *ack)
{
	static const char head[] = "{\"stream\":\"";
	const char *p = data + sizeof(head) - 1, *end = data + len;
	uint64_t seq = 0;
	int digits = 0;

	if (len < sizeof(head) + 8 || len > 200 || memcmp(data, head, sizeof(head) - 1) != 0)
		return false;
	p = memchr(p, '"', (size_t)(end - p));
	if (!p || end - p < 8 || p[1] != ',')
		return false;
	p += 2;
	p += *p == ' ';
	if (end - p < 7 || memcmp(p, "\"seq\":", 6) != 0)
		return false;
	for (p += 6, p += *p == ' '; p < end && *p >= '0' && *p <= '9' && digits < 19;
	     p++, digits++)
		seq = seq * 10 + (uint64_t)(*p - '0');
	if (digits == 0 || p == end)
		return false;
	if (*p == '}' && p + 1 == end) {
		*ack = (struct bus_ack){BUS_OK, seq, false};
		return true;
	}
	return false;
}

void puback_parse(struct nbus *bus, enum bus_result result, natsMsg *msg, struct bus_ack *ack)
{
	json_t *doc = NULL;

	*ack = (struct bus_ack){result, 0, false};
	if (result != BUS_OK ||
	    puback_fast(natsMsg_GetData(msg), (size_t)natsMsg_GetDataLength(msg), ack))
		return;
	ack->result = api_result(bus, msg, &doc, NULL);
	if (ack->result == BUS_OK) {
		ack->seq = (uint64_t)json_integer_value(json_object_get(doc, "seq"));
		ack->duplicate = json_is_true(json_object_get(doc, "duplicate"));
		if (!json_object_get(doc, "seq")) { /* somebody else answered on that subject */
			snprintf(bus->error_text, sizeof(bus->error_text),
				 "no acknowledgement of a stream");
			ack->result = BUS_REJECTED;
		}
	}
	json_decref(doc);
}
