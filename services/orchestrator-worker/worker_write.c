/* A saga's transitions, written to the log; and the word that a task has ended. */
#include "common/log.h"
#include "services/orchestrator-worker/worker_impl.h"

#define STORE_TIMEOUT_MS 2000

static void on_written(void *arg, const struct bus_ack *ack)
{
	struct worker_task *t = arg;
	struct worker *w = t->w;
	if (t->finished) {
		worker_task_release(t);
		return;
	}
	enum saga_write_result result = WRITE_UNKNOWN;
	switch (ack->result) {
	case BUS_OK:
		result = WRITTEN;
		metric_add(w->stats->transitions, 1);
		histogram_observe_us(w->stats->write_time, loop_now_us(w->loop) - t->write_us);
		break;
	case BUS_CONFLICT:
		result = WRITE_CONFLICT;
		metric_add(w->stats->fenced, 1);
		break;
	case BUS_REJECTED:
		result = WRITE_REFUSED;
		log_at(LOG_ERROR, "transition refused", LOG_S("task", t->task),
		       LOG_S("type", saga_type_name(t->saga.write.type)),
		       LOG_S("error", bus_error_text(w->bus)));
		break;
	default: /* BUS_FULL too: it is tried until there is room */
		metric_add(w->stats->writes_repeated, 1);
		break;
	}
	saga_written(&t->saga, result, ack->seq, worker_now_ms(w));
	worker_task_release(t);
}

static void store(struct worker_task *t, const Penstock__Event *e, const struct saga_write *write)
{
	struct strbuf *b = &t->w->packed;
	strbuf_reset(b);
	strbuf_reserve(b, penstock__event__get_packed_size(e));
	size_t len = penstock__event__pack(e, (uint8_t *)b->data);
	/* Compare-and-set makes a repeat harmless: it is refused, and the channel read again. Only
	 * a subject that is empty, again after a trim, does not tell whether we have been here. The
	 * broker would keep each id for as long as its dedupe window lasts. */
	struct bus_store_opts opts = {.msg_id = write->expect == 0 ? write->id.text : NULL,
				      .expect_last_seq = write->expect,
				      .timeout_ms = STORE_TIMEOUT_MS};
	t->waits++;
	t->write_us = loop_now_us(t->w->loop);
	bus_store(t->w->bus, t->subject.text, &opts, b->data, len, on_written, t);
}

void worker_write(struct worker_task *t)
{
	struct saga_write *write = &t->saga.write;
	if (write->type == TASK_ACCEPTED) { /* the router's own event, as it is in the ticket */
		Penstock__Ticket *ticket = penstock__ticket__unpack(NULL, t->ticket_len, t->ticket);
		store(t, ticket->accepted, write);
		penstock__ticket__free_unpacked(ticket, NULL);
		return;
	}
	Penstock__Event e = PENSTOCK__EVENT__INIT;
	e.id = write->id.text;
	e.tenant = t->tenant;
	e.channel = t->channel;
	e.type = (char *)saga_type_name(write->type);
	e.version = 1;
	e.data.data = (uint8_t *)write->data.data;
	e.data.len = write->data.len;
	e.time_us = loop_wall_us(t->w->loop);
	e.trace = t->trace;
	e.depth = t->depth;
	store(t, &e, write);
}

/* What was charged for its tokens is settled once, although its end may be said twice: whoever held
 * this ticket before has perhaps said it, if the end was in the log when we came. */
static bool settles(const struct worker_task *t)
{
	bool came_late = t->saga.write.data.len == 0; /* we have written nothing */
	return !came_late || !t->repeated;
}

void worker_say_end(struct worker_task *t)
{
	Penstock__TaskEnd end = PENSTOCK__TASK_END__INIT;
	end.tenant = t->tenant;
	end.task = t->task;
	end.pool = (char *)t->w->pools[t->pool].name;
	end.tokens = t->tokens;
	if (settles(t)) {
		int64_t estimate = t->tokens < INT64_MAX ? (int64_t)t->tokens : INT64_MAX;
		end.charge = t->charge;
		end.used = (uint64_t)saga_used(&t->saga, estimate);
	}
	struct strbuf *b = &t->w->packed;
	strbuf_reset(b);
	strbuf_reserve(b, penstock__task_end__get_packed_size(&end));
	size_t len = penstock__task_end__pack(&end, (uint8_t *)b->data);
	struct subject subject = subject_end(t->part);
	struct error err;
	if (bus_publish(t->w->bus, subject.text, b->data, len, &err))
		log_at(LOG_WARN, "end of a task not told", LOG_S("task", t->task),
		       LOG_S("error", err.msg));
}
