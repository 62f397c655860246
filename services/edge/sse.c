#include "services/edge/sse.h"

#include <stdlib.h>
#include <string.h>

#include "common/topology.h"

#define LIT(b, text) strbuf_add((b), (text), sizeof(text) - 1)
#define OFFSET       ",\"offset\":"

void sse_head(struct strbuf *b, const char *trace, unsigned retry_ms)
{
	/* Its end is the connection's: nothing has to be counted. X-Accel-Buffering is for nginx,
	 * which else keeps the events until there are enough of them. */
	LIT(b, "HTTP/1.1 200 OK\r\nContent-Type: " SSE_TYPE "\r\nCache-Control: no-store\r\n"
	       "Connection: close\r\nX-Accel-Buffering: no\r\nAccess-Control-Allow-Origin: *\r\n"
	       "traceparent: ");
	strbuf_adds(b, trace);
	strbuf_addf(b, "\r\n\r\nretry: %u\n\n", retry_ms);
}

/* The op of {"op":"…",…}, as it is at the beginning of each frame. */
static struct slice op_of(const char *json, size_t len)
{
	static const char begin[] = "{\"op\":\"";
	const size_t n = sizeof(begin) - 1;
	size_t end = n;

	if (len > n && memcmp(json, begin, n) == 0) {
		while (end < len && json[end] >= 'a' && json[end] <= 'z')
			end++;
		if (end > n && end < len && json[end] == '"')
			return (struct slice){json + n, end - n};
	}
	return (struct slice){"message", 7};
}

/* Where `subscribed` says that the following frames continue from. The first such member is its
 * own: a channel's name, which comes before it, has no quotes. */
static uint64_t subscribed_at(const char *json, size_t len)
{
	const char *at = memmem(json, len, OFFSET, sizeof(OFFSET) - 1);
	uint64_t v = 0;

	if (!at)
		return 0;
	for (at += sizeof(OFFSET) - 1; at < json + len && *at >= '0' && *at <= '9'; at++)
		v = 10 * v + (uint64_t)(*at - '0');
	return v;
}

/* Line ends are white space between the tokens of a JSON text, and would end the line here. */
static void add_line(struct strbuf *b, const char *p, size_t len)
{
	while (len) {
		size_t n = 0;

		while (n < len && p[n] != '\n' && p[n] != '\r')
			n++;
		strbuf_add(b, p, n);
		if (n < len)
			strbuf_addc(b, ' ');
		n += n < len;
		p += n;
		len -= n;
	}
}

void sse_event(struct strbuf *b, const char *json, size_t len, const char *epoch, uint64_t offset)
{
	struct slice op = op_of(json, len);
	bool subscribed = slice_is(op, "subscribed");

	LIT(b, "event: ");
	if (slice_is(op, "error"))
		LIT(b, "problem");
	else
		strbuf_add(b, op.p, op.len);
	if (subscribed)
		offset = subscribed_at(json, len);
	if (offset || subscribed)
		strbuf_addf(b, "\nid: %s:%llu", epoch, (unsigned long long)offset);
	LIT(b, "\ndata: ");
	add_line(b, json, len);
	LIT(b, "\n\n");
}

void sse_beat(struct strbuf *b)
{
	LIT(b, ":\n\n");
}

/* --- positions ---------------------------------------------------------------------------- */

static bool read_offset(const char *text, uint64_t *out)
{
	size_t n = strspn(text, "0123456789");

	if (!n || n > 18 || text[n])
		return false;
	*out = strtoull(text, NULL, 10);
	return true;
}

static bool read_position(const char *text, struct client_msg *msg)
{
	char epoch[EPOCH_LEN + 1];
	uint64_t offset, life;

	if (strlen(text) <= EPOCH_LEN || text[EPOCH_LEN] != ':' ||
	    !read_offset(text + EPOCH_LEN + 1, &offset))
		return false;
	memcpy(epoch, text, EPOCH_LEN);
	epoch[EPOCH_LEN] = 0;
	if (!epoch_parse(epoch, &life))
		return false;
	msg->has_after = true;
	msg->offset = offset;
	memcpy(msg->after_epoch, epoch, sizeof(epoch));
	return true;
}

void sse_read_id(const char *text, struct client_msg *msg)
{
	if (read_position(text, msg))
		return;
	msg->has_after = true;
	msg->offset = 0;
	strcpy(msg->after_epoch, "?");
}

int sse_read_after(const char *text, struct client_msg *msg)
{
	uint64_t offset;

	if (read_position(text, msg))
		return 0;
	if (!read_offset(text, &offset))
		return -1;
	msg->has_after = true;
	msg->offset = offset;
	msg->after_epoch[0] = 0;
	return 0;
}
