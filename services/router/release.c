/* Releasing: a parked or redriven task goes on. Its ticket goes where every ticket goes, under an
 * id that names what it goes on behind, so that whoever does not learn the outcome can ask again.
 * What the log says of the task meanwhile (cancelled, released already) is the worker's to read. */
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "services/router/impl.h"

struct release {
	struct router_call call;
	struct router_ticket ticket;
	char task[ID_LEN + 1];
	uint64_t seq;
};

static void stored(void *arg, const struct bus_ack *ack)
{
	struct release *l = arg;
	struct router *r = l->call.router;
	char channel[CHANNEL_MAX + 1];
	router_ticket_sent(r, &l->ticket, ack);
	task_channel(l->task, channel);
	if (ack->result == BUS_OK)
		router_call_accept(&l->call, "", channel, l->seq, ack->duplicate, l->task);
	else
		router_call_failed(&l->call, ack->result);
	router_call_end(&l->call);
}

static void ticket_of(const Penstock__Command *cmd, struct router_ticket *own,
		      Penstock__Ticket *ticket)
{
	*ticket = (Penstock__Ticket)PENSTOCK__TICKET__INIT;
	ticket->task = cmd->release->task;
	ticket->tenant = cmd->tenant;
	ticket->pipeline = cmd->release->pipeline;
	ticket->version = cmd->release->version;
	ticket->accepted = cmd->release->accepted;
	ticket->pool = (char *)router_pool_name(own->pool);
	ticket->tokens = (uint64_t)own->tokens;
	ticket->behind = cmd->release->seq;
	router_ticket_id(ticket, own->id);
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
	struct router_ticket own = {
	    .pool = router_task_pool(priority_of(task->accepted), pipeline),
	    .tokens = router_task_tokens(task->accepted->data.len, pipeline),
	};
	Penstock__Ticket ticket;
	ticket_of(cmd, &own, &ticket);
	if (!router_ticket_admit(r, &own, t, tenant, ROUTER_RELEASE, reply))
		return;
	struct release *l =
	    (struct release *)router_call_new(r, ROUTER_RELEASE, sizeof(*l), reply, cmd->id);
	l->ticket = own;
	strcpy(l->task, task->task);
	l->seq = task->seq;
	ticket.charge = own.charge;
	strbuf_reset(&r->event);
	strbuf_reserve(&r->event, penstock__ticket__get_packed_size(&ticket));
	size_t len = penstock__ticket__pack(&ticket, (uint8_t *)r->event.data);
	router_ticket_send(r, &l->ticket, r->event.data, len, stored, l);
}
