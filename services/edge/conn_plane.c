#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services/edge/command.h"
#include "services/edge/conn.h"
#include "services/edge/link.h"
#include "services/edge/resume.h"

/* --- authentication ----------------------------------------------------------------------- */

static void authenticated(struct conn *c, const struct auth_request *a)
{
	struct reactor *r = c->reactor;
	int64_t now = loop_now_us(r->loop);
	struct strbuf token = {0};
	unsigned code = 0;

	if (a->result == AUTH_OK) {
		c->principal = reactor_principal(r, &a->who);
		resume_token(&token, r->edge->resume_key, c->session.id.text, a->who.tenant,
			     a->who.id, loop_wall_us(r->loop) / 1000);
	} else if (a->result != AUTH_NOT_READY) {
		code = a->result == AUTH_SUSPENDED ? CLOSE_TENANT : CLOSE_TOKEN;
	}
	session_step_reset(&r->step);
	/* The first ping anywhere in the interval, so that those who came together do not stay
	 * together. */
	session_authenticated(&c->session, c->principal, code, strbuf_str(&token),
			      (int64_t)rng_below(&r->rng, (uint64_t)r->edge->conf->ping_ms * 1000),
			      now, &r->step);
	strbuf_done(&token);
	conn_apply(c, &r->step);
}

static void on_auth(struct request *base)
{
	struct auth_request *a = (struct auth_request *)base;
	struct conn *c = base->arg;

	if (!c->closed)
		authenticated(c, a);
	if (!c->closed)
		conn_resume_input(c);
	conn_release(c);
	free(a);
}

void conn_ask_auth(struct conn *c, char *token)
{
	struct auth_request *a = xcalloc(1, sizeof(*a));

	a->base.home = c->reactor->loop;
	a->base.done = on_auth;
	a->base.arg = c;
	a->token = token;
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
	session_step_reset(&r->step);
	if (a.accepted)
		session_accepted(&c->session, cmd->id, cmd->slot, &a.ok, &r->step);
	else
		session_command_failed(&c->session, cmd->id, cmd->slot, link != NULL, &a.refused,
				       &r->step);
	conn_apply(c, &r->step);
	/* Only now may the task's frames follow. */
	if (a.accepted && link && !c->closed)
		link_task_accepted(link, a.ok.offset);
	command_answer_done(&a);
}

static void on_answer(struct request *base)
{
	struct conn_command *cmd = (struct conn_command *)base;
	struct conn *c = base->arg;

	edge_command_end(c->reactor->edge);
	if (!c->closed)
		answered(c, cmd);
	conn_release(c);
	free(cmd->request.data);
	free(cmd->request.reply);
	free(cmd);
}

static void refuse(struct conn *c, const struct session_step *step, const char *id)
{
	int slot = step->new_sub ? (int)step->slot : -1;
	struct session_step *answer = &c->reactor->step;

	session_step_reset(answer);
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
	hub_command(r->edge->hub, &cmd->request);
}
