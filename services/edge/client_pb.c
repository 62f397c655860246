/* penstock.v1.protobuf: a ClientFrame of proto/client.proto as the members that its JSON would
 * have. */
#include "common/pbwire.h"
#include "common/ws.h"
#include "services/edge/client_msg_int.h"

#define BAD(...) client_refuse(why, "bad_request", __VA_ARGS__)

enum pb_kind {
	END,
	TEXT,
	NUMBER,   /* 0 is an absent one */
	POSITION, /* an absent one is 0 */
	JSON,     /* in a field of type bytes */
	MESSAGE,
};

struct pb_member {
	unsigned number;
	enum pb_kind kind;
	const char *name;
};

static const struct pb_member after_members[] = {
    {1, TEXT, "epoch"}, {2, POSITION, "offset"}, {0, END, NULL}};

static const struct {
	const char *name;
	struct pb_member members[7];
} ops[] = {
    [2] = {"connect", {{1, TEXT, "token"}, {2, TEXT, "resume"}}},
    [3] = {"subscribe", {{1, TEXT, "channel"}, {2, MESSAGE, "after"}}},
    [4] = {"unsubscribe", {{1, TEXT, "channel"}}},
    [5] = {"publish",
	   {{1, TEXT, "channel"},
	    {2, TEXT, "type"},
	    {3, NUMBER, "version"},
	    {4, TEXT, "key"},
	    {5, JSON, "data"}}},
    [6] = {"task",
	   {{1, TEXT, "pipeline"},
	    {2, TEXT, "key"},
	    {3, JSON, "input"},
	    {4, NUMBER, "deadline_ms"},
	    {5, NUMBER, "priority"},
	    {6, TEXT, "not_before"}}},
    [7] = {"cancel", {{1, TEXT, "task"}}},
    [8] = {"ack", {{1, TEXT, "channel"}, {2, POSITION, "offset"}}},
    [9] = {"ping", {{0, END, NULL}}},
};

static bool is_utf8(struct slice s)
{
	uint32_t state = 0;

	return !s.len || (ws_utf8(&state, (const uint8_t *)s.p, s.len) && state == 0);
}

static int check_json(const char *name, struct slice s, struct client_error *why)
{
	struct error err;

	if (!is_utf8(s))
		return BAD("%s is not UTF-8", name);
	if (jscan_value(s.p, s.len, &err))
		return BAD("%s: %s", name, err.msg);
	return 0;
}

/* *add: whether it is there at all. */
static int member(const struct pb_field *f, const struct pb_member *k, struct jmember *out,
		  bool *add, struct client_error *why)
{
	bool number = k->kind == NUMBER || k->kind == POSITION;

	if (f->type != (number ? PB_VARINT : PB_BYTES))
		return BAD("%s is of another type", k->name);
	*out = (struct jmember){.key = slice_of(k->name), .value = f->bytes};
	*add = number ? f->value || k->kind == POSITION : f->bytes.len || k->kind == MESSAGE;
	switch (k->kind) {
	case NUMBER:
	case POSITION:
		out->kind = J_INT;
		out->number = (int64_t)f->value; /* what is too large is negative, and refused */
		return 0;
	case JSON:
		out->kind = J_OBJECT; /* or any other: it was checked */
		return *add ? check_json(k->name, f->bytes, why) : 0;
	case MESSAGE:
		out->kind = J_MESSAGE;
		return 0;
	default:
		out->kind = J_TEXT;
		return is_utf8(f->bytes) ? 0 : BAD("%s is not UTF-8", k->name);
	}
}

static int members(struct slice bytes, const struct pb_member *known, struct jmember *out,
		   size_t *n, struct client_error *why)
{
	struct pb_reader r = pb_reader(bytes.p, bytes.len);
	struct pb_field f;
	unsigned seen = 0;
	size_t k;

	while (pb_next(&r, &f)) {
		bool add = false;

		for (k = 0; known[k].kind != END && known[k].number != f.number;)
			k++;
		if (known[k].kind == END)
			return BAD("unknown field %u", (unsigned)f.number);
		if (seen & 1U << k)
			return BAD("%s is there twice", known[k].name);
		seen |= 1U << k;
		if (member(&f, &known[k], &out[*n], &add, why))
			return -1;
		*n += add;
	}
	if (r.p != r.end)
		return BAD("not a message of proto/client.proto");
	for (k = 0; known[k].kind != END; k++)
		if (known[k].kind == POSITION && !(seen & 1U << k))
			out[(*n)++] =
			    (struct jmember){.key = slice_of(known[k].name), .kind = J_INT};
	return 0;
}

int client_pb_after(struct slice bytes, struct jmember out[2], size_t *n, struct client_error *why)
{
	*n = 0;
	return members(bytes, after_members, out, n, why);
}

struct envelope {
	struct slice id, body;
	unsigned op; /* the oneof's field; 0: none */
	unsigned n_ops;
	bool other; /* a field that is not known */
};

/* False: not the wire format. */
static bool open_envelope(const void *data, size_t len, struct envelope *e)
{
	struct pb_reader r = pb_reader(data, len);
	struct pb_field f;

	*e = (struct envelope){.op = 0};
	while (pb_next(&r, &f)) {
		if (f.number == 1 && f.type == PB_BYTES) {
			e->id = f.bytes;
		} else if (f.number < sizeof(ops) / sizeof(ops[0]) && ops[f.number].name &&
			   f.type == PB_BYTES) {
			e->op = f.number;
			e->body = f.bytes;
			e->n_ops++;
		} else {
			e->other = true;
		}
	}
	return r.p == r.end;
}

int client_pb_parse(const void *data, size_t len, struct client_msg *msg, struct client_error *why)
{
	struct jmember m[MEMBERS_MAX] = {{.key = {"op", 2}, .kind = J_TEXT}, {.key = {"id", 2}}};
	const struct client_field *fields;
	struct envelope e;
	size_t n = 1;

	client_msg_clear(msg);
	if (!open_envelope(data, len, &e))
		return BAD("not a ClientFrame of proto/client.proto");
	/* As in JSON the id first, so that whatever is wrong is answered with it. */
	if (e.id.len >= sizeof(msg->id) - 2 || !is_utf8(e.id) ||
	    !slice_copy(e.id, msg->id, sizeof(msg->id)))
		msg->id[0] = 0;
	if (!e.op && !e.other)
		return BAD("op is missing");
	msg->op = OP_UNKNOWN;
	if (e.n_ops > 1)
		return BAD("more than one op");
	if (!e.op)
		return BAD("unknown op");
	msg->op = client_msg_op(ops[e.op].name, &fields);
	if (e.other)
		return BAD("a field that ClientFrame does not have");
	if (e.id.len) {
		m[n].kind = J_TEXT;
		m[n++].value = is_utf8(e.id) ? e.id : (struct slice){"", 1}; /* a NUL is refused */
	}
	if (members(e.body, ops[e.op].members, m, &n, why) ||
	    client_msg_read(m, n, fields, msg, why))
		return -1;
	return client_msg_reserved(msg, why);
}
