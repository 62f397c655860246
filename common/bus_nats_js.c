/* Streams over JetStream's API: $JS.API.STREAM.*, $JS.API.DIRECT.GET.*. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/bus_nats_int.h"
#include "common/json.h"
#include "common/log.h"
#include "common/ws.h"

#define STREAM_NAME_IN_USE 10058

bool stream_name_ok(const char *name)
{
	return name && *name && strlen(name) < 64 && !strpbrk(name, " .*>/\\\t\r\n");
}

static void reject(struct nbus *bus, const char *why, reply_fn *reply, generic_fn *fn, void *arg)
{
	/* A subject that cannot be sent: the call fails in its own turn. */
	nbus_call_api(bus, "", NULL, reply, fn, arg, arg, NULL);
	snprintf(bus->error_text, sizeof(bus->error_text), "%s", why);
}

void nbus_done_reply(struct nbus *bus, void *arg, generic_fn *fn, enum bus_result result,
		     natsMsg *msg)
{
	if (result == BUS_OK)
		result = api_result(bus, msg, NULL, NULL);
	((bus_done_fn *)fn)(arg, result);
}

/* --- ensure: create; if the name is taken, update; if that is refused, leave it as it is -------
 */

struct ensure {
	json_t *config;
	bool bounds_only; /* second try of the update: only what can nearly always be changed */
	bus_done_fn *fn;
	void *arg;
};

static void ensure_drop(void *arg)
{
	struct ensure *e = arg;

	json_decref(e->config);
	free(e);
}

static void ensure_end(struct ensure *e, enum bus_result result)
{
	bus_done_fn *fn = e->fn;
	void *arg = e->arg;

	ensure_drop(e);
	fn(arg, result);
}

static void ensure_send(struct nbus *bus, struct ensure *e, const char *verb, bool body,
			reply_fn *reply)
{
	const char *name = json_string_value(json_object_get(e->config, "name"));
	char *text = body ? json_dumps(e->config, JSON_COMPACT) : NULL;
	struct strbuf subject = {0};

	strbuf_addf(&subject, "$JS.API.STREAM.%s.%s", verb, name);
	nbus_call_api(bus, subject.data, text, reply, NULL, e, e->arg, ensure_drop);
	strbuf_done(&subject);
	free(text);
}

static void on_ensure_info(struct nbus *bus, void *arg, generic_fn *fn, enum bus_result result,
			   natsMsg *msg);

static void on_ensure_update(struct nbus *bus, void *arg, generic_fn *fn, enum bus_result result,
			     natsMsg *msg)
{
	struct ensure *e = arg;

	(void)fn;
	if (result == BUS_OK)
		result = api_result(bus, msg, NULL, NULL);
	if (result != BUS_REJECTED) {
		ensure_end(e, result);
		return;
	}
	log_at(LOG_WARN, "stream keeps what it was made with",
	       LOG_S("stream", json_string_value(json_object_get(e->config, "name"))),
	       LOG_S("error", bus->error_text));
	if (e->bounds_only) {
		ensure_end(e, BUS_OK);
		return;
	}
	e->bounds_only = true;
	ensure_send(bus, e, "INFO", false, on_ensure_info);
}

/* The stream's own configuration with our bounds in it. */
static void on_ensure_info(struct nbus *bus, void *arg, generic_fn *fn, enum bus_result result,
			   natsMsg *msg)
{
	static const char *const bounds[] = {"max_bytes", "max_age", "max_msgs_per_subject",
					     "duplicate_window"};
	struct ensure *e = arg;
	json_t *root = NULL, *config;

	(void)fn;
	if (result == BUS_OK)
		result = api_result(bus, msg, &root, NULL);
	config = json_object_get(root, "config");
	if (result != BUS_OK || !json_is_object(config)) {
		json_decref(root);
		ensure_end(e, result == BUS_OK ? BUS_REJECTED : result);
		return;
	}
	for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++)
		json_object_set(config, bounds[i], json_object_get(e->config, bounds[i]));
	json_incref(config);
	json_decref(root);
	json_decref(e->config);
	e->config = config;
	ensure_send(bus, e, "UPDATE", true, on_ensure_update);
}

static void on_ensure_create(struct nbus *bus, void *arg, generic_fn *fn, enum bus_result result,
			     natsMsg *msg)
{
	struct ensure *e = arg;
	int code = 0;

	(void)fn;
	if (result == BUS_OK)
		result = api_result(bus, msg, NULL, &code);
	if (code == STREAM_NAME_IN_USE)
		ensure_send(bus, e, "UPDATE", true, on_ensure_update);
	else
		ensure_end(e, result);
}

void ensure_config(struct nbus *bus, json_t *config, bus_done_fn *fn, void *arg)
{
	struct ensure *e = xcalloc(1, sizeof(*e));

	e->config = config;
	e->fn = fn;
	e->arg = arg;
	ensure_send(bus, e, "CREATE", true, on_ensure_create);
}

void nbus_stream_ensure(struct bus *base, const struct bus_stream_conf *conf, bus_done_fn *fn,
			void *arg)
{
	struct nbus *bus = nbus_of(base);
	json_t *config;

	if (!stream_name_ok(conf->name) || !subject_ok(conf->subject, true)) {
		reject(bus, "bad stream name or subject", nbus_done_reply, (generic_fn *)fn, arg);
		return;
	}
	config = json_pack("{s:s, s:[s], s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:i, s:b}", "name",
			   conf->name, "subjects", conf->subject, "retention",
			   conf->work_queue ? "workqueue" : "limits", "storage", "file", "discard",
			   conf->discard_new ? "new" : "old", "max_bytes",
			   (json_int_t)(conf->max_bytes ? conf->max_bytes : -1), "max_age",
			   (json_int_t)(conf->max_age_ms * 1000000), "max_msgs_per_subject",
			   (json_int_t)(conf->max_per_subject ? conf->max_per_subject : -1),
			   "duplicate_window", (json_int_t)(conf->dedupe_ms * 1000000),
			   "num_replicas", conf->replicas ? conf->replicas : 1, "allow_direct", 1);
	/* 0 means the server's default, two minutes, and the window may not be longer than the age.
	 */
	if (conf->dedupe_ms == 0)
		json_object_set_new(config, "duplicate_window",
				    json_integer(conf->max_age_ms > 0 && conf->max_age_ms < 120000
						     ? conf->max_age_ms * 1000000
						     : 120000000000));
	if (conf->republish)
		json_object_set_new(
		    config, "republish",
		    json_pack("{s:s, s:s}", "src", conf->subject, "dest", conf->republish));
	ensure_config(bus, config, fn, arg);
}

/* --- storing --------------------------------------------------------------------------------- */

void ack_reply(struct nbus *bus, void *arg, generic_fn *fn, enum bus_result result, natsMsg *msg)
{
	struct bus_ack ack;

	puback_parse(bus, result, msg, &ack);
	if (fn)
		((bus_ack_fn *)fn)(arg, &ack);
}

void nbus_store(struct bus *bus, const char *subject, const struct bus_store_opts *opts,
		const void *data, size_t len, bus_ack_fn *fn, void *arg)
{
	bool bad_id = opts->msg_id && strpbrk(opts->msg_id, "\r\n");
	size_t first = strcspn(subject, "."); /* "pen.evt" is a stream's, "pen" is not */
	size_t second = subject[first] ? first + 1 + strcspn(subject + first + 1, ".") : first;
	struct call c = {
	    .subject = bad_id ? "" : subject,
	    .data = data,
	    .len = len,
	    .msg_id = bad_id ? NULL : opts->msg_id,
	    .expect_last_seq = opts->expect_last_seq,
	    .timeout_ms = opts->timeout_ms > 0 ? opts->timeout_ms : API_TIMEOUT_MS,
	    .line = subject,
	    .line_len = second,
	    .reply = ack_reply,
	    .fn = (generic_fn *)fn,
	    .arg = arg,
	    .owner = arg,
	};

	nbus_call(nbus_of(bus), &c);
}

/* --- reading --------------------------------------------------------------------------------- */

struct get {
	char *stream;
	enum bus_result result; /* what it ends with unless the stream is not there */
	bus_answer_fn *fn;
	void *arg;
};

static void get_drop(void *arg)
{
	struct get *g = arg;

	free(g->stream);
	free(g);
}

static void get_end(struct get *g, enum bus_result result, const struct bus_msg *msg)
{
	bus_answer_fn *fn = g->fn;
	void *arg = g->arg;

	get_drop(g);
	fn(arg, result, msg);
}

/* Nobody answers a direct get: the stream is offline, or there is none (then nats-server says
 * nothing). */
static void on_get_why(struct nbus *bus, void *arg, generic_fn *fn, enum bus_result result,
		       natsMsg *msg)
{
	(void)fn;
	if (result == BUS_OK)
		result = api_result(bus, msg, NULL, NULL);
	get_end(arg, result == BUS_NOT_FOUND ? result : ((struct get *)arg)->result, NULL);
}

static void on_get(struct nbus *bus, void *arg, generic_fn *fn, enum bus_result result,
		   natsMsg *msg)
{
	struct get *g = arg;
	struct bus_msg out;
	const char *text;
	int status;

	(void)fn;
	if ((result == BUS_UNAVAILABLE || result == BUS_TIMEOUT) && bus->connected) {
		struct strbuf subject = {0};

		g->result = result;
		strbuf_addf(&subject, "$JS.API.STREAM.INFO.%s", g->stream);
		nbus_call_api(bus, subject.data, NULL, on_get_why, NULL, g, g->arg, get_drop);
		strbuf_done(&subject);
		return;
	}
	status = result == BUS_OK ? msg_status(msg) : 0;
	if (status) {
		snprintf(bus->error_text, sizeof(bus->error_text), "direct get: status %d", status);
		result = status == 404 ? BUS_NOT_FOUND : BUS_REJECTED;
	}
	if (result != BUS_OK) {
		get_end(g, result, NULL);
		return;
	}
	msg_core(msg, &out);
	if (natsMsgHeader_Get(msg, "Nats-Subject", &text) == NATS_OK)
		out.subject = text;
	out.reply = NULL;
	if (natsMsgHeader_Get(msg, "Nats-Time-Stamp", &text) == NATS_OK)
		out.time_us = rfc3339_us(text);
	get_end(g, BUS_OK, &out);
}

/* The first member of a query for the newest message, or the next one; stays empty if the subject
 * is no UTF-8. Written by hand: one is asked for each channel that somebody subscribes to. */
static void add_subject(struct strbuf *query, const char *name, const char *subject)
{
	size_t len = strlen(subject);
	uint32_t state = 0;

	if (!ws_utf8(&state, (const uint8_t *)subject, len) || state)
		return;
	strbuf_addf(query, "{\"%s\":", name);
	strbuf_add_jsonn(query, subject, len);
}

/* query: its members without the end, which is added here; empty: it cannot be asked. */
static void direct_get(struct bus *base, const char *stream, struct strbuf *query,
		       bus_answer_fn *fn, void *arg)
{
	struct nbus *bus = nbus_of(base);
	struct strbuf subject = {0};
	struct get *g = xcalloc(1, sizeof(*g));
	struct call c = {
	    .expect_last_seq = -1,
	    .timeout_ms = API_TIMEOUT_MS,
	    .reply = on_get,
	    .arg = g,
	    .owner = arg,
	    .drop = get_drop,
	};

	g->stream = xstrdup(stream_name_ok(stream) ? stream : "");
	g->fn = fn;
	g->arg = arg;
	if (query->len) {
		strbuf_addf(&subject, "$JS.API.DIRECT.GET.%s", g->stream);
		strbuf_addc(query, '}');
	}
	c.subject = c.line = strbuf_str(&subject);
	c.line_len = subject.len;
	c.data = query->data;
	c.len = query->len;
	nbus_call(bus, &c);
	strbuf_done(&subject);
	strbuf_done(query);
}

void nbus_get(struct bus *bus, const char *stream, uint64_t seq, bus_answer_fn *fn, void *arg)
{
	struct strbuf query = {0};

	/* Sequence 0 would read as "not given". */
	strbuf_addf(&query, "{\"seq\":%llu", (unsigned long long)(seq ? seq : UINT64_MAX >> 1));
	direct_get(bus, stream, &query, fn, arg);
}

void nbus_get_last(struct bus *bus, const char *stream, const char *subject, bus_answer_fn *fn,
		   void *arg)
{
	struct strbuf query = {0};

	add_subject(&query, "last_by_subj", subject);
	direct_get(bus, stream, &query, fn, arg);
}

void nbus_get_next(struct bus *bus, const char *stream, const char *subject, uint64_t seq,
		   bus_answer_fn *fn, void *arg)
{
	struct strbuf query = {0};

	add_subject(&query, "next_by_subj", subject);
	if (query.len)
		strbuf_addf(&query, ",\"seq\":%llu", (unsigned long long)(seq ? seq : 1));
	direct_get(bus, stream, &query, fn, arg);
}

/* --- stream info and trimming ---------------------------------------------------------------- */

static void info_read(const json_t *root, struct bus_stream_info *info)
{
	const json_t *state = json_object_get(root, "state");
	const json_t *subjects = json_object_get(state, "subjects");
	const char *created = json_string_value(json_object_get(root, "created")), *subject;
	struct bus_subject_count *list;
	json_t *value;

	*info = (struct bus_stream_info){
	    .first_seq = (uint64_t)json_integer_value(json_object_get(state, "first_seq")),
	    .last_seq = (uint64_t)json_integer_value(json_object_get(state, "last_seq")),
	    .msgs = (uint64_t)json_integer_value(json_object_get(state, "messages")),
	    .bytes = (uint64_t)json_integer_value(json_object_get(state, "bytes")),
	    .created_us = created ? rfc3339_us(created) : 0,
	};
	if (json_object_size(subjects) == 0)
		return;
	list = xcalloc(json_object_size(subjects), sizeof(*list));
	json_object_foreach((json_t *)subjects, subject, value)
	{
		list[info->n_subjects].subject = subject;
		list[info->n_subjects++].msgs = (uint64_t)json_integer_value(value);
	}
	info->subjects = list;
}

static void info_reply(struct nbus *bus, void *arg, generic_fn *fn, enum bus_result result,
		       natsMsg *msg)
{
	struct bus_stream_info info = {0};
	json_t *root = NULL;

	if (result == BUS_OK)
		result = api_result(bus, msg, &root, NULL);
	if (result == BUS_OK)
		info_read(root, &info);
	((bus_info_fn *)fn)(arg, result, result == BUS_OK ? &info : NULL);
	free((void *)info.subjects);
	json_decref(root);
}

static void stream_call(struct bus *base, const char *verb, const char *stream, json_t *query,
			reply_fn *reply, generic_fn *fn, void *arg)
{
	struct nbus *bus = nbus_of(base);
	struct strbuf subject = {0};
	char *body = query ? json_dumps(query, JSON_COMPACT) : NULL;

	if (stream_name_ok(stream))
		strbuf_addf(&subject, "$JS.API.STREAM.%s.%s", verb, stream);
	nbus_call_api(bus, strbuf_str(&subject), body, reply, fn, arg, arg, NULL);
	strbuf_done(&subject);
	json_decref(query);
	free(body);
}

void nbus_stream_info(struct bus *bus, const char *stream, const char *filter, bus_info_fn *fn,
		      void *arg)
{
	stream_call(bus, "INFO", stream,
		    filter ? json_pack("{s:s}", "subjects_filter", filter) : NULL, info_reply,
		    (generic_fn *)fn, arg);
}

void nbus_stream_trim(struct bus *bus, const char *stream, uint64_t seq, bus_done_fn *fn, void *arg)
{
	/* To the server sequence 0 means: everything. Nothing lies below it, so nothing is asked
	 * but whether it is there. */
	if (seq == 0)
		stream_call(bus, "INFO", stream, NULL, nbus_done_reply, (generic_fn *)fn, arg);
	else
		stream_call(bus, "PURGE", stream, json_pack("{s:I}", "seq", (json_int_t)seq),
			    nbus_done_reply, (generic_fn *)fn, arg);
}
