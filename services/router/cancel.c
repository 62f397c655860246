/* Cancelling: the log decides. task.cancelled is written behind the task's last event by
 * compare-and-set, so it wins or loses against the worker's own next step, never both. Then the
 * workers are told. Of a task that has rested for so long that the stream has nothing of it any
 * more, the event-store says what it is. */
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "proto/store.pb-c.h"
#include "services/router/impl.h"

#define TRIES_MAX 5

struct cancel {
	struct router_call call;
	char tenant[TENANT_MAX + 1];
	unsigned part;
	char task[ID_LEN + 1];
	char channel[CHANNEL_MAX + 1];
	char session[ROUTER_ID_MAX + 1];
	char principal[257], trace[257]; /* as long as admit.c lets pass */
	struct id event;
	int tries;
};

static void read_last(struct cancel *c);

static void refuse(struct cancel *c, const char *code, const char *message)
{
	struct admit_refusal why = admit_refuse(code, message, "tenant");
	router_call_refuse(&c->call, &why);
	router_call_end(&c->call);
}

static bool terminal(const char *type)
{
	return strcmp(type, "task.completed") == 0 || strcmp(type, "task.failed") == 0 ||
	       strcmp(type, "task.cancelled") == 0 || strcmp(type, "task.expired") == 0;
}

/* Its place in the window is free when the worker lets go of its ticket. */
static void tell_workers(struct cancel *c)
{
	struct router *r = c->call.router;
	uint8_t buf[2 * (TENANT_MAX + ID_LEN)];
	struct error err;
	Penstock__TaskCancel m = PENSTOCK__TASK_CANCEL__INIT;
	m.tenant = c->tenant;
	m.task = c->task;
	size_t len = penstock__task_cancel__pack(&m, buf);
	if (bus_publish(r->bus, SUBJECT_CANCEL, buf, len, &err) != 0)
		log_at(LOG_WARN, "cancel not told", LOG_S("task", c->task),
		       LOG_S("reason", err.msg));
}

static void cancelled(struct cancel *c, const char *event_id, uint64_t offset, bool duplicate)
{
	tell_workers(c);
	router_call_accept(&c->call, event_id, c->channel, offset, duplicate, c->task);
	router_call_end(&c->call);
}

static void written(void *arg, const struct bus_ack *ack)
{
	struct cancel *c = arg;
	if (ack->result == BUS_OK) {
		cancelled(c, c->event.text, ack->seq, false);
	} else if ((ack->result == BUS_CONFLICT || ack->result == BUS_TIMEOUT) &&
		   ++c->tries < TRIES_MAX) {
		/* The task moved on, or our own write may be its last event: look again. */
		read_last(c);
	} else {
		router_call_failed(&c->call, ack->result);
		router_call_end(&c->call);
	}
}

static void write_cancelled(struct cancel *c, uint64_t last_seq)
{
	struct router *r = c->call.router;
	/* The event's id as docs/internals.md derives every transition's. */
	strbuf_reset(&r->text);
	strbuf_addf(&r->text, "%s %llu task.cancelled %s", c->task, (unsigned long long)last_seq,
		    r->instance);
	c->event = id_derive(c->tenant, "transition", strbuf_str(&r->text));
	strbuf_reset(&r->text);
	strbuf_addf(&r->text, "{\"task\":\"%s\",\"by\":", c->task);
	strbuf_add_json(&r->text, c->principal);
	strbuf_addc(&r->text, '}');
	Penstock__Command cmd = PENSTOCK__COMMAND__INIT;
	cmd.id = c->call.command;
	cmd.tenant = c->tenant;
	cmd.session = c->session;
	cmd.principal = c->principal;
	cmd.trace = c->trace;
	router_store_transition(r, &cmd, c->part, c->channel, "task.cancelled", c->event,
				(int64_t)last_seq, written, c);
}

/* The task's row, once it is known to be there. */
static void take_row(struct cancel *c, const Penstock__JsonReply *reply)
{
	json_t *row = json_parse((const char *)reply->json.data, reply->json.len, NULL);
	const char *state = json_string_value(json_object_get(row, "state"));
	char type[32];
	snprintf(type, sizeof(type), "task.%s", state ? state : "");
	if (!state) {
		router_call_failed(&c->call, BUS_UNAVAILABLE);
		router_call_end(&c->call);
	} else if (terminal(type)) {
		router_call_accept(&c->call, "", c->channel,
				   (uint64_t)json_integer_value(json_object_get(row, "offset")),
				   true, c->task);
		router_call_end(&c->call);
	} else {
		write_cancelled(c, 0); /* unless there is something by now */
	}
	json_decref(row);
}

static void store_answered(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct cancel *c = arg;
	Penstock__JsonReply *reply =
	    result == BUS_OK ? penstock__json_reply__unpack(NULL, msg->len, msg->data) : NULL;
	if (reply && !*reply->error) {
		take_row(c, reply);
	} else if (reply && strcmp(reply->error, "not_found") == 0) {
		refuse(c, "not_found", "no such task");
	} else {
		router_call_failed(&c->call, BUS_UNAVAILABLE);
		router_call_end(&c->call);
	}
	if (reply)
		penstock__json_reply__free_unpacked(reply, NULL);
}

static void ask_store(struct cancel *c)
{
	struct router *r = c->call.router;
	uint8_t buf[2 * (TENANT_MAX + ID_LEN)];
	Penstock__TaskRequest ask = PENSTOCK__TASK_REQUEST__INIT;
	ask.tenant = c->tenant;
	ask.task = c->task;
	size_t len = penstock__task_request__pack(&ask, buf);
	bus_request(r->bus, SUBJECT_STORE_TASK, buf, len, r->conf.store_timeout_ms, store_answered,
		    c);
}

static void last_read(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct cancel *c = arg;
	struct router *r = c->call.router;
	if (result == BUS_NOT_FOUND) {
		ask_store(c);
		return;
	}
	Penstock__Event *last = NULL;
	router_arena_reset(&r->arena);
	if (result == BUS_OK)
		last = penstock__event__unpack(&r->arena.allocator, msg->len, msg->data);
	if (!last) {
		router_call_failed(&c->call, result == BUS_OK ? BUS_REJECTED : result);
		router_call_end(&c->call);
	} else if (!terminal(last->type)) {
		write_cancelled(c, msg->seq);
	} else if (strcmp(last->type, "task.cancelled") == 0) {
		/* Told again: whoever wrote it may have died before telling. */
		cancelled(c, last->id, msg->seq, strcmp(last->command, c->call.command) != 0);
	} else {
		router_call_accept(&c->call, last->id, c->channel, msg->seq, true, c->task);
		router_call_end(&c->call);
	}
}

static void read_last(struct cancel *c)
{
	struct router *r = c->call.router;
	struct subject subject = subject_evt(c->part, c->tenant, c->channel);
	bus_get_last(r->bus, STREAM_EVENTS, subject.text, last_read, c);
}

void router_task_cancel(struct router *r, const Penstock__Command *cmd, unsigned part,
			const char *reply)
{
	struct cancel *c =
	    (struct cancel *)router_call_new(r, ROUTER_CANCEL, sizeof(*c), reply, cmd->id);
	strcpy(c->tenant, cmd->tenant);
	c->part = part;
	strcpy(c->task, cmd->cancel->task);
	task_channel(c->task, c->channel);
	strcpy(c->session, cmd->session);
	strcpy(c->principal, cmd->principal);
	strcpy(c->trace, cmd->trace);
	read_last(c);
}
