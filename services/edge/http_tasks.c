/* POST /v1/tasks, GET and DELETE /v1/tasks/{id}. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/ws.h"
#include "proto/store.pb-c.h"
#include "services/edge/http.h"

static int read_submit(struct call *c)
{
	uint32_t state = 0;

	if (!ws_utf8(&state, (const uint8_t *)strbuf_str(&c->body), c->body.len) || state)
		return client_refuse(&c->why, "bad_request", "the body is not UTF-8");
	return client_msg_body(strbuf_str(&c->body), c->body.len, OP_TASK,
			       call_header(c, "Idempotency-Key"), &c->msg, &c->why);
}

static void run_submit(struct call *c)
{
	call_command(c, COMMAND_TASK);
}

static int read_id(struct call *c)
{
	if (!id_valid(c->param))
		return client_refuse(&c->why, "not_found", "there is no such task");
	c->msg = (struct client_msg){.op = OP_CANCEL};
	memcpy(c->msg.task, c->param, ID_LEN + 1);
	return 0;
}

static void run_cancel(struct call *c)
{
	call_command(c, COMMAND_CANCEL);
}

/* --- GET ---------------------------------------------------------------------------------- */

static void on_task(struct request *base)
{
	struct call *c = base->arg;
	Penstock__JsonReply *reply = NULL;

	if (c->task.result == BUS_OK)
		reply = penstock__json_reply__unpack(NULL, c->task.reply_len, c->task.reply);
	free(c->task.reply);
	if (!reply) {
		call_refuse(c, "unavailable", "the event-store does not answer");
		return;
	}
	strbuf_reset(&c->body);
	if (*reply->error) {
		char code[32], message[160];

		/* Copied: once it is answered, the call is not ours. */
		snprintf(code, sizeof(code), "%s", reply->error);
		snprintf(message, sizeof(message), "%s", reply->message);
		penstock__json_reply__free_unpacked(reply, NULL);
		call_refuse(c, code, message);
		return;
	}
	strbuf_add(&c->body, reply->json.data, reply->json.len);
	penstock__json_reply__free_unpacked(reply, NULL);
	call_reply(c, MHD_HTTP_OK);
}

static void run_get(struct call *c)
{
	memcpy(c->task.tenant, c->auth.who.tenant, sizeof(c->task.tenant));
	memcpy(c->task.task, c->msg.task, sizeof(c->task.task));
	c->task.base.done = on_task;
	c->task.base.arg = c;
	hub_task_here(call_edge(c)->hub, &c->task);
}

const struct route http_routes_tasks[] = {
    {"POST", "/v1/tasks", read_submit, run_submit, SCOPE_TASK},
    {"GET", "/v1/tasks/{}", read_id, run_get, SCOPE_TASK},
    {"DELETE", "/v1/tasks/{}", read_id, run_cancel, SCOPE_TASK},
    {NULL, NULL, NULL, NULL, 0},
};
