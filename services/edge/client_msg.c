#include "services/edge/client_msg.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/textscan.h"
#include "services/edge/client_msg_int.h"
#include "services/edge/resume.h"

/* Where a client's own text was cut, half a character may be left at the end: a frame must be
 * UTF-8.
 */
static void cut_half_character(char *text)
{
	size_t n = strlen(text), tail = 0;
	unsigned char lead;

	while (tail < n && tail < 3 && ((unsigned char)text[n - 1 - tail] & 0xc0) == 0x80)
		tail++;
	if (tail == n)
		return;
	lead = (unsigned char)text[n - 1 - tail];
	if (lead >= 0xc0 && tail < (lead >= 0xf0 ? 3u : lead >= 0xe0 ? 2u : 1u))
		text[n - 1 - tail] = 0;
}

int client_refuse(struct client_error *why, const char *code, const char *fmt, ...)
{
	va_list ap;

	why->code = code;
	va_start(ap, fmt);
	vsnprintf(why->message, sizeof(why->message), fmt, ap);
	va_end(ap);
	cut_half_character(why->message);
	return -1;
}

#define TIME_TEXT_MAX 40
#define BAD(...)      client_refuse(why, "bad_request", __VA_ARGS__)

static int read_channel(const struct jmember *m, struct client_msg *msg, struct client_error *why)
{
	if (!jscan_text(m, msg->channel, sizeof(msg->channel)) || !name_valid_channel(msg->channel))
		return BAD("channel is no valid channel name");
	return 0;
}

static int read_type(const struct jmember *m, struct client_msg *msg, struct client_error *why)
{
	if (!jscan_text(m, msg->type, sizeof(msg->type)) || !name_valid_channel(msg->type))
		return BAD("type is no valid event type");
	return 0;
}

static int read_pipeline(const struct jmember *m, struct client_msg *msg, struct client_error *why)
{
	if (!jscan_text(m, msg->pipeline, sizeof(msg->pipeline)) ||
	    !name_valid_tenant(msg->pipeline))
		return BAD("pipeline is no valid name");
	return 0;
}

static int read_key(const struct jmember *m, struct client_msg *msg, struct client_error *why)
{
	if (!jscan_text(m, msg->key, sizeof(msg->key)) || !name_valid_key(msg->key))
		return BAD("key must be 1 to %d printable ASCII characters", KEY_MAX);
	return 0;
}

static int read_task(const struct jmember *m, struct client_msg *msg, struct client_error *why)
{
	if (!jscan_text(m, msg->task, sizeof(msg->task)) || !id_valid(msg->task))
		return BAD("task is no task id");
	return 0;
}

static int read_data(const struct jmember *m, struct client_msg *msg, struct client_error *why)
{
	(void)why;
	msg->data = m->value;
	return 0;
}

static int whole(const struct jmember *m, int64_t min, int64_t max, int64_t *out,
		 struct client_error *why)
{
	if (!jscan_int(m, out) || *out < min || *out > max)
		return BAD("%.*s must be a whole number from %lld to %lld", (int)m->key.len,
			   m->key.p, (long long)min, (long long)max);
	return 0;
}

static int read_version(const struct jmember *m, struct client_msg *msg, struct client_error *why)
{
	int64_t v;

	if (whole(m, 0, INT32_MAX, &v, why))
		return -1;
	msg->version = (uint32_t)v;
	return 0;
}

static int read_deadline(const struct jmember *m, struct client_msg *msg, struct client_error *why)
{
	int64_t v;

	if (whole(m, 1, DEADLINE_MAX_MS, &v, why))
		return -1;
	msg->deadline_ms = (uint32_t)v;
	return 0;
}

static int read_priority(const struct jmember *m, struct client_msg *msg, struct client_error *why)
{
	int64_t v;

	if (whole(m, -PRIORITY_MAX, PRIORITY_MAX, &v, why))
		return -1;
	msg->priority = (int32_t)v;
	return 0;
}

static int read_not_before(const struct jmember *m, struct client_msg *msg,
			   struct client_error *why)
{
	char text[TIME_TEXT_MAX + 1];
	int64_t us;

	if (!jscan_text(m, text, sizeof(text)) || !time_parse(text, &us))
		return BAD("not_before is no time as in RFC 3339");
	msg->not_before_ms = us > 0 ? (us + 999) / 1000 : 1;
	return 0;
}

static int read_offset(const struct jmember *m, struct client_msg *msg, struct client_error *why)
{
	int64_t v;

	if (whole(m, 0, INT64_MAX, &v, why))
		return -1;
	msg->offset = (uint64_t)v;
	return 0;
}

/* A token is ASCII without anything that JSON would escape. */
static int read_secret(const struct jmember *m, size_t max, struct slice *out,
		       struct client_error *why)
{
	uint64_t high = 0;

	*out = m->value;
	if (m->kind == J_STRING)
		*out = (struct slice){m->value.p + 1, m->value.len - 2};
	if ((m->kind != J_STRING && m->kind != J_TEXT) || out->len > max ||
	    textscan_plain(out->p, out->len, &high) != out->len || high) {
		*out = (struct slice){NULL, 0};
		return BAD("%.*s is no token", (int)m->key.len, m->key.p);
	}
	return 0;
}

static int read_token(const struct jmember *m, struct client_msg *msg, struct client_error *why)
{
	return read_secret(m, TOKEN_MAX, &msg->token, why);
}

static int read_resume(const struct jmember *m, struct client_msg *msg, struct client_error *why)
{
	return read_secret(m, RESUME_MAX, &msg->resume, why);
}

static int read_id(const struct jmember *m, struct client_msg *msg, struct client_error *why)
{
	char text[REQUEST_ID_MAX - 1];
	int64_t number;

	if ((!jscan_text(m, text, sizeof(text)) && !jscan_int(m, &number)) ||
	    !slice_copy(m->value, msg->id, sizeof(msg->id))) {
		msg->id[0] = 0;
		return BAD("id must be a string or a whole number of at most %d characters",
			   REQUEST_ID_MAX - 2);
	}
	return 0;
}

static int read_op(const struct jmember *m, struct client_msg *msg, struct client_error *why)
{
	(void)m;
	(void)msg;
	(void)why;
	return 0; /* was read first */
}

static int read_epoch(const struct jmember *m, struct client_msg *msg, struct client_error *why)
{
	if (m->kind != J_STRING && m->kind != J_TEXT)
		return BAD("epoch must be a string");
	/* A string that is no epoch of ours is an unknown epoch: recovered false, not an error. */
	if (!jscan_text(m, msg->after_epoch, sizeof(msg->after_epoch)))
		strcpy(msg->after_epoch, "?");
	return 0;
}

static int read_after(const struct jmember *m, struct client_msg *msg, struct client_error *why)
{
	static const struct client_field fields[] = {
	    {"epoch", false, read_epoch}, {"offset", true, read_offset}, {NULL, false, NULL}};
	struct jmember members[2];
	struct error err;
	size_t n;

	if (m->kind == J_MESSAGE) {
		if (client_pb_after(m->value, members, &n, why))
			return -1;
	} else if (m->kind != J_OBJECT ||
		   jscan_object(m->value.p, m->value.len, members, 2, &n, &err)) {
		return BAD("after must be {epoch, offset}");
	}
	msg->has_after = true;
	return client_msg_read(members, n, fields, msg, why);
}

static const struct client_field connect_fields[] = {{"op", true, read_op},
						     {"id", false, read_id},
						     {"token", false, read_token},
						     {"resume", false, read_resume},
						     {NULL, false, NULL}};
static const struct client_field subscribe_fields[] = {{"op", true, read_op},
						       {"id", true, read_id},
						       {"channel", true, read_channel},
						       {"after", false, read_after},
						       {NULL, false, NULL}};
static const struct client_field unsubscribe_fields[] = {{"op", true, read_op},
							 {"id", true, read_id},
							 {"channel", true, read_channel},
							 {NULL, false, NULL}};
static const struct client_field publish_fields[] = {
    {"op", true, read_op},     {"id", true, read_id},     {"channel", true, read_channel},
    {"type", true, read_type}, {"data", true, read_data}, {"version", false, read_version},
    {"key", false, read_key},  {NULL, false, NULL}};
static const struct client_field task_fields[] = {{"op", true, read_op},
						  {"id", true, read_id},
						  {"pipeline", true, read_pipeline},
						  {"key", true, read_key},
						  {"input", true, read_data},
						  {"deadline_ms", false, read_deadline},
						  {"priority", false, read_priority},
						  {"not_before", false, read_not_before},
						  {NULL, false, NULL}};
static const struct client_field cancel_fields[] = {
    {"op", true, read_op}, {"id", true, read_id}, {"task", true, read_task}, {NULL, false, NULL}};
static const struct client_field ack_fields[] = {{"op", true, read_op},
						 {"id", false, read_id},
						 {"channel", true, read_channel},
						 {"offset", true, read_offset},
						 {NULL, false, NULL}};
static const struct client_field ping_fields[] = {
    {"op", true, read_op}, {"id", true, read_id}, {NULL, false, NULL}};

static const struct {
	const char *name;
	enum client_op op;
	const struct client_field *fields;
} ops[] = {
    {"publish", OP_PUBLISH, publish_fields},
    {"task", OP_TASK, task_fields},
    {"ack", OP_ACK, ack_fields},
    {"subscribe", OP_SUBSCRIBE, subscribe_fields},
    {"unsubscribe", OP_UNSUBSCRIBE, unsubscribe_fields},
    {"cancel", OP_CANCEL, cancel_fields},
    {"ping", OP_PING, ping_fields},
    {"connect", OP_CONNECT, connect_fields},
};

int client_msg_read(const struct jmember *m, size_t n, const struct client_field *fields,
		    struct client_msg *msg, struct client_error *why)
{
	unsigned seen = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned f = 0;

		while (fields[f].name && !slice_is(m[i].key, fields[f].name))
			f++;
		if (!fields[f].name)
			return BAD("unknown member %.*s",
				   m[i].key.len > 40 ? 40 : (int)m[i].key.len, m[i].key.p);
		if (fields[f].read(&m[i], msg, why))
			return -1;
		seen |= 1U << f;
	}
	for (unsigned f = 0; fields[f].name; f++)
		if (fields[f].required && !(seen & 1U << f))
			return BAD("%s is missing", fields[f].name);
	return 0;
}

int client_msg_reserved(const struct client_msg *msg, struct client_error *why)
{
	if (msg->op != OP_PUBLISH)
		return 0;
	if (name_reserved_channel(msg->channel))
		return client_refuse(why, "forbidden",
				     "only the plane writes to channels task.… and hook.…");
	if (name_reserved_type(msg->type))
		return client_refuse(why, "forbidden",
				     "types that begin with task. are the plane's own");
	return 0;
}

void client_msg_clear(struct client_msg *msg)
{
	msg->op = OP_NONE;
	msg->id[0] = msg->channel[0] = msg->type[0] = msg->pipeline[0] = msg->task[0] = 0;
	msg->key[0] = msg->after_epoch[0] = 0;
	msg->version = msg->deadline_ms = 0;
	msg->not_before_ms = 0;
	msg->data = msg->token = msg->resume = (struct slice){NULL, 0};
	msg->has_after = false;
	msg->offset = 0;
	msg->priority = 0;
}

enum client_op client_msg_op(const char *name, const struct client_field **fields)
{
	for (size_t k = 0; k < sizeof(ops) / sizeof(ops[0]); k++)
		if (!strcmp(ops[k].name, name)) {
			*fields = ops[k].fields;
			return ops[k].op;
		}
	*fields = NULL;
	return OP_UNKNOWN;
}

static int find_op(const struct jmember *m, size_t n, struct client_msg *msg,
		   const struct client_field **fields, struct client_error *why)
{
	char name[16];
	size_t i = 0;

	while (i < n && !slice_is(m[i].key, "op"))
		i++;
	if (i == n)
		return BAD("op is missing");
	if (m[i].kind != J_STRING)
		return BAD("op must be a string");
	msg->op = OP_UNKNOWN;
	if (jscan_text(&m[i], name, sizeof(name)))
		msg->op = client_msg_op(name, fields);
	return msg->op == OP_UNKNOWN ? BAD("unknown op") : 0;
}

int client_msg_parse(const char *text, size_t len, struct client_msg *msg, struct client_error *why)
{
	struct jmember members[MEMBERS_MAX];
	const struct client_field *fields = NULL;
	struct error err;
	bool unfit;
	size_t n;

	client_msg_clear(msg);
	unfit = jscan_object(text, len, members, MEMBERS_MAX, &n, &err) != 0;
	if (unfit && !n)
		return BAD("%s", err.msg);
	/* First of all the id, so that whatever else is wrong is answered with it. */
	for (size_t i = 0; i < n; i++)
		if (slice_is(members[i].key, "id") && read_id(&members[i], msg, why))
			msg->id[0] = 0; /* refused below, once more, when the operation is known */
	if (find_op(members, n, msg, &fields, why))
		return -1;
	if (unfit)
		return BAD("%s", err.msg);
	if (client_msg_read(members, n, fields, msg, why))
		return -1;
	return client_msg_reserved(msg, why);
}

/* Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07): a string of RFC 8941, 3.3.3. What
 * has no quotes is taken as it is, for most clients send it so. Parameters would mean nothing. */
static bool read_key_header(const char *text, char key[KEY_MAX + 1])
{
	size_t n = 0;

	if (*text != '"') {
		n = strlen(text);
		while (n && (text[n - 1] == ' ' || text[n - 1] == '\t'))
			n--;
		if (n > KEY_MAX)
			return false;
		memcpy(key, text, n);
		key[n] = 0;
		return name_valid_key(key);
	}
	for (text++; *text && *text != '"'; text++) {
		if (*text == '\\' && *++text != '"' && *text != '\\')
			return false;
		if (n == KEY_MAX)
			return false;
		key[n++] = *text;
	}
	key[n] = 0;
	if (*text++ != '"')
		return false;
	text += strspn(text, " \t");
	return (!*text || *text == ';') && name_valid_key(key);
}

int client_msg_body(const char *text, size_t len, enum client_op op, const char *key_header,
		    struct client_msg *msg, struct client_error *why)
{
	const struct client_field *all = op == OP_TASK ? task_fields : publish_fields;
	struct client_field fields[MEMBERS_MAX];
	struct jmember members[MEMBERS_MAX];
	char key[KEY_MAX + 1];
	struct error err;
	size_t n, k = 0;

	client_msg_clear(msg);
	msg->op = op;
	for (; all->name; all++) {
		if (all->read == read_op || all->read == read_id)
			continue;
		fields[k] = *all;
		if (all->read == read_key)
			fields[k].required = fields[k].required && !key_header;
		k++;
	}
	fields[k] = (struct client_field){NULL, false, NULL};
	if (jscan_object(text, len, members, MEMBERS_MAX, &n, &err))
		return BAD("%s", err.msg);
	if (client_msg_read(members, n, fields, msg, why))
		return -1;
	if (key_header) {
		if (!read_key_header(key_header, key))
			return BAD("Idempotency-Key must be a string of 1 to %d printable ASCII "
				   "characters, with or without quotes",
				   KEY_MAX);
		if (msg->key[0] && strcmp(msg->key, key))
			return BAD("Idempotency-Key and key differ");
		memcpy(msg->key, key, sizeof(msg->key));
	}
	return client_msg_reserved(msg, why);
}
