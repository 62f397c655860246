/* Releasing: a parked or redriven task goes on. Its ticket goes where every ticket goes, under an
 * id that names what it goes on behind, so that whoever does not learn the outcome can ask again.
 * What the log says of the task meanwhile (cancelled, released already) is the worker's to read. */
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "services/router/impl.h"

struct release {
	struct router_call call;
	char tenant[TENANT_MAX + 1];
	char task[ID_LEN + 1];
	uint64_t seq;
	enum window_place place;
	enum router_pool pool;
	int64_t tokens;
};

static void stored(void *arg, const struct bus_ack *ack)
{
	struct release *l = arg;
	struct router *r = l->call.router;
	struct router_tenant *t = router_tenant_find(r, l->tenant);
	char channel[CHANNEL_MAX + 1];
	if (t) {
		struct router_queue *q = &t->queues[l->pool];
		window_sent(&q->window, l->place, l->tokens,
			    ack->result == BUS_OK && !ack->duplicate);
		router_window_changed(r, q);
	}
	task_channel(l->task, channel);
	if (ack->result == BUS_OK)
		router_call_accept(&l->call, "", channel, l->seq, ack->duplicate, l->task);
	else
		router_call_failed(&l->call, ack->result);
	router_call_end(&l->call);
}

static void send_ticket(struct release *l, const Penstock__ReleaseTask *cmd,
			struct router_tenant *t)
{
	struct router *r = l->call.router;
	Penstock__Ticket ticket = PENSTOCK__TICKET__INIT;
	char id[ROUTER_TICKET_ID_MAX];
	ticket.task = cmd->task;
	ticket.tenant = l->tenant;
	ticket.pipeline = cmd->pipeline;
	ticket.version = cmd->version;
	ticket.accepted = cmd->accepted;
	ticket.pool = (char *)router_pool_name(l->pool);
	ticket.tokens = (uint64_t)l->tokens;
	ticket.behind = cmd->seq;
	router_ticket_id(&ticket, id);
	strbuf_reset(&r->event);
	strbuf_reserve(&r->event, penstock__ticket__get_packed_size(&ticket));
	size_t len = penstock__ticket__pack(&ticket, (uint8_t *)r->event.data);
	struct subject subject = l->place == WINDOW_READY
				     ? subject_task(ticket.pool, l->tenant)
				     : subject_wait(t->part, l->tenant, ticket.pool);
	struct bus_store_opts opts = {
	    .msg_id = id, .expect_last_seq = -1, .timeout_ms = r->conf.store_timeout_ms};
	window_send(&t->queues[l->pool].window, l->place, l->tokens);
	router_window_changed(r, &t->queues[l->pool]);
	bus_store(r->bus, subject.text, &opts, r->event.data, len, stored, l);
}

static int64_t priority_of(const Penstock__Event *accepted)
{
	struct error err;
	json_t *data = json_parse((const char *)accepted->data.data, accepted->data.len, &err);
	int64_t priority = json_integer_value(json_object_get(data, "priority"));
	json_decref(data);
	return priority;
}

void router_task_release(struct router *r, const Penstock__Command *cmd, struct router_tenant *t,
			 const struct tenant *tenant, const char *reply)
{
	const Penstock__ReleaseTask *task = cmd->release;
	const struct pipeline *pipeline =
	    catalog_pipeline(r->catalog, task->pipeline, task->version);
	enum router_pool pool = router_task_pool(priority_of(task->accepted), pipeline);
	int64_t tokens = router_task_tokens(task->accepted->data.len, pipeline);
	enum window_place place;
	if (!router_find_place(r, &t->queues[pool], tenant, tokens, ROUTER_RELEASE, reply, &place))
		return;
	struct release *l =
	    (struct release *)router_call_new(r, ROUTER_RELEASE, sizeof(*l), reply, cmd->id);
	strcpy(l->tenant, t->name);
	strcpy(l->task, cmd->release->task);
	l->seq = cmd->release->seq;
	l->place = place;
	l->pool = pool;
	l->tokens = tokens;
	send_ticket(l, cmd->release, t);
}
