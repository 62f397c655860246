#include "services/event-store/query.h"

#include <stdlib.h>
#include <string.h>

#include "common/ids.h"
#include "common/log.h"
#include "common/names.h"
#include "common/strbuf.h"
#include "services/event-store/pool.h"
#include "services/event-store/query_impl.h"

static const char *const kind_names[] = {"replay", "task", "timeline", "deliveries"};
enum result { RESULT_OK, RESULT_ERROR, RESULT_REFUSED, N_RESULTS };
static const char *const result_names[] = {"ok", "error", "refused"};

struct store_query {
	struct bus *bus;
	struct loop *loop;
	struct store_query_conf conf;
	struct bus_sub *subs[N_QUERY_KINDS];
	struct store_pool *pool;
	struct query *first; /* all that are under way */
	size_t n;
	struct metric *m_done[N_QUERY_KINDS][N_RESULTS], *m_under_way;
	struct histogram *m_seconds[N_QUERY_KINDS];
};

/* --- answers -----------------------------------------------------------------------------------
 */

static void pack_and_send(struct bus *bus, const char *reply, const ProtobufCMessage *msg)
{
	size_t len = protobuf_c_message_get_packed_size(msg);
	uint8_t *bytes = xmalloc(len + 1);
	struct error err;

	protobuf_c_message_pack(msg, bytes);
	if (bus_publish(bus, reply, bytes, len, &err))
		log_at(LOG_WARN, "an answer could not be sent", LOG_S("error", err.msg),
		       LOG_I("bytes", len));
	free(bytes);
}

static void send_error(struct bus *bus, const char *reply, enum query_kind kind, const char *code,
		       const char *message)
{
	Penstock__ReplayReply replay = PENSTOCK__REPLAY_REPLY__INIT;
	Penstock__JsonReply json = PENSTOCK__JSON_REPLY__INIT;

	replay.error = json.error = (char *)code;
	replay.message = json.message = (char *)message;
	pack_and_send(bus, reply, kind == QUERY_REPLAY ? &replay.base : &json.base);
}

static void send_page(struct store_query *s, const struct query *q)
{
	Penstock__ReplayReply reply = PENSTOCK__REPLAY_REPLY__INIT;

	reply.epoch = s->conf.epoch;
	reply.events = q->page.events;
	reply.n_events = q->page.n;
	reply.more = q->page.more;
	reply.earliest = q->page.earliest;
	reply.stored = q->asked;
	reply.kept_from = q->page.kept_from;
	reply.position = q->position;
	pack_and_send(s->bus, q->reply, &reply.base);
}

static void send_json(struct store_query *s, const struct query *q)
{
	Penstock__JsonReply reply = PENSTOCK__JSON_REPLY__INIT;

	reply.json.data = (uint8_t *)q->json;
	reply.json.len = q->json_len;
	pack_and_send(s->bus, q->reply, &reply.base);
}

void store_query_free_one(struct query *q)
{
	store_page_done(&q->page);
	project_done(&q->task);
	free(q->json);
	free(q->reply);
	free(q->tenant);
	free(q->id);
	free(q);
}

static void unlink_query(struct store_query *s, struct query *q)
{
	struct query **at = &s->first;

	while (*at != q)
		at = &(*at)->all;
	*at = q->all;
	metric_set(s->m_under_way, (int64_t)--s->n);
}

void store_query_finish(struct query *q)
{
	struct store_query *s = q->owner;
	enum result result = !q->error ? RESULT_OK : RESULT_ERROR;

	if (q->error)
		send_error(s->bus, q->reply, q->kind, q->error, q->message ? q->message : "");
	else if (q->kind == QUERY_REPLAY)
		send_page(s, q);
	else
		send_json(s, q);
	metric_add(s->m_done[q->kind][result], 1);
	histogram_observe_us(s->m_seconds[q->kind], loop_now_us(s->loop) - q->since_us);
	unlink_query(s, q);
	store_query_free_one(q);
}

struct bus *store_query_bus(struct query *q)
{
	return q->owner->bus;
}

unsigned store_query_parts(struct query *q)
{
	return q->owner->conf.parts;
}

int64_t store_query_age_us(struct query *q)
{
	return loop_now_us(q->owner->loop) - q->since_us;
}

/* --- requests ----------------------------------------------------------------------------------
 */

/* Each copies what it needs; NULL, or what is wrong with the request. */
static const char *read_replay(struct query *q, const struct bus_msg *msg)
{
	Penstock__ReplayRequest *r = penstock__replay_request__unpack(NULL, msg->len, msg->data);
	const char *fault = NULL;

	if (!r)
		return "not a ReplayRequest";
	if (!name_valid_tenant(r->tenant) || !name_valid_channel(r->channel))
		fault = "bad tenant or channel";
	q->tenant = xstrdup(r->tenant);
	q->id = xstrdup(r->channel);
	q->after = r->after < INT64_MAX ? r->after : INT64_MAX - 1;
	q->until = r->until;
	q->limit = r->limit && r->limit < STORE_PAGE_MAX ? r->limit : STORE_PAGE_MAX;
	q->max_bytes =
	    r->max_bytes && r->max_bytes < STORE_PAGE_BYTES ? r->max_bytes : STORE_PAGE_BYTES;
	penstock__replay_request__free_unpacked(r, NULL);
	return fault;
}

static const char *read_task(struct query *q, const struct bus_msg *msg)
{
	Penstock__TaskRequest *r = penstock__task_request__unpack(NULL, msg->len, msg->data);
	char channel[CHANNEL_MAX + 64];
	const char *fault = NULL;

	if (!r)
		return "not a TaskRequest";
	snprintf(channel, sizeof(channel), "task.%s", r->task);
	if (!name_valid_channel(channel) || (*r->tenant && !name_valid_tenant(r->tenant)))
		fault = "bad task or tenant";
	q->tenant = xstrdup(r->tenant);
	q->id = xstrdup(r->task);
	penstock__task_request__free_unpacked(r, NULL);
	return fault;
}

static const char *read_timeline(struct query *q, const struct bus_msg *msg)
{
	Penstock__TimelineRequest *r =
	    penstock__timeline_request__unpack(NULL, msg->len, msg->data);
	const char *fault = NULL;

	if (!r)
		return "not a TimelineRequest";
	/* A key is what an id may look like at most: printable ASCII. */
	if (!name_valid_key(r->id) || (*r->tenant && !name_valid_tenant(r->tenant)))
		fault = "bad id or tenant";
	q->tenant = xstrdup(r->tenant);
	q->id = xstrdup(r->id);
	penstock__timeline_request__free_unpacked(r, NULL);
	return fault;
}

static const char *read_deliveries(struct query *q, const struct bus_msg *msg)
{
	const char *fault = read_timeline(q, msg);

	return fault || id_valid(q->id) ? fault : "the id is no event's";
}

const char *store_query_read(struct query *q, const struct bus_msg *msg)
{
	static const char *(*const read[])(struct query *, const struct bus_msg *) = {
	    read_replay, read_task, read_timeline, read_deliveries};

	return read[q->kind](q, msg);
}

static void on_pool_done(void *arg, struct store_job *job)
{
	(void)arg;
	store_query_tail((struct query *)job);
}

static void on_request(struct store_query *s, enum query_kind kind, const struct bus_msg *msg)
{
	if (!msg->reply)
		return;
	if (s->n >= s->conf.queue_max) {
		metric_add(s->m_done[kind][RESULT_REFUSED], 1);
		send_error(s->bus, msg->reply, kind, "overloaded", "too many queries at once");
		return;
	}
	struct query *q = xcalloc(1, sizeof(*q));
	q->owner = s;
	q->kind = kind;
	q->epoch = s->conf.epoch;
	q->since_us = loop_now_us(s->loop);
	q->reply = xstrdup(msg->reply);
	q->all = s->first;
	s->first = q;
	metric_set(s->m_under_way, (int64_t)++s->n);
	q->message = store_query_read(q, msg);
	if (q->message) {
		q->error = "bad_request";
		store_query_finish(q);
		return;
	}
	store_pool_add(s->pool, &q->job);
}

static void on_replay(void *arg, const struct bus_msg *msg)
{
	on_request(arg, QUERY_REPLAY, msg);
}

static void on_task(void *arg, const struct bus_msg *msg)
{
	on_request(arg, QUERY_TASK, msg);
}

static void on_timeline(void *arg, const struct bus_msg *msg)
{
	on_request(arg, QUERY_TIMELINE, msg);
}

static void on_deliveries(void *arg, const struct bus_msg *msg)
{
	on_request(arg, QUERY_DELIVERIES, msg);
}

/* --- life --------------------------------------------------------------------------------------
 */

static void make_metrics(struct store_query *s, struct metrics *m)
{
	for (int k = 0; k < N_QUERY_KINDS; k++) {
		char labels[64];
		for (int r = 0; r < N_RESULTS; r++) {
			snprintf(labels, sizeof(labels), "kind=\"%s\",result=\"%s\"", kind_names[k],
				 result_names[r]);
			s->m_done[k][r] = metrics_counter(m, "penstock_store_queries_total", labels,
							  "Queries answered");
		}
		snprintf(labels, sizeof(labels), "kind=\"%s\"", kind_names[k]);
		s->m_seconds[k] = metrics_histogram(m, "penstock_store_query_seconds", labels,
						    "From a query's arrival to its answer");
	}
	s->m_under_way = metrics_gauge(m, "penstock_store_queries_under_way", NULL,
				       "Queries that wait or are being answered");
}

struct store_query *store_query_start(struct bus *bus, struct loop *loop,
				      const struct store_query_conf *conf, struct metrics *metrics,
				      struct error *err)
{
	static const struct {
		const char *subject;
		bus_msg_fn *fn;
	} subs[] = {{SUBJECT_STORE_REPLAY, on_replay},
		    {SUBJECT_STORE_TASK, on_task},
		    {SUBJECT_STORE_TIMELINE, on_timeline},
		    {SUBJECT_STORE_DELIVERIES, on_deliveries}};
	struct store_query *s = xcalloc(1, sizeof(*s));

	s->bus = bus;
	s->loop = loop;
	s->conf = *conf;
	s->conf.dsn = NULL; /* the pool has its own copy */
	make_metrics(s, metrics);
	s->pool = store_pool_start(loop,
				   &(struct store_pool_conf){.dsn = conf->dsn,
							     .name = "penstock-event-store query",
							     .threads = conf->threads,
							     .prepare = store_query_prepare,
							     .work = store_query_ask_postgres,
							     .done = on_pool_done},
				   s);
	for (int k = 0; k < N_QUERY_KINDS; k++) {
		s->subs[k] = bus_subscribe(bus, subs[k].subject, "store", subs[k].fn, s, err);
		if (!s->subs[k]) {
			store_query_stop(s, 0);
			store_query_free(s);
			return NULL;
		}
	}
	return s;
}

void store_query_stop(struct store_query *s, int timeout_ms)
{
	if (!s)
		return;
	for (int k = 0; k < N_QUERY_KINDS; k++) {
		bus_unsubscribe(s->subs[k]);
		s->subs[k] = NULL;
	}
	/* What the threads have finished goes on to its tail; what they did not begin comes back
	 * undone. */
	store_pool_stop(s->pool, timeout_ms);
	s->pool = NULL;
	for (struct query *q = s->first; q; q = q->all)
		send_error(s->bus, q->reply, q->kind, "unavailable",
			   "this event-store is stopping");
}

void store_query_free(struct store_query *s)
{
	if (!s)
		return;
	while (s->first) {
		struct query *q = s->first;
		s->first = q->all;
		store_query_free_one(q);
	}
	free(s);
}
