/* What the edge takes from the bus: events and deltas by its own reader of the wire format, which
 * reads what protobuf-c writes; the router's replies; pages of the event-store. Whatever
 * comes, what goes to a client is JSON, or the same in protobuf.
 *
 * The first byte says which. */
/* links: services/edge */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/ws.h"
#include "proto/client.pb-c.h"
#include "proto/event.pb-c.h"
#include "services/edge/command.h"
#include "services/edge/hub_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static bool utf8(const char *text)
{
	uint32_t state = 0;

	return ws_utf8(&state, (const uint8_t *)text, strlen(text)) && state == 0;
}

static void is_frame(const void *text, size_t len)
{
	json_error_t err;
	json_t *value = json_loadb(text, len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &err);

	if (value) {
		must(json_is_object(value));
		json_decref(value);
		return;
	}
	/* Data is by the grammar and no more; what jansson has against it beyond that: */
	switch (json_error_code(&err)) {
	case json_error_duplicate_key:
	case json_error_numeric_overflow:
	case json_error_null_character:
	case json_error_null_byte_in_key:
		break;
	default:
		must(strstr(err.text, "Unicode") != NULL);
	}
}

/* Made of the JSON, it is what would have been written at once. */
static void is_protobuf(const struct frame_buf *json, const struct frame_buf *direct)
{
	struct frame_buf b = {0};
	Penstock__V1__ServerFrame *m;

	frames_protobuf(&b, (struct slice){json->b.data, json->b.len});
	must(b.b.len == direct->b.len && !memcmp(b.b.data, direct->b.data, b.b.len));
	m = penstock__v1__server_frame__unpack(NULL, b.b.len, (uint8_t *)b.b.data);
	must(m && !m->base.n_unknown_fields);
	must(penstock__v1__server_frame__get_packed_size(m) <= b.b.len);
	penstock__v1__server_frame__free_unpacked(m, NULL);
	strbuf_done(&b.b);
}

static void same(struct slice s, const char *text)
{
	must(s.len >= strlen(text) && !strncmp(s.p ? s.p : "", text, strlen(text)));
}

static void event(const uint8_t *data, size_t size)
{
	struct event_view e;
	struct frame_buf b = {0}, p = {.encoding = ENCODING_PROTOBUF};
	Penstock__Event *m = penstock__event__unpack(NULL, size, data);

	if (m && !m->base.n_unknown_fields) {
		size_t len = penstock__event__get_packed_size(m);
		uint8_t *packed = malloc(len + 1);

		penstock__event__pack(m, packed);
		must(wire_event(packed, len, &e));
		same(e.id, m->id);
		same(e.tenant, m->tenant);
		same(e.channel, m->channel);
		must(e.version == m->version && e.time_us == m->time_us);
		must(e.data.len == m->data.len);
		free(packed);
	}
	if (m)
		penstock__event__free_unpacked(m, NULL);
	if (wire_event(data, size, &e) && wire_event_fits(&e, "acme", "room.1")) {
		frames_event(&b, &e, true, 7, 5);
		is_frame(b.b.data, b.b.len);
		frames_event(&p, &e, true, 7, 5);
		is_protobuf(&b, &p);
	}
	strbuf_done(&b.b);
	strbuf_done(&p.b);
}

static void delta(const uint8_t *data, size_t size)
{
	struct delta_view d;
	struct frame_buf b = {0}, p = {.encoding = ENCODING_PROTOBUF};
	Penstock__Delta *m = penstock__delta__unpack(NULL, size, data);

	if (m && !m->base.n_unknown_fields) {
		size_t len = penstock__delta__get_packed_size(m);
		uint8_t *packed = malloc(len + 1);

		penstock__delta__pack(m, packed);
		must(wire_delta(packed, len, &d));
		same(d.channel, m->channel);
		must(d.attempt == m->attempt && d.index == m->index && d.reset == (bool)m->reset);
		free(packed);
	}
	if (m)
		penstock__delta__free_unpacked(m, NULL);
	if (wire_delta(data, size, &d) && wire_delta_fits(&d, "task.t")) {
		frames_delta(&b, &d);
		is_frame(b.b.data, b.b.len);
		frames_delta(&p, &d);
		is_protobuf(&b, &p);
	}
	strbuf_done(&b.b);
	strbuf_done(&p.b);
}

static void reply(const uint8_t *data, size_t size)
{
	struct command_answer a;
	struct frame_buf b = {0};
	bool text;

	command_answer(data, size, &a);
	if (a.accepted) {
		text = utf8(a.ok.event_id) && utf8(a.ok.channel) && utf8(a.ok.task);
		frames_accepted(&b, "\"1\"", &a.ok);
	} else {
		text = utf8(a.refused.code) && utf8(a.refused.message) &&
		       (!a.refused.scope || utf8(a.refused.scope)) &&
		       (!a.refused.limit || utf8(a.refused.limit));
		frames_error(&b, "\"1\"", &a.refused);
	}
	if (text)
		is_frame(b.b.data, b.b.len);
	strbuf_done(&b.b);
	command_answer_done(&a);
}

static void page(const uint8_t *data, size_t size)
{
	static struct metrics *metrics;
	static struct edge edge;
	static struct hub hub = {.edge = &edge};
	struct fetch_request f = {.base.hub = &hub,
				  .tenant = "acme",
				  .channel = "room.1",
				  .after = size ? data[0] : 0,
				  .until = size > 1 ? data[1] : 0,
				  .limit = PAGE_MAX,
				  .first_seq = size > 2 ? data[2] : 0,
				  .max_bytes = 4096};

	if (!metrics) {
		metrics = metrics_new();
		stats_init(&edge.stats, metrics);
	}
	f.pos = f.after;
	size_t skip = size < 3 ? size : 3;
	(void)fetch_take_page(&f, data + skip, size - skip, 0);
	must(f.n <= f.limit);
	for (unsigned i = 0; i < f.n; i++) {
		struct frame *frame = f.frames[i];

		must(frame->offset > (i ? f.frames[i - 1]->offset : f.after));
		is_frame(frame->data + frame->header, frame->len - frame->header);
		frame_unref(frame);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const kinds[])(const uint8_t *data, size_t size) = {event, delta, reply,
									  page};

	if (size)
		kinds[*data % 4](data + 1, size - 1);
	return 0;
}
