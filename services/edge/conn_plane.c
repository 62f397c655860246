#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services/edge/command.h"
#include "services/edge/conn.h"
#include "services/edge/link.h"
#include "services/edge/principal.h"
#include "services/edge/resume.h"

/* --- authentication ----------------------------------------------------------------------- */

/* Good for resume_ttl_ms from when the socket is lost, whenever that is: it is renewed at a ping
 * every renew_ms, and a socket whose pings are not answered goes on for no more than pong_ms. */
static void add_token(struct conn *c, struct strbuf *out)
{
	const struct session_conf *conf = c->session.conf;
	struct resume_claim claim = {.session = c->session.id};

	if (conf->resume_ttl_ms)
		claim.expires_ms = loop_wall_us(c->reactor->loop) / 1000 + conf->resume_ttl_ms +
				   conf->renew_ms + conf->ping_ms + conf->pong_ms;
	memcpy(claim.tenant, c->principal->tenant, sizeof(claim.tenant));
	snprintf(claim.principal, sizeof(claim.principal), "%s", c->principal->id);
	if (auth_is_jwt(claim.principal)) {
		claim.until_us = c->principal->expires_us;
		permit_text(c->principal->permit, claim.rights, sizeof(claim.rights));
	}
	resume_token(out, c->reactor->edge->resume_key, &claim);
}

bool conn_renew(struct conn *c)
{
	struct frame_buf frame = {.encoding = c->session.encoding};
	struct strbuf token = {0};
	bool queued;

	if (c->stream) /* its token is in its address or its headers */
		return true;
	add_token(c, &token);
	frames_resume(&frame, strbuf_str(&token), c->session.conf->resume_ttl_ms);
	queued = conn_send(c, &frame);
	strbuf_done(&frame.b);
	strbuf_done(&token);
	return queued;
}

static void authenticated(struct conn *c, struct auth_request *a)
{
	static const unsigned codes[] = {
	    [AUTH_OK] = 0,
	    [AUTH_BAD] = CLOSE_TOKEN,
	    [AUTH_SUSPENDED] = CLOSE_TENANT,
	    [AUTH_NOT_READY] = 0,
	    [AUTH_EXPIRED] = CLOSE_RESUME,
	    [AUTH_BUSY] = CLOSE_RATE,
	    [AUTH_ORIGIN] = 0,
	    [AUTH_FULL] = 0,
	};
	struct reactor *r = c->reactor;
	struct strbuf token = {0};
	struct session_auth auth = {
	    .close = codes[a->result],
	    .limit = a->resumed ? "edge.resumes" : "edge.connects",
	    .retry_ms = a->retry_ms,
	    .session = a->resumed ? &a->session : NULL,
	    /* The first ping anywhere in the interval, so that those who came together do not stay
	     * together. */
	    .jitter_us = (int64_t)rng_below(&r->rng, (uint64_t)r->edge->conf->ping_ms * 1000)};

	if (a->result == AUTH_OK) {
		auth.who = c->principal = principal_take(r, &a->who, a->usage);
		if (a->resumed)
			c->session.id = a->session;
		add_token(c, &token);
		auth.resume = strbuf_str(&token);
	}
	session_step_reset(&r->step, &c->session);
	session_authenticated(&c->session, &auth, loop_now_us(r->loop), &r->step);
	strbuf_done(&token);
	conn_apply(c, &r->step);
	if (!c->closed && r->drains)
		conn_drain_met(c);
}

static void turn_away(struct conn *c, const struct frame_error *e, unsigned code)
{
	struct session_step *step = &c->reactor->step;

	session_step_reset(step, &c->session);
	session_turn_away(&c->session, e, code, step);
	conn_apply(c, step);
}

static void nobody_waits(struct auth_request *a)
{
	if (a->usage)
		usage_disconnect(a->usage);
	usage_release(a->usage);
}

/* What a->who and a->usage hold is taken over. */
static void decided(struct conn *c, struct auth_request *a)
{
	if (a->result == AUTH_ORIGIN)
		turn_away(c,
			  &(struct frame_error){
			      .code = "forbidden", .message = AUTH_ORIGIN_TEXT, .scope = "tenant"},
			  CLOSE_TOKEN);
	else if (a->result == AUTH_FULL)
		turn_away(c,
			  &(struct frame_error){.code = "overloaded",
						.message = "the tenant has as many connections as "
							   "it may have",
						.scope = "tenant",
						.temporary = true,
						.retry_after_ms = a->retry_ms,
						.limit = "tenant.connections"},
			  CLOSE_CAPACITY);
	else
		authenticated(c, a);
	auth_identity_done(&a->who);
}

static void on_auth(struct request *base)
{
	struct auth_request *a = (struct auth_request *)base;
	struct conn *c = base->arg;
	struct reactor *r = c->reactor;

	if (c->closed) {
		nobody_waits(a);
		auth_identity_done(&a->who);
	} else {
		decided(c, a);
	}
	if (!c->closed && *a->known && c->principal)
		known_add(&r->known, a->known, c->principal, loop_now_us(r->loop));
	if (!c->closed)
		conn_resume_input(c);
	conn_release(c);
	free(a);
}

/* Whoever comes from a page is a question of the tenant's list, which is the hub's. True: decided.
 */
static bool is_known(struct conn *c, const char *hash)
{
	struct reactor *r = c->reactor;
	const struct principal *p = known_find(&r->known, hash, loop_now_us(r->loop));
	struct auth_request a = {.socket = true};

	if (!p || !p->usage || c->origin || r->draining ||
	    (p->expires_us && p->expires_us <= loop_wall_us(r->loop)))
		return false;
	memcpy(a.who.tenant, p->tenant, sizeof(a.who.tenant));
	snprintf(a.who.id, sizeof(a.who.id), "%s", p->id);
	a.who.scopes = p->scopes;
	a.who.expires_us = p->expires_us;
	a.who.permit = permit_ref(p->permit);
	a.usage = usage_ref(p->usage);
	door_admit(r->edge->hub, &a, loop_now_us(r->loop), &r->rng);
	decided(c, &a);
	return true;
}

void conn_ask_auth(struct conn *c, char *token, char *resume)
{
	char hash[65] = "";
	struct auth_request *a;

	if (token && !resume && !auth_costs(token)) {
		sha256_hex(token, strlen(token), hash);
		if (is_known(c, hash)) {
			explicit_bzero(token, strlen(token));
			free(token);
			return;
		}
	}
	a = xcalloc(1, sizeof(*a));
	memcpy(a->known, hash, sizeof(hash));
	a->base.home = c->reactor->loop;
	a->base.done = on_auth;
	a->base.arg = c;
	a->token = token;
	a->resume = resume;
	a->origin = c->origin;
	c->origin = NULL;
	a->socket = true;
	c->refs++;
	hub_auth(c->reactor->edge->hub, a);
}

/* --- commands ----------------------------------------------------------------------------- */

struct conn_command {
	struct command_request request;
	int slot; /* of the subscription that was made for this task; -1: none */
	char id[REQUEST_ID_MAX + 1];
};

static void answered(struct conn *c, struct conn_command *cmd)
{
	struct reactor *r = c->reactor;
	struct link *link = cmd->slot >= 0 ? c->session.subs[cmd->slot].link : NULL;
	struct command_answer a;

	command_answer(cmd->request.reply, cmd->request.reply_len, &a);
	session_step_reset(&r->step, &c->session);
	if (a.accepted)
		session_accepted(&c->session, cmd->id, cmd->slot, &a.ok, &r->step);
	else
		session_command_failed(&c->session, cmd->id, cmd->slot, link != NULL, &a.refused,
				       &r->step);
	conn_apply(c, &r->step);
	/* Only now may the task's frames follow. */
	if (a.accepted && link && !c->closed)
		link_task_accepted(link, a.ok.offset, a.ok.duplicate);
	command_answer_done(&a);
}

static void on_answer(struct request *base)
{
	struct conn_command *cmd = (struct conn_command *)base;
	struct conn *c = base->arg;

	edge_command_end(c->reactor->edge);
	c->direct = cmd->request.direct;
	if (!c->closed)
		answered(c, cmd);
	conn_flight(c, -(int64_t)cmd->request.len);
	conn_release(c);
	free(cmd->request.data);
	free(cmd->request.reply);
	free(cmd);
}

static void refuse(struct conn *c, const struct session_step *step, const char *id)
{
	int slot = step->new_sub ? (int)step->slot : -1;
	struct session_step *answer = &c->reactor->step;

	session_step_reset(answer, &c->session);
	session_command_failed(
	    &c->session, id, slot, slot >= 0,
	    &(struct frame_error){.code = "overloaded",
				  .message = "too many commands are under way here",
				  .temporary = true,
				  .retry_after_ms = 200,
				  .limit = "edge.commands"},
	    answer);
	conn_apply(c, answer);
}

void conn_ask_command(struct conn *c, const struct session_step *step, const struct client_msg *msg)
{
	struct reactor *r = c->reactor;
	const struct principal *who = c->session.principal;
	struct conn_command *cmd;
	char trace[TRACE_LEN + 1];
	struct id id;

	if (!edge_command_begin(r->edge)) {
		refuse(c, step, msg->id);
		return;
	}
	cmd = xcalloc(1, sizeof(*cmd));
	id = id_new(&r->rng, loop_wall_us(r->loop));
	trace_new(&r->rng, trace);
	memcpy(cmd->id, msg->id, sizeof(cmd->id));
	cmd->slot = step->ask == ASK_TASK && step->new_sub ? (int)step->slot : -1;
	cmd->request.base.home = r->loop;
	cmd->request.base.done = on_answer;
	cmd->request.base.arg = c;
	cmd->request.kind = step->ask == ASK_TASK     ? COMMAND_TASK
			    : step->ask == ASK_CANCEL ? COMMAND_CANCEL
						      : COMMAND_PUBLISH;
	cmd->request.routed = &c->routed;
	cmd->request.part = part_of(who->tenant, (unsigned)r->edge->conf->common.parts);
	cmd->request.data =
	    command_pack(msg,
			 &(struct command_from){.id = id.text,
						.session = c->session.id.text,
						.tenant = who->tenant,
						.principal = who->id,
						.edge = r->edge->conf->common.instance,
						.trace = trace},
			 &cmd->request.len);
	c->refs++;
	conn_flight(c, (int64_t)cmd->request.len);
	if (!c->direct || !hub_command_at_once(r->edge->hub, &cmd->request))
		hub_command(r->edge->hub, &cmd->request);
}
