/* Answers to commands, and the commands that wait for the broker. */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "services/router/impl.h"

static void send_reply(struct router *r, const char *subject, const struct admit_quota *quota,
		       Penstock__Reply *reply)
{
	if (!*subject)
		return;
	struct error err;
	Penstock__Quota told = PENSTOCK__QUOTA__INIT;
	if (quota->limit) {
		told.limit = (uint64_t)quota->limit;
		told.window_s = (uint32_t)quota->window_s;
		told.remaining = (uint64_t)quota->remaining;
		told.reset_s = (uint32_t)quota->reset_s;
		reply->quota = &told;
	}
	if (r->leases)
		reply->lease = &r->lease;
	strbuf_reset(&r->reply);
	strbuf_reserve(&r->reply, penstock__reply__get_packed_size(reply));
	size_t len = penstock__reply__pack(reply, (uint8_t *)r->reply.data);
	reply->quota = NULL;
	if (bus_publish(r->bus, subject, r->reply.data, len, &err) != 0)
		log_at(LOG_DEBUG, "reply not sent", LOG_S("reason", err.msg));
}

static void refuse(struct router *r, enum router_kind kind, const char *reply,
		   const struct admit_quota *quota, const struct admit_refusal *why)
{
	Penstock__Refused refused = PENSTOCK__REFUSED__INIT;
	refused.code = (char *)why->code;
	refused.message = (char *)why->message;
	refused.scope = (char *)why->scope;
	refused.temporary = why->temporary;
	refused.retry_after_ms = why->retry_after_ms;
	refused.limit = (char *)why->limit;
	Penstock__Reply answer = PENSTOCK__REPLY__INIT;
	answer.body_case = PENSTOCK__REPLY__BODY_REFUSED;
	answer.refused = &refused;
	router_stats_command(&r->stats, kind, why->code);
	send_reply(r, reply, quota, &answer);
}

static void accept(struct router *r, enum router_kind kind, const char *reply,
		   const struct admit_quota *quota, const char *event_id, const char *channel,
		   uint64_t offset, bool duplicate, const char *task)
{
	Penstock__Accepted accepted = PENSTOCK__ACCEPTED__INIT;
	accepted.event_id = (char *)event_id;
	accepted.channel = (char *)channel;
	accepted.offset = offset;
	accepted.epoch = r->conf.epoch;
	accepted.duplicate = duplicate;
	accepted.task = (char *)task;
	Penstock__Reply answer = PENSTOCK__REPLY__INIT;
	answer.body_case = PENSTOCK__REPLY__BODY_ACCEPTED;
	answer.accepted = &accepted;
	router_stats_command(&r->stats, kind,
			     duplicate     ? "duplicate"
			     : offset == 0 ? "ephemeral"
					   : "accepted");
	send_reply(r, reply, quota, &answer);
}

void router_refuse(struct router *r, enum router_kind kind, const char *reply,
		   const struct admit_refusal *why)
{
	refuse(r, kind, reply, &r->quota, why);
}

void router_accept(struct router *r, enum router_kind kind, const char *reply, const char *event_id,
		   const char *channel, uint64_t offset, bool duplicate, const char *task)
{
	accept(r, kind, reply, &r->quota, event_id, channel, offset, duplicate, task);
}

struct router_call *router_call_new(struct router *r, enum router_kind kind, size_t size,
				    const char *reply, const char *command)
{
	struct router_call *call = r->spare[kind];
	if (call)
		r->spare[kind] = call->next;
	else
		call = xmalloc(size);
	memset(call, 0, size);
	call->router = r;
	call->kind = kind;
	call->start_us = loop_now_us(r->loop);
	call->quota = r->quota;
	strcpy(call->reply, reply);
	strcpy(call->command, command);
	call->next = r->calls;
	call->at = &r->calls;
	if (call->next)
		call->next->at = &call->next;
	r->calls = call;
	r->inflight++;
	return call;
}

void router_call_end(struct router_call *call)
{
	struct router *r = call->router;
	*call->at = call->next;
	if (call->next)
		call->next->at = call->at;
	call->next = r->spare[call->kind];
	r->spare[call->kind] = call;
	r->inflight--;
}

void router_call_refuse(struct router_call *call, const struct admit_refusal *why)
{
	if (!call->answered)
		refuse(call->router, call->kind, call->reply, &call->quota, why);
	call->answered = true;
}

void router_call_accept(struct router_call *call, const char *event_id, const char *channel,
			uint64_t offset, bool duplicate, const char *task)
{
	if (!call->answered)
		accept(call->router, call->kind, call->reply, &call->quota, event_id, channel,
		       offset, duplicate, task);
	call->answered = true;
}

void router_call_failed(struct router_call *call, enum bus_result result)
{
	struct router *r = call->router;
	struct admit_refusal why;
	if (result == BUS_FULL) {
		why = admit_refuse_later("overloaded", "the log or the queue is full",
					 ROUTER_OVERLOAD_RETRY_MS, "cluster.storage");
	} else {
		if (result == BUS_REJECTED && !call->answered)
			log_at(LOG_WARN, "the broker refused",
			       LOG_S("reason", bus_error_text(r->bus)));
		why = admit_refuse_later("unavailable",
					 "not acknowledged in time; repeat with the same key",
					 ROUTER_RETRY_MS, "");
	}
	router_call_refuse(call, &why);
}

void router_calls_close(struct router *r)
{
	for (struct router_call *call = r->calls; call; call = call->next) {
		if (call->kind == ROUTER_TASK)
			router_task_close(call);
		router_call_failed(call, BUS_UNAVAILABLE);
	}
}

static void free_list(struct router_call *call)
{
	while (call) {
		struct router_call *next = call->next;
		free(call);
		call = next;
	}
}

void router_calls_free(struct router *r)
{
	for (struct router_call *call = r->calls; call; call = call->next)
		if (call->kind == ROUTER_TASK)
			router_task_free(call);
	free_list(r->calls);
	r->calls = NULL;
	for (int k = 0; k < ROUTER_KINDS; k++)
		free_list(r->spare[k]);
}
