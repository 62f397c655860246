/* Reads a task's channel for its saga: first the newest event, which is all that a fresh task has;
 * if there is more, the rest from the stream; and what the stream has no more, from the
 * event-store. */
#include "common/log.h"
#include "proto/store.pb-c.h"
#include "services/orchestrator-worker/worker_impl.h"

#define STORE_TIMEOUT_MS 3000
#define STORE_TRIES      4
#define PAGE                                                                                       \
	200 /* outputs may be large; a message of the broker's holds 1 MiB, the store ends a page  \
	       before that */
#define AGAIN_MS     200
#define AGAIN_MAX_MS 3000
#define GIVE_BACK_MS 5000

static void fold(struct worker_task *t, uint64_t seq, const Penstock__Event *e)
{
	saga_fold(&t->saga, seq, e->id, e->type, (const char *)e->data.data, e->data.len);
}

static void loaded(struct worker_task *t, bool trimmed)
{
	t->load.active = false;
	saga_loaded(&t->saga, trimmed, worker_now_ms(t->w));
}

static void again(struct worker_task *t)
{
	int64_t wait = AGAIN_MS << (t->load.tries < 5 ? t->load.tries : 5);
	t->load.tries++;
	timer_set(t->w->loop, &t->load_timer, (wait < AGAIN_MAX_MS ? wait : AGAIN_MAX_MS) * 1000);
}

static bool no_answer(enum bus_result result)
{
	return result != BUS_OK && result != BUS_NOT_FOUND;
}

/* --- the event-store ----------------------------------------------------------------------- */

static void ask_store(struct worker_task *t);
static void ask_next(struct worker_task *t);

static void store_done(struct worker_task *t)
{
	if (t->load.next != 0)
		ask_next(t); /* the stream goes on where the store's part ends */
	else
		loaded(t, true);
}

static bool take_page(struct worker_task *t, const struct bus_msg *msg)
{
	Penstock__ReplayReply *reply = penstock__replay_reply__unpack(NULL, msg->len, msg->data);
	if (reply == NULL || reply->error[0] != '\0') {
		penstock__replay_reply__free_unpacked(reply, NULL);
		return false;
	}
	for (size_t i = 0; i < reply->n_events; i++) {
		const Penstock__StoredEvent *stored = reply->events[i];
		if (stored->event == NULL)
			continue;
		fold(t, stored->offset, stored->event);
		t->load.store_after = stored->offset;
	}
	bool more = reply->more && reply->n_events > 0;
	penstock__replay_reply__free_unpacked(reply, NULL);
	if (more)
		ask_store(t);
	else
		store_done(t);
	return true;
}

static void on_page(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct worker_task *t = arg;
	if (!t->finished && (result != BUS_OK || !take_page(t, msg))) {
		if (++t->load.tries > STORE_TRIES)
			worker_task_finish(t, VERDICT_LATER, GIVE_BACK_MS);
		else
			again(t);
	}
	worker_task_release(t);
}

static void ask_store(struct worker_task *t)
{
	Penstock__ReplayRequest ask = PENSTOCK__REPLAY_REQUEST__INIT;
	ask.tenant = t->tenant;
	ask.channel = t->channel;
	ask.after = t->load.store_after;
	ask.until = t->load.store_until;
	ask.limit = PAGE;
	struct strbuf *b = &t->w->packed;
	strbuf_reset(b);
	strbuf_reserve(b, penstock__replay_request__get_packed_size(&ask));
	size_t len = penstock__replay_request__pack(&ask, (uint8_t *)b->data);
	t->waits++;
	bus_request(t->w->bus, SUBJECT_STORE_REPLAY, b->data, len, STORE_TIMEOUT_MS, on_page, t);
}

/* --- the stream ---------------------------------------------------------------------------- */

/* The first event that the stream still has of a channel that was not known: is it the beginning?
 */
static bool beginning_trimmed(struct worker_task *t, uint64_t seq, const Penstock__Event *e)
{
	bool first = !t->load.begun && t->load.after == 0;
	t->load.begun = true;
	if (!first || saga_type_of(e->type) == TASK_ACCEPTED)
		return false;
	t->load.next = seq;
	t->load.store_after = 0;
	t->load.store_until = seq - 1;
	return true;
}

static void take_next(struct worker_task *t, const struct bus_msg *msg)
{
	Penstock__Event *e = penstock__event__unpack(NULL, msg->len, msg->data);
	uint64_t seq = msg->seq;
	if (e != NULL && beginning_trimmed(t, seq, e)) {
		penstock__event__free_unpacked(e, NULL);
		ask_store(t);
		return;
	}
	if (e != NULL)
		fold(t, seq, e);
	else
		log_at(LOG_ERROR, "event does not parse", LOG_S("task", t->task),
		       LOG_I("seq", seq));
	penstock__event__free_unpacked(e, NULL);
	t->load.next = seq + 1;
	if (seq >= t->load.until)
		loaded(t, false);
	else
		ask_next(t);
}

static void on_next(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct worker_task *t = arg;
	if (t->finished) {
	} else if (result == BUS_OK) {
		take_next(t, msg);
	} else {
		again(t); /* also if it was trimmed just now: from the start */
	}
	worker_task_release(t);
}

static void ask_next(struct worker_task *t)
{
	t->waits++;
	bus_get_next(t->w->bus, STREAM_EVENTS, t->subject.text, t->load.next, on_next, t);
}

/* The newest event is enough if nothing can be before it, or if nothing can come after it. */
static bool enough(const struct worker_task *t, const Penstock__Event *e)
{
	enum saga_type type = saga_type_of(e->type);
	return t->load.after == 0 && (type == TASK_ACCEPTED || saga_type_terminal(type));
}

static void take_last(struct worker_task *t, const struct bus_msg *msg)
{
	if (msg->seq <= t->load.after) {
		loaded(t, false);
		return;
	}
	Penstock__Event *e = penstock__event__unpack(NULL, msg->len, msg->data);
	if (e != NULL && enough(t, e)) {
		fold(t, msg->seq, e);
		loaded(t, false);
	} else {
		t->load.until = msg->seq;
		t->load.next = t->load.after + 1;
		ask_next(t);
	}
	penstock__event__free_unpacked(e, NULL);
}

/* Nothing there: the ticket was faster than its event, or the channel is old and was trimmed. What
 * a ticket lets go on was surely there. */
static void take_nothing(struct worker_task *t)
{
	int64_t age_ms = (loop_wall_us(t->w->loop) - t->stored_us) / 1000;
	if (t->load.after == 0 && t->saga.behind == 0 && age_ms < t->w->conf.fresh_ms) {
		loaded(t, true);
		return;
	}
	t->load.next = 0;
	t->load.store_after = t->load.after;
	t->load.store_until = 0;
	ask_store(t);
}

static void on_last(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct worker_task *t = arg;
	if (t->finished) {
	} else if (result == BUS_OK) {
		take_last(t, msg);
	} else if (no_answer(result)) {
		again(t);
	} else {
		take_nothing(t);
	}
	worker_task_release(t);
}

/* Also after a failure: from the start; the saga ignores what it knows. */
void worker_load_start(struct worker_task *t, uint64_t after)
{
	unsigned tries = t->load.active ? t->load.tries : 0;
	t->load = (struct worker_load){.after = after, .active = true, .tries = tries};
	t->waits++;
	bus_get_last(t->w->bus, STREAM_EVENTS, t->subject.text, on_last, t);
}
