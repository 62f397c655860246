/* Tasks: the ticket into the queue, then task.accepted into the log; answered when both are
 * acknowledged.
 *
 * The pair of acknowledgements decides (docs/internals.md, the life of a task):
 *
 *   event \ ticket   stored or known                    refused or unknown
 *   stored           accepted                           unavailable/overloaded; the ticket is sent
 * again known already    compared: duplicate or conflict    … duplicate only if the log shows that
 * it runs refused          unavailable: the worker writes it  unavailable, or overloaded
 *
 * A repeat of the command sends its ticket again as well: TASKS drops it by its id, or a worker
 * does by the log.
 *
 * A task with a not_before that is still to come has no ticket yet: its task.accepted says so, and
 * the event-store asks for its ticket in time, as for a parked one's (release.c). */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "services/router/impl.h"

#define RETRY_MIN_US  200000
#define RETRY_MAX_US  5000000
#define RETRIES_MAX   16
#define BYTES_A_TOKEN 4

struct submit {
	struct router_call call;
	struct router_ticket ticket;
	unsigned part;
	char task[ID_LEN + 1];
	struct id event;
	uint64_t digest;
	char key[KEY_MAX + 1];
	bool ticket_back, event_back;
	struct bus_ack ticket_ack, event_ack;
	uint64_t offset; /* of task.accepted, once it is known to be ours */
	bool own;        /* … and this very command made it */
	/* the ticket, kept until it is surely there */
	uint8_t *bytes;
	size_t len;
	int attempt;
	struct timer retry;
};

static const char used_key[] = "the key was used for another task";

static void submit_end(struct submit *s)
{
	struct router *r = s->call.router;
	timer_cancel(r->loop, &s->retry);
	r->inflight_bytes -= s->len;
	free(s->bytes);
	s->bytes = NULL;
	s->len = 0;
	router_call_end(&s->call);
}

static void refuse_conflict(struct submit *s)
{
	struct admit_refusal why = admit_refuse("conflict", used_key, "tenant");
	router_call_refuse(&s->call, &why);
	submit_end(s);
}

static void accept(struct submit *s)
{
	struct router *r = s->call.router;
	char channel[CHANNEL_MAX + 1];
	struct recent_entry entry = {s->digest, s->offset,
				     s->own ? recent_command(s->call.command) : 0};
	/* Known only from here on: a repeat answered from memory promises that the ticket is there.
	 */
	recent_add(r->recent, s->task, &entry);
	histogram_observe_us(r->stats.task, loop_now_us(r->loop) - s->call.start_us);
	task_channel(s->task, channel);
	router_call_accept(&s->call, s->event.text, channel, s->offset, !s->own, s->task);
	submit_end(s);
}

/* --- the ticket, until it is there ----------------------------------------------------------- */

static void send_ticket(struct submit *s, bus_ack_fn *fn)
{
	router_ticket_send(s->call.router, &s->ticket, s->bytes, s->len, fn, s);
}

static void ticket_again(struct timer *timer, void *arg);

/* The event is in the log and the client was told to come back; the ticket must follow on its own,
 * or the task would never run. */
static void retry_later(struct submit *s)
{
	struct router *r = s->call.router;
	if (++s->attempt > RETRIES_MAX) {
		log_at(LOG_ERROR, "task is in the log but not in the queue; a repeat will queue it",
		       LOG_S("tenant", s->ticket.tenant), LOG_S("task", s->task));
		submit_end(s);
		return;
	}
	int64_t jitter = backoff_full_jitter(&r->rng, s->attempt, RETRY_MIN_US, 2, RETRY_MAX_US);
	timer_init(&s->retry, ticket_again, s);
	timer_set(r->loop, &s->retry, RETRY_MIN_US + jitter);
}

static void retried(void *arg, const struct bus_ack *ack)
{
	struct submit *s = arg;
	router_ticket_sent(s->call.router, &s->ticket, ack);
	if (ack->result == BUS_OK)
		accept(s);
	else
		retry_later(s);
}

static void ticket_again(struct timer *timer, void *arg)
{
	struct submit *s = arg;
	(void)timer;
	metric_add(s->call.router->stats.ticket_retries, 1);
	send_ticket(s, retried);
}

/* --- what the log says of a task that is known already --------------------------------------- */

/* The ticket is not surely there: only a log that shows the task started proves that it was. */
static void last_read(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct submit *s = arg;
	struct router *r = s->call.router;
	Penstock__Event *last = NULL;
	router_arena_reset(&r->arena);
	if (result == BUS_OK)
		last = penstock__event__unpack(&r->arena.allocator, msg->len, msg->data);
	if (last && strcmp(last->type, "task.accepted") != 0) {
		accept(s);
		return;
	}
	router_call_failed(&s->call, s->ticket_ack.result);
	if (last && s->own)
		retry_later(s);
	else
		submit_end(s);
}

static void known(struct submit *s, uint64_t digest, bool own, uint64_t offset)
{
	struct router *r = s->call.router;
	if (digest != s->digest) {
		refuse_conflict(s);
		return;
	}
	s->own = own;
	s->offset = offset;
	if (s->ticket_ack.result == BUS_OK) {
		accept(s);
		return;
	}
	char channel[CHANNEL_MAX + 1];
	task_channel(s->task, channel);
	struct subject subject = subject_evt(s->part, s->ticket.tenant, channel);
	bus_get_last(r->bus, STREAM_EVENTS, subject.text, last_read, s);
}

static void first_read(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct submit *s = arg;
	struct router *r = s->call.router;
	Penstock__Event *first = NULL;
	router_arena_reset(&r->arena);
	if (result == BUS_OK)
		first = penstock__event__unpack(&r->arena.allocator, msg->len, msg->data);
	if (!first) {
		router_call_failed(&s->call, result == BUS_NOT_FOUND ? BUS_UNAVAILABLE : result);
		submit_end(s);
		return;
	}
	/* The beginning may be trimmed. A task's channel is derived from its key, so the task is
	 * the key's; what it was given can no longer be compared. Where it was the broker says, for
	 * as long as it knows the id. */
	if (strcmp(first->type, "task.accepted") != 0)
		known(s, s->digest, false, s->event_ack.duplicate ? s->event_ack.seq : msg->seq);
	else
		known(s, first->digest, strcmp(first->command, s->call.command) == 0, msg->seq);
}

static void read_first(struct submit *s)
{
	struct router *r = s->call.router;
	char channel[CHANNEL_MAX + 1];
	task_channel(s->task, channel);
	struct subject subject = subject_evt(s->part, s->ticket.tenant, channel);
	bus_get_next(r->bus, STREAM_EVENTS, subject.text, 1, first_read, s);
}

/* --- both acknowledgements ------------------------------------------------------------------- */

static void decide(struct submit *s)
{
	if (!s->ticket_back || !s->event_back)
		return;
	bool known_already = s->event_ack.result == BUS_CONFLICT ||
			     (s->event_ack.result == BUS_OK && s->event_ack.duplicate);
	if (known_already) {
		read_first(s);
	} else if (s->event_ack.result == BUS_OK) {
		s->own = true;
		s->offset = s->event_ack.seq;
		if (s->ticket_ack.result == BUS_OK) {
			accept(s);
		} else {
			router_call_failed(&s->call, s->ticket_ack.result);
			retry_later(s);
		}
	} else {
		router_call_failed(
		    &s->call, s->ticket_ack.result == BUS_FULL ? BUS_FULL : s->event_ack.result);
		submit_end(s);
	}
}

static void ticket_stored(void *arg, const struct bus_ack *ack)
{
	struct submit *s = arg;
	router_ticket_sent(s->call.router, &s->ticket, ack);
	s->ticket_ack = *ack;
	s->ticket_back = true;
	decide(s);
}

static void event_stored(void *arg, const struct bus_ack *ack)
{
	struct submit *s = arg;
	s->event_ack = *ack;
	s->event_back = true;
	decide(s);
}

/* --- the command ----------------------------------------------------------------------------- */

/* The pipeline as it was named, its input and the time that it is wanted at; not the deadline,
 * which a client that repeats counts anew. */
static uint64_t submit_digest(const Penstock__SubmitTask *t)
{
	struct digest_part parts[] = {{"task", 4},
				      {t->pipeline, strlen(t->pipeline)},
				      {t->input.data, t->input.len},
				      {&t->not_before_ms, sizeof(t->not_before_ms)}};
	size_t n = sizeof(parts) / sizeof(*parts);
	return digest64(parts, t->not_before_ms ? n : n - 1);
}

static void accepted_data(struct strbuf *b, const Penstock__SubmitTask *t, const char *task,
			  unsigned version, int64_t wall_ms)
{
	bool delayed = t->not_before_ms > wall_ms;
	strbuf_reset(b);
	strbuf_addf(b, "{\"task\":\"%s\",\"pipeline\":\"%s\",\"version\":%u,\"input\":", task,
		    t->pipeline, version);
	strbuf_add(b, t->input.data, t->input.len);
	strbuf_addf(b, ",\"priority\":%d", (int)t->priority);
	if (delayed)
		strbuf_addf(b, ",\"not_before\":%lld", (long long)t->not_before_ms);
	if (t->deadline_ms)
		strbuf_addf(
		    b, ",\"deadline_at\":%lld",
		    (long long)((delayed ? t->not_before_ms : wall_ms) + (int64_t)t->deadline_ms));
	strbuf_addc(b, '}');
}

static void pack_ticket(struct submit *s, const Penstock__SubmitTask *t, unsigned version,
			Penstock__Event *accepted)
{
	Penstock__Ticket ticket = PENSTOCK__TICKET__INIT;
	ticket.task = s->task;
	ticket.tenant = s->ticket.tenant;
	ticket.pipeline = t->pipeline;
	ticket.version = version;
	ticket.accepted = accepted;
	ticket.pool = (char *)router_pool_name(s->ticket.pool);
	ticket.tokens = (uint64_t)s->ticket.tokens;
	ticket.charge = s->ticket.charge;
	s->len = penstock__ticket__get_packed_size(&ticket);
	s->bytes = xmalloc(s->len);
	penstock__ticket__pack(&ticket, s->bytes);
	s->call.router->inflight_bytes += s->len;
}

/* The ticket, unless it is too early for it, and the event. */
static void store_both(struct submit *s, const Penstock__Command *cmd, unsigned version,
		       int64_t wall_ms)
{
	struct router *r = s->call.router;
	char channel[CHANNEL_MAX + 1];
	task_channel(s->task, channel);
	accepted_data(&r->text, cmd->task, s->task, version, wall_ms);
	Penstock__Event ev = PENSTOCK__EVENT__INIT;
	router_fill_event(r, cmd, &ev);
	ev.id = s->event.text;
	ev.channel = channel;
	ev.type = (char *)"task.accepted";
	ev.version = 1;
	ev.data.data = (uint8_t *)r->text.data;
	ev.data.len = r->text.len;
	ev.key = s->key;
	ev.digest = s->digest;
	bool delayed = cmd->task->not_before_ms > wall_ms;
	if (!delayed)
		pack_ticket(s, cmd->task, version, &ev);
	size_t len = router_pack_event(r, &ev);
	if (!delayed)
		send_ticket(s, ticket_stored);
	s->ticket_back = delayed; /* there is nothing to wait for: ticket_ack is BUS_OK */
	struct subject subject = subject_evt(s->part, s->ticket.tenant, channel);
	struct bus_store_opts opts = {
	    .msg_id = s->event.text, .expect_last_seq = 0, .timeout_ms = r->conf.store_timeout_ms};
	bus_store(r->bus, subject.text, &opts, r->event.data, len, event_stored, s);
}

static bool answered_from_recent(struct router *r, const Penstock__Command *cmd,
				 const struct id *task, const struct id *event, uint64_t digest,
				 const char *reply)
{
	const struct recent_entry *entry = recent_find(r->recent, task->text);
	if (!entry)
		return false;
	metric_add(r->stats.recent_hits, 1);
	if (entry->digest != digest) {
		struct admit_refusal why = admit_refuse("conflict", used_key, "tenant");
		router_refuse(r, ROUTER_TASK, reply, &why);
	} else {
		char channel[CHANNEL_MAX + 1];
		task_channel(task->text, channel);
		router_accept(r, ROUTER_TASK, reply, event->text, channel, entry->offset,
			      entry->command != recent_command(cmd->id), task->text);
	}
	return true;
}

/* Who has it run at a lower priority does not wait for it; without one the pipeline says. */
enum router_pool router_task_pool(int64_t priority, const struct pipeline *pipeline)
{
	bool batch = priority < 0 || (priority == 0 && pipeline && pipeline->batch);
	return batch ? ROUTER_BATCH : ROUTER_INTERACTIVE;
}

int64_t router_task_tokens(size_t input_len, const struct pipeline *pipeline)
{
	if (!pipeline)
		return 0;
	int64_t input = (int64_t)(input_len / BYTES_A_TOKEN);
	int64_t tokens = pipeline->answer_tokens + input * pipeline->model_calls;
	return tokens < WINDOW_TOKENS_MAX ? tokens : WINDOW_TOKENS_MAX;
}

void router_task_submit(struct router *r, const Penstock__Command *cmd, struct router_tenant *t,
			const struct tenant *tenant, const struct pipeline *pipeline,
			const char *reply)
{
	const char *key = cmd->task->key;
	struct id random;
	if (!*key) {
		random = id_new(&r->rng, loop_wall_us(r->loop));
		key = random.text;
	}
	struct id task = id_derive(cmd->tenant, "task", key);
	struct id event = id_derive(cmd->tenant, "accepted", task.text);
	uint64_t digest = submit_digest(cmd->task);
	struct router_ticket ticket = {
	    .pool = router_task_pool(cmd->task->priority, pipeline),
	    .place = WINDOW_BACKLOG,
	    .tokens = router_task_tokens(cmd->task->input.len, pipeline),
	};
	strcpy(ticket.id, task.text);
	strcpy(ticket.tenant, t->name);
	int64_t wall_ms = loop_wall_us(r->loop) / 1000;
	if (answered_from_recent(r, cmd, &task, &event, digest, reply) ||
	    (cmd->task->not_before_ms <= wall_ms &&
	     !router_ticket_admit(r, &ticket, t, tenant, ROUTER_TASK, reply)))
		return;
	struct submit *s =
	    (struct submit *)router_call_new(r, ROUTER_TASK, sizeof(*s), reply, cmd->id);
	s->ticket = ticket;
	strcpy(s->task, task.text);
	strcpy(s->key, key);
	s->part = t->part;
	s->event = event;
	s->digest = digest;
	store_both(s, cmd, pipeline->version, wall_ms);
}

void router_task_close(struct router_call *call)
{
	struct submit *s = (struct submit *)call;
	timer_cancel(call->router->loop, &s->retry);
}

void router_task_free(struct router_call *call)
{
	free(((struct submit *)call)->bytes);
}
