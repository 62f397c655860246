/* Redriving: a dead letter lives again by one event, task.redriven, right behind its terminal one.
 * The log decides: compare-and-set lets only one through, and its id is the same whoever writes it,
 * so a repeat is known for what it is. Its ticket comes by the slow path, as a parked task's. */
#include <string.h>

#include "services/router/impl.h"

struct redrive {
	struct router_call call;
	char tenant[TENANT_MAX + 1];
	unsigned part;
	char task[ID_LEN + 1];
	char channel[CHANNEL_MAX + 1];
	char by[257]; /* as long as admit.c lets pass */
	uint64_t seq; /* of the terminal event */
	unsigned gen;
	struct id event;
	bool trimmed; /* the stream has nothing of the channel any more */
};

static void write_redriven(struct redrive *d);

static void accept(struct redrive *d, uint64_t offset, bool duplicate)
{
	router_call_accept(&d->call, d->event.text, d->channel, offset, duplicate, d->task);
	router_call_end(&d->call);
}

static void fail(struct redrive *d, enum bus_result result)
{
	router_call_failed(&d->call, result);
	router_call_end(&d->call);
}

/* What is behind the terminal event: our own one, another's, or nothing, because all was trimmed.
 */
static void next_read(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct redrive *d = arg;
	struct router *r = d->call.router;
	router_arena_reset(&r->arena);
	Penstock__Event *next =
	    result == BUS_OK ? penstock__event__unpack(&r->arena.allocator, msg->len, msg->data)
			     : NULL;
	if (next && strcmp(next->id, d->event.text) == 0) {
		accept(d, msg->seq, true);
	} else if (next) {
		struct admit_refusal why =
		    admit_refuse("conflict", "the task is no dead letter any more", "tenant");
		router_call_refuse(&d->call, &why);
		router_call_end(&d->call);
	} else if (result == BUS_NOT_FOUND && !d->trimmed) {
		d->trimmed = true;
		write_redriven(d);
	} else {
		fail(d, result == BUS_OK || result == BUS_NOT_FOUND ? BUS_UNAVAILABLE : result);
	}
}

static void written(void *arg, const struct bus_ack *ack)
{
	struct redrive *d = arg;
	struct router *r = d->call.router;
	if (ack->result == BUS_OK) {
		accept(d, ack->seq, ack->duplicate);
	} else if (ack->result == BUS_CONFLICT) {
		struct subject subject = subject_evt(d->part, d->tenant, d->channel);
		bus_get_next(r->bus, STREAM_EVENTS, subject.text, d->seq + 1, next_read, d);
	} else {
		fail(d, ack->result);
	}
}

static void write_redriven(struct redrive *d)
{
	struct router *r = d->call.router;
	strbuf_reset(&r->text);
	strbuf_addf(&r->text, "{\"task\":\"%s\",\"redrive_gen\":%u,\"by\":", d->task, d->gen);
	strbuf_add_json(&r->text, d->by);
	strbuf_addc(&r->text, '}');
	Penstock__Command cmd = PENSTOCK__COMMAND__INIT;
	cmd.id = d->call.command;
	cmd.tenant = d->tenant;
	cmd.principal = d->by;
	router_store_transition(r, &cmd, d->part, d->channel, "task.redriven", d->event,
				d->trimmed ? 0 : (int64_t)d->seq, written, d);
}

void router_task_redrive(struct router *r, const Penstock__Command *cmd, unsigned part,
			 const char *reply)
{
	struct redrive *d =
	    (struct redrive *)router_call_new(r, ROUTER_REDRIVE, sizeof(*d), reply, cmd->id);
	strcpy(d->tenant, cmd->tenant);
	d->part = part;
	strcpy(d->task, cmd->redrive->task);
	task_channel(d->task, d->channel);
	strcpy(d->by, cmd->redrive->by);
	d->seq = cmd->redrive->seq;
	d->gen = cmd->redrive->redrive_gen;
	strbuf_reset(&r->text);
	strbuf_addf(&r->text, "%s %llu task.redriven", d->task, (unsigned long long)d->seq);
	d->event = id_derive(d->tenant, "transition", strbuf_str(&r->text));
	write_redriven(d);
}
