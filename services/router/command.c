/* One command: decode, look up what admission needs to know, do what it says. */
#include <assert.h>
#include <string.h>

#include "services/router/impl.h"

void router_fill_event(struct router *r, const Penstock__Command *cmd, Penstock__Event *ev)
{
	ev->tenant = cmd->tenant;
	ev->time_us = loop_wall_us(r->loop);
	ev->trace = cmd->trace;
	ev->session = cmd->session;
	ev->router = r->instance;
	ev->command = cmd->id;
	ev->principal = cmd->principal;
	ev->depth = cmd->depth;
}

size_t router_pack_event(struct router *r, const Penstock__Event *ev)
{
	strbuf_reset(&r->event);
	strbuf_reserve(&r->event, penstock__event__get_packed_size(ev));
	return penstock__event__pack(ev, (uint8_t *)r->event.data);
}

void router_store_transition(struct router *r, const Penstock__Command *cmd, unsigned part,
			     const char *channel, const char *type, struct id id, int64_t expect,
			     bus_ack_fn *done, void *arg)
{
	Penstock__Event ev = PENSTOCK__EVENT__INIT;
	struct subject subject = subject_evt(part, cmd->tenant, channel);
	struct bus_store_opts opts = {
	    .msg_id = id.text, .expect_last_seq = expect, .timeout_ms = r->conf.store_timeout_ms};
	router_fill_event(r, cmd, &ev);
	ev.id = id.text;
	ev.channel = (char *)channel; /* protobuf-c has no const */
	ev.type = (char *)type;
	ev.version = 1;
	ev.data.data = (uint8_t *)r->text.data;
	ev.data.len = r->text.len;
	size_t len = router_pack_event(r, &ev);
	bus_store(r->bus, subject.text, &opts, r->event.data, len, done, arg);
}

static enum router_kind kind_of(const Penstock__Command *cmd)
{
	switch (cmd->body_case) {
	case PENSTOCK__COMMAND__BODY_PUBLISH:
		return ROUTER_PUBLISH;
	case PENSTOCK__COMMAND__BODY_TASK:
		return ROUTER_TASK;
	case PENSTOCK__COMMAND__BODY_CANCEL:
		return ROUTER_CANCEL;
	case PENSTOCK__COMMAND__BODY_RELEASE:
		return ROUTER_RELEASE;
	case PENSTOCK__COMMAND__BODY_REDRIVE:
		return ROUTER_REDRIVE;
	case PENSTOCK__COMMAND__BODY_REPLAY:
		return ROUTER_REPLAY;
	default:
		return ROUTER_UNKNOWN;
	}
}

static void gather_facts(struct router *r, const Penstock__Command *cmd, struct admit_facts *facts)
{
	*facts = (struct admit_facts){
	    .tenant = catalog_tenant(r->catalog, cmd->tenant),
	    .data_max = r->conf.data_max,
	    .input_max = r->conf.input_max,
	    .now_ns = loop_now_us(r->loop) * 1000,
	    .latest_ms = loop_wall_us(r->loop) / 1000 + r->conf.delay_max_ms,
	};
	if (cmd->body_case == PENSTOCK__COMMAND__BODY_PUBLISH)
		facts->type = catalog_type(r->catalog, cmd->tenant, cmd->publish->type);
	if (cmd->body_case == PENSTOCK__COMMAND__BODY_TASK)
		facts->pipeline = catalog_pipeline(r->catalog, cmd->task->pipeline, 0);
}

static void count_limit(struct router *r, const struct admit_facts *facts,
			const struct admit_result *res)
{
	if (facts->tenant && res->limited != ADMIT_LIMIT_NONE)
		metric_add(r->stats.limited[res->limited][facts->tenant->limits.mode], 1);
}

/* Beyond these bounds the broker is slower than the commands: say so before doing more for them. */
static bool overloaded(const struct router *r, const Penstock__Command *cmd)
{
	size_t bytes = cmd->body_case == PENSTOCK__COMMAND__BODY_TASK ? cmd->task->input.len : 0;
	return r->inflight >= r->conf.inflight_max ||
	       (bytes > 0 && r->inflight_bytes + bytes > r->conf.inflight_bytes);
}

static void act(struct router *r, const Penstock__Command *cmd, struct router_tenant *t,
		const struct admit_facts *facts, const struct admit_result *res, const char *reply)
{
	assert(t || res->action == ADMIT_REFUSE); /* nobody is admitted without a tenant */
	switch (res->action) {
	case ADMIT_PUBLISH_DURABLE:
		router_publish_durable(r, cmd, t->part, res->version, reply);
		break;
	case ADMIT_PUBLISH_EPHEMERAL:
		router_publish_ephemeral(r, cmd, t->part, res->version, reply);
		break;
	case ADMIT_TASK:
		router_task_submit(r, cmd, t, facts->tenant, facts->pipeline, reply);
		break;
	case ADMIT_CANCEL:
		router_task_cancel(r, cmd, t->part, reply);
		break;
	case ADMIT_RELEASE:
		router_task_release(r, cmd, t, facts->tenant, reply);
		break;
	case ADMIT_REDRIVE:
		router_task_redrive(r, cmd, t->part, reply);
		break;
	case ADMIT_REPLAY:
		router_replay(r, cmd, t->part, reply);
		break;
	case ADMIT_REFUSE:
		router_refuse(r, kind_of(cmd), reply, &res->refusal);
		break;
	}
}

static void take(struct router *r, const Penstock__Command *cmd, unsigned part, const char *reply)
{
	struct admit_facts facts;
	struct admit_refusal no;
	if (overloaded(r, cmd)) {
		no = admit_refuse_later("overloaded", "too many commands in flight",
					ROUTER_OVERLOAD_RETRY_MS, "router.inflight");
		router_refuse(r, kind_of(cmd), reply, &no);
		return;
	}
	gather_facts(r, cmd, &facts);
	/* State is kept only for tenants that exist: unknown names must not cost memory. */
	struct router_tenant *t = facts.tenant ? router_tenant_get(r, cmd->tenant) : NULL;
	if (t && t->part != part) {
		no = admit_refuse("bad_request", "sent to another partition than its tenant's",
				  "connection");
		router_refuse(r, kind_of(cmd), reply, &no);
		return;
	}
	if (t)
		share_expire(&t->share, &facts.tenant->limits, &t->limits, facts.now_ns);
	struct admit_state nobody = {0};
	struct admit_result res = admit_command(cmd, &facts, t ? &t->limits : &nobody);
	count_limit(r, &facts, &res);
	if (t && cmd->quota)
		r->quota = admit_quota(&facts.tenant->limits, &t->limits, facts.now_ns);
	if (t && cmd->lease && cmd->edge[0] &&
	    (res.action == ADMIT_PUBLISH_EPHEMERAL || res.action == ADMIT_REFUSE))
		router_lease_along(r, facts.tenant, t, cmd->edge, cmd->lease);
	act(r, cmd, t, &facts, &res, reply);
}

void router_command(struct router *r, unsigned part, const char *reply, const void *data,
		    size_t len)
{
	r->quota.limit = 0;
	if (!reply)
		reply = "";
	if (strlen(reply) >= ROUTER_REPLY_MAX) {
		metric_add(r->stats.malformed, 1);
		return;
	}
	/* Bounded before it is unpacked: an unpacked message can be many times its size. */
	if (len > r->conf.input_max + r->conf.data_max) {
		struct admit_refusal no =
		    admit_refuse("too_large", "command is longer than the limit", "connection");
		router_refuse(r, ROUTER_UNKNOWN, reply, &no);
		return;
	}
	router_arena_reset(&r->arena);
	Penstock__Command *cmd = penstock__command__unpack(&r->arena.allocator, len, data);
	if (!cmd) {
		struct admit_refusal no =
		    admit_refuse("bad_request", "command cannot be decoded", "connection");
		metric_add(r->stats.malformed, 1);
		router_refuse(r, ROUTER_UNKNOWN, reply, &no);
		return;
	}
	take(r, cmd, part, reply);
	r->leases = false;
}
