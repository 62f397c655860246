/* The second half of a query: the end of the stream that PostgreSQL does not have yet.
 *
 * Trimming leaves alone what was committed less than a trim's period ago (trim.h), and a query is
 * older than TAIL_MAX_US never: so nothing can fall between the two. */
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "common/pg.h"
#include "services/event-store/deliveries.h"
#include "services/event-store/query_impl.h"
#include "services/event-store/timeline.h"

#define TAIL_MAX_US  5000000
#define OUT_OF_REACH "PostgreSQL is away and the stream does not reach back to it"
/* One message of NATS less what surrounds it. */
#define JSON_MAX (1000 * 1024)

static void next_message(struct query *q);

/* --- PostgreSQL's half (a pool thread) ----------------------------------------------------------
 */

static void put_json(struct query *q, json_t *doc)
{
	/* Too long for one message: the longest members go, and the document says so. */
	static const char *const heavy[] = {"input", "output"};

	q->json = json_text(doc, &q->json_len);
	for (size_t i = 0; q->json_len > JSON_MAX && i < 2; i++) {
		free(q->json);
		json_object_set_new(doc, heavy[i], json_null());
		json_object_set_new(doc, "truncated", json_true());
		q->json = json_text(doc, &q->json_len);
	}
	if (q->json_len > JSON_MAX) {
		q->error = "too_large";
		q->message = "the answer does not fit into one message";
	}
	json_decref(doc);
}

static int ask(PGconn *conn, struct query *q, struct error *err)
{
	json_t *doc = NULL;
	int rc;

	switch (q->kind) {
	case QUERY_REPLAY:
		q->page.max_bytes = q->max_bytes;
		rc = store_query_page(conn, q->epoch, q->tenant, q->id, q->after, q->until,
				      q->limit, &q->page, err);
		q->position = q->page.position;
		return rc;
	case QUERY_TASK:
		return store_query_task(conn, q->epoch, q->id, &q->task, &q->position, err);
	default:
		rc = (q->kind == QUERY_TIMELINE ? store_timeline : store_deliveries)(
		    conn, q->id, q->tenant, &doc, err);
		if (!rc && doc) {
			put_json(q, doc);
		} else if (!rc) {
			q->error = "not_found";
			q->message = "nothing has this id";
		}
		return rc;
	}
}

int store_query_ask_postgres(PGconn *conn, struct store_job *job)
{
	struct query *q = (struct query *)job;
	struct error err = {0};

	if (!conn)
		return 0;
	if (!ask(conn, q, &err)) {
		q->asked = true;
		return 0;
	}
	log_at(LOG_WARN, "a query failed", LOG_S("error", err.msg), LOG_S("id", q->id));
	store_page_done(&q->page);
	project_done(&q->task);
	q->position = 0;
	return pg_alive(conn) ? 0 : -1;
}

/* --- the stream's half (the loop) ---------------------------------------------------------------
 */

static void fail(struct query *q, const char *error, const char *message)
{
	q->error = error;
	q->message = message;
	store_query_finish(q);
}

static void done(struct query *q)
{
	if (q->kind == QUERY_TASK) {
		if (!q->task.task && !q->asked && !q->whole) {
			fail(q, "unavailable", OUT_OF_REACH);
			return;
		}
		if (!q->task.task) {
			fail(q, "not_found", "no such task");
			return;
		}
		put_json(q, project_json(&q->task));
	}
	store_query_finish(q);
}

/* The stream cannot be read now. A page with something in it is still a true one: there may be
 * more. */
static void cut_short(struct query *q)
{
	if (q->kind == QUERY_REPLAY && q->page.n) {
		q->page.more = true;
		store_query_finish(q);
	} else {
		fail(q, "unavailable", "the stream cannot be read at the moment");
	}
}

/* true: go on with the next message. */
static bool page_take(struct query *q, uint64_t seq, Penstock__Event *event)
{
	if (!q->page.earliest)
		q->page.earliest = seq;
	if (seq <= q->after) { /* it was only asked for as the earliest one, or as the one before */
		q->page.before = seq;
		q->next = seq < q->after ? q->after : q->after + 1;
		penstock__event__free_unpacked(event, NULL);
		return true;
	}
	if (q->until && seq > q->until) {
		penstock__event__free_unpacked(event, NULL);
		return false;
	}
	return store_page_add(&q->page, seq, event, q->limit);
}

static bool task_take(struct query *q, uint64_t seq, Penstock__Event *e)
{
	struct project_event event = {.epoch = q->epoch,
				      .seq = seq,
				      .time_us = e->time_us,
				      .tenant = e->tenant,
				      .channel = e->channel,
				      .type = e->type,
				      .data = e->data.data,
				      .len = e->data.len};

	/* Without PostgreSQL the stream must have the whole story. */
	bool whole = q->asked || q->task.task || !strcmp(e->type, "task.accepted");
	if (whole && project_is_transition(e->channel, e->type))
		project_apply(&q->task, &event);
	penstock__event__free_unpacked(e, NULL);
	return whole;
}

static void on_message(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct query *q = arg;

	if (result == BUS_NOT_FOUND) {
		done(q);
		return;
	}
	if (result != BUS_OK || store_query_age_us(q) > TAIL_MAX_US) {
		cut_short(q);
		return;
	}
	Penstock__Event *event = penstock__event__unpack(NULL, msg->len, msg->data);
	q->next = msg->seq + 1;
	if (!event) { /* it is on its way to quarantine */
		next_message(q);
		return;
	}
	bool more =
	    q->kind == QUERY_REPLAY ? page_take(q, msg->seq, event) : task_take(q, msg->seq, event);
	if (more)
		next_message(q);
	else if (q->kind == QUERY_TASK)
		fail(q, "unavailable", OUT_OF_REACH);
	else
		store_query_finish(q);
}

static void next_message(struct query *q)
{
	bus_get_next(store_query_bus(q), STREAM_EVENTS, q->subject.text, q->next, on_message, q);
}

/* PostgreSQL is away: does the stream alone reach back to where the question begins? */
static void on_reach(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct query *q = arg;

	if (result != BUS_OK)
		fail(q, "unavailable",
		     "neither PostgreSQL nor the stream can be read at the moment");
	else if (q->kind == QUERY_REPLAY && info->first_seq > q->after + 1)
		fail(q, "unavailable", OUT_OF_REACH);
	else {
		q->whole = info->first_seq <= 1;
		next_message(q);
	}
}

static void task_tail(struct query *q)
{
	if (q->task.task && *q->tenant && strcmp(q->task.tenant, q->tenant) != 0) {
		fail(q, "not_found", "no such task");
		return;
	}
	const char *tenant = q->task.task ? q->task.tenant : q->tenant;
	char channel[CHANNEL_MAX + 1];
	if (!*tenant) { /* an operator's question, and not projected yet: nobody knows its subject
			 */
		fail(q, "not_found", "no such task");
		return;
	}
	task_channel(q->id, channel);
	q->subject = subject_evt(part_of(tenant, store_query_parts(q)), tenant, channel);
	q->next = q->position + 1;
	if (q->task.epoch == q->epoch && q->task.last_seq > q->position)
		q->next = q->task.last_seq + 1;
	if (project_final(q->task.state))
		done(q);
	else if (q->asked)
		next_message(q);
	else
		bus_stream_info(store_query_bus(q), STREAM_EVENTS, NULL, on_reach, q);
}

static void replay_tail(struct query *q)
{
	q->page.max_bytes = q->max_bytes;
	uint64_t last = q->page.n ? q->page.events[q->page.n - 1]->offset : q->after;

	q->subject = subject_evt(part_of(q->tenant, store_query_parts(q)), q->tenant, q->id);
	q->next = (last > q->position ? last : q->position) + 1;
	if (!q->page.earliest) /* the channel begins in the tail */
		q->next = q->position + 1;
	else if (q->after > q->position) /* so that the first one knows the one before */
		q->next = q->after;
	if (q->page.more || (q->until && q->until <= q->position && q->page.earliest))
		store_query_finish(q);
	else if (q->asked)
		next_message(q);
	else
		bus_stream_info(store_query_bus(q), STREAM_EVENTS, NULL, on_reach, q);
}

void store_query_tail(struct query *q)
{
	if (store_query_age_us(q) > TAIL_MAX_US)
		fail(q, "unavailable", "it waited too long");
	else if (q->error)
		store_query_finish(q);
	else if (q->kind == QUERY_REPLAY)
		replay_tail(q);
	else if (q->kind == QUERY_TASK)
		task_tail(q);
	else if (q->asked)
		store_query_finish(q);
	else
		fail(q, "unavailable", "PostgreSQL is away");
}
