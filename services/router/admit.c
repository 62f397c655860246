#include "services/router/admit.h"

#include <stdio.h>
#include <string.h>

#include "common/ids.h"
#include "common/names.h"
#include "services/router/admit_json.h"

#define ID_MAX    64  /* of a command or a session */
#define TEXT_MAX  256 /* of what others only pass on: principal, trace, edge */
#define S_PER_MIN 60
#define NS_PER_MS 1000000
#define NS_PER_S  INT64_C(1000000000)
#define QUOTA_MAX INT64_C(999999999999999) /* the largest integer of RFC 8941 */

struct admit_refusal admit_refuse(const char *code, const char *message, const char *scope)
{
	return (struct admit_refusal){
	    .code = code, .message = message, .scope = scope, .limit = ""};
}

struct admit_refusal admit_refuse_later(const char *code, const char *message,
					uint32_t retry_after_ms, const char *limit)
{
	return (struct admit_refusal){.code = code,
				      .message = message,
				      .scope = "tenant",
				      .temporary = true,
				      .retry_after_ms = retry_after_ms,
				      .limit = limit};
}

static int refuse(struct admit_result *res, const char *code, const char *message,
		  const char *scope)
{
	res->action = ADMIT_REFUSE;
	res->refusal = admit_refuse(code, message, scope);
	return -1;
}

static int check_form(const Penstock__Command *cmd, struct admit_result *res)
{
	if (!name_valid_tenant(cmd->tenant))
		return refuse(res, "bad_request", "tenant: not a valid name", "connection");
	if (!*cmd->id || !admit_text_valid(cmd->id, ID_MAX) ||
	    !admit_text_valid(cmd->session, ID_MAX) ||
	    !admit_text_valid(cmd->principal, TEXT_MAX) ||
	    !admit_text_valid(cmd->trace, TEXT_MAX) || !admit_text_valid(cmd->edge, TEXT_MAX))
		return refuse(res, "bad_request",
			      "command: bad id, session, principal, trace or edge", "connection");
	return 0;
}

static int check_tenant(const struct tenant *tenant, struct admit_result *res)
{
	if (!tenant)
		return refuse(res, "forbidden", "tenant is not known", "tenant");
	if (!tenant->active)
		return refuse(res, "forbidden", "tenant is suspended", "tenant");
	return 0;
}

static int check_type(const Penstock__Publish *p, const struct event_type *type,
		      struct admit_result *res)
{
	if (!type)
		return refuse(res, "unknown_type", "event type is not known", "channel");
	res->version = event_type_version(type, p->version);
	if (!res->version)
		return refuse(res, "unknown_type", "event type has no such version", "channel");
	switch (type->class) {
	case CLASS_DURABLE:
		res->action = ADMIT_PUBLISH_DURABLE;
		return 0;
	case CLASS_EPHEMERAL:
		res->action = ADMIT_PUBLISH_EPHEMERAL;
		return 0;
	case CLASS_STREAM:
		break;
	}
	return refuse(res, "forbidden", "events of this class come only from the plane itself",
		      "channel");
}

/* Where flags choose the route: they may put another version, or pipeline, in place of the one that
 * was asked for. Nothing chooses yet: what was asked for is what is taken. Limits are looked at
 * after this, so that no flag can lead around them. */
static void choose_route(const Penstock__Command *cmd, const struct admit_facts *facts,
			 struct admit_result *res)
{
	(void)cmd;
	(void)facts;
	(void)res;
}

static int check_data(const ProtobufCBinaryData *data, size_t max, const char *scope,
		      struct admit_result *res)
{
	if (data->len > max)
		return refuse(res, "too_large", "data is longer than the limit", scope);
	if (!admit_json_valid(data->data, data->len))
		return refuse(res, "bad_request", "data is not valid JSON", scope);
	return 0;
}

static int check_publish(const Penstock__Publish *p, const struct admit_facts *facts,
			 struct admit_result *res)
{
	if (!name_valid_channel(p->channel))
		return refuse(res, "bad_request", "channel: not a valid name", "channel");
	if (!name_valid_channel(p->type))
		return refuse(res, "bad_request", "type: not a valid name", "channel");
	if (*p->key && !name_valid_key(p->key))
		return refuse(res, "bad_request", "key: not printable ASCII, or too long",
			      "channel");
	if (name_reserved_channel(p->channel))
		return refuse(res, "forbidden", "channel is reserved", "channel");
	if (name_reserved_type(p->type))
		return refuse(res, "forbidden", "event type is reserved", "channel");
	return check_type(p, facts->type, res);
}

static int check_task(const Penstock__SubmitTask *t, const struct admit_facts *facts,
		      struct admit_result *res)
{
	if (!name_valid_tenant(t->pipeline))
		return refuse(res, "bad_request", "pipeline: not a valid name", "tenant");
	if (*t->key && !name_valid_key(t->key))
		return refuse(res, "bad_request", "key: not printable ASCII, or too long",
			      "tenant");
	if (t->not_before_ms < 0 || t->not_before_ms > facts->latest_ms)
		return refuse(res, "bad_request", "not_before: too far ahead", "tenant");
	if (!facts->pipeline)
		return refuse(res, "not_found", "pipeline is not known", "tenant");
	res->action = ADMIT_TASK;
	res->version = facts->pipeline->version;
	return 0;
}

static int check_cancel(const Penstock__CancelTask *c, struct admit_result *res)
{
	if (!id_valid(c->task))
		return refuse(res, "bad_request", "task: not a task id", "tenant");
	res->action = ADMIT_CANCEL;
	return 0;
}

/* From the event-store: what it sends goes into a ticket, so it must be what a ticket has. */
static int check_release(const Penstock__Command *cmd, struct admit_result *res)
{
	const Penstock__ReleaseTask *t = cmd->release;
	const Penstock__Event *e = t->accepted;
	if (!id_valid(t->task) || t->seq == 0 || !name_valid_tenant(t->pipeline))
		return refuse(res, "bad_request", "release: bad task, place or pipeline", "tenant");
	if (!e || !id_valid(e->id) || strcmp(e->tenant, cmd->tenant) != 0 ||
	    strcmp(e->type, "task.accepted") != 0)
		return refuse(res, "bad_request", "release: no task.accepted of the tenant",
			      "tenant");
	res->action = ADMIT_RELEASE;
	res->version = t->version;
	return 0;
}

static int check_redrive(const Penstock__RedriveTask *t, struct admit_result *res)
{
	if (!id_valid(t->task) || t->seq == 0 || t->seq > INT64_MAX || t->redrive_gen == 0 ||
	    !admit_text_valid(t->by, TEXT_MAX))
		return refuse(res, "bad_request", "redrive: bad task, place, count or name",
			      "tenant");
	res->action = ADMIT_REDRIVE;
	return 0;
}

static int check_replay(const Penstock__Command *cmd, struct admit_result *res)
{
	const Penstock__ReplayEvent *p = cmd->replay;
	const Penstock__Event *e = p->event;
	if (!name_valid_channel(p->channel) || name_reserved_channel(p->channel))
		return refuse(res, "bad_request", "replay: no channel to replay to", "channel");
	if (!e || !id_valid(e->id) || !id_valid(e->replay) || strcmp(e->tenant, cmd->tenant) != 0 ||
	    !name_valid_channel(e->type))
		return refuse(res, "bad_request", "replay: no event of the tenant", "tenant");
	res->action = ADMIT_REPLAY;
	return 0;
}

static int check_body(const Penstock__Command *cmd, const struct admit_facts *facts,
		      struct admit_result *res)
{
	switch (cmd->body_case) {
	case PENSTOCK__COMMAND__BODY_PUBLISH:
		return check_publish(cmd->publish, facts, res);
	case PENSTOCK__COMMAND__BODY_TASK:
		return check_task(cmd->task, facts, res);
	case PENSTOCK__COMMAND__BODY_CANCEL:
		return check_cancel(cmd->cancel, res);
	case PENSTOCK__COMMAND__BODY_RELEASE:
		return check_release(cmd, res);
	case PENSTOCK__COMMAND__BODY_REDRIVE:
		return check_redrive(cmd->redrive, res);
	case PENSTOCK__COMMAND__BODY_REPLAY:
		return check_replay(cmd, res);
	default:
		return refuse(res, "bad_request", "command: nothing to do", "connection");
	}
}

static int check_payload(const Penstock__Command *cmd, const struct admit_facts *facts,
			 size_t *bytes, struct admit_result *res)
{
	if (cmd->body_case == PENSTOCK__COMMAND__BODY_PUBLISH) {
		*bytes = cmd->publish->data.len;
		return check_data(&cmd->publish->data, facts->data_max, "channel", res);
	}
	if (cmd->body_case == PENSTOCK__COMMAND__BODY_TASK) {
		*bytes = cmd->task->input.len;
		return check_data(&cmd->task->input, facts->input_max, "tenant", res);
	}
	if (cmd->body_case == PENSTOCK__COMMAND__BODY_REPLAY) {
		*bytes = cmd->replay->event->data.len;
		return check_data(&cmd->replay->event->data, facts->input_max, "channel", res);
	}
	return 0;
}

int64_t admit_burst(const struct tenant_limits *lim, const struct admit_state *state)
{
	return lim->burst - state->held_events;
}

int64_t admit_bytes_burst(const struct tenant_limits *lim, const struct admit_state *state)
{
	return lim->bytes_per_s - state->held_bytes;
}

/* Both limits are looked at before either is charged: a refused command costs nothing. */
static int check_limits(const struct tenant_limits *lim, struct admit_state *state, int64_t bytes,
			int64_t now_ns, struct admit_result *res)
{
	int64_t events_ns =
	    gcra_wait_ns(&state->events, lim->events_per_s, admit_burst(lim, state), 1, now_ns);
	int64_t bytes_ns = gcra_wait_ns(&state->bytes, lim->bytes_per_s,
					admit_bytes_burst(lim, state), bytes, now_ns);
	if (events_ns == 0 && bytes_ns == 0) {
		gcra_take(&state->events, lim->events_per_s, 1, now_ns);
		gcra_take(&state->bytes, lim->bytes_per_s, bytes, now_ns);
		return 0;
	}
	bool events = events_ns >= bytes_ns;
	res->limited = events ? ADMIT_LIMIT_EVENTS : ADMIT_LIMIT_BYTES;
	if (lim->mode == LIMIT_SHADOW)
		return 0;
	int64_t wait_ms = ((events ? events_ns : bytes_ns) + NS_PER_MS - 1) / NS_PER_MS;
	res->action = ADMIT_REFUSE;
	res->refusal = admit_refuse_later(
	    "rate_limited", events ? "too many commands a second" : "too many bytes a second",
	    wait_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)wait_ms,
	    events ? "tenant.events_per_s" : "tenant.bytes_per_s");
	return -1;
}

bool admit_tokens(const struct tenant_limits *lim, struct admit_state *state, int64_t tokens,
		  int64_t now_ns, struct admit_result *res)
{
	*res = (struct admit_result){.action = ADMIT_TASK};
	if (tokens <= 0)
		return true;
	/* A rate a minute of tokens is the same rate a second of sixtieths. */
	int64_t rate = lim->tokens_per_min, cost = tokens * S_PER_MIN;
	int64_t wait_ns = gcra_wait_ns(&state->tokens, rate, rate * S_PER_MIN, cost, now_ns);
	if (wait_ns == 0) {
		gcra_take(&state->tokens, rate, cost, now_ns);
		return true;
	}
	res->limited = ADMIT_LIMIT_TOKENS;
	if (lim->mode == LIMIT_SHADOW)
		return true;
	int64_t wait_ms = (wait_ns + NS_PER_MS - 1) / NS_PER_MS;
	res->action = ADMIT_REFUSE;
	res->refusal = admit_refuse_later("rate_limited", "too many tokens a minute",
					  wait_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)wait_ms,
					  "tenant.tokens_per_min");
	return false;
}

void admit_tokens_settle(const struct tenant_limits *lim, struct admit_state *state,
			 int64_t charged, int64_t used, int64_t now_ns)
{
	int64_t rate = lim->tokens_per_min, more = (used - charged) * S_PER_MIN;
	int64_t room = gcra_left(&state->tokens, rate, rate * S_PER_MIN * ADMIT_DEBT_MIN, now_ns);
	if (more > 0)
		gcra_take(&state->tokens, rate, more < room ? more : room, now_ns);
	else
		gcra_give(&state->tokens, rate, -more);
}

struct admit_quota admit_quota(const struct tenant_limits *lim, const struct admit_state *state,
			       int64_t now_ns)
{
	int64_t rate = lim->events_per_s, debt = state->events.tat_ns - now_ns;
	if (rate <= 0 || lim->mode == LIMIT_SHADOW)
		return (struct admit_quota){0};
	/* The window is as long as the burst takes to come back: no remainder is above the limit.
	 */
	int64_t window_s = lim->burst > rate ? (lim->burst - 1) / rate + 1 : 1;
	int64_t reset_s = debt > 0 ? (debt - 1) / NS_PER_S + 1 : 0;
	int64_t left = gcra_left(&state->events, rate, admit_burst(lim, state), now_ns);
	return (struct admit_quota){
	    .limit = rate > QUOTA_MAX / window_s ? QUOTA_MAX : rate * window_s,
	    .window_s = window_s > UINT32_MAX ? UINT32_MAX : window_s,
	    .remaining = left > QUOTA_MAX ? QUOTA_MAX : left,
	    .reset_s = reset_s > UINT32_MAX ? UINT32_MAX : reset_s,
	};
}

struct admit_result admit_command(const Penstock__Command *cmd, const struct admit_facts *facts,
				  struct admit_state *state)
{
	struct admit_result res = {.action = ADMIT_REFUSE};
	size_t bytes = 0;
	if (check_form(cmd, &res) || check_tenant(facts->tenant, &res) ||
	    check_body(cmd, facts, &res))
		return res;
	choose_route(cmd, facts, &res);
	if (check_payload(cmd, facts, &bytes, &res) ||
	    check_limits(&facts->tenant->limits, state, (int64_t)bytes, facts->now_ns, &res))
		return res;
	return res;
}
