/* POST /v1/hooks/{hook}: a call that its sender has signed starts a task of the hook's pipeline. */
#include <stdio.h>
#include <string.h>

#include "common/ws.h"
#include "services/edge/http.h"
#include "services/edge/jscan.h"

static int read_hook(struct call *c)
{
	uint32_t state = 0;
	struct error err;

	c->hook.hook = c->param;
	c->hook.message = (struct webhook_message){.id = call_header(c, "webhook-id"),
						   .timestamp = call_header(c, "webhook-timestamp"),
						   .signature = call_header(c, "webhook-signature"),
						   .body = strbuf_str(&c->body),
						   .len = c->body.len};
	c->auth.hook = &c->hook;
	c->msg = (struct client_msg){.op = OP_TASK};
	/* Before any signature is checked: nobody's is worth more work than this. */
	if (c->body.len > HOOK_BODY_MAX) {
		call_refuse(c, "too_large", "the body is longer than the limit");
		return -1;
	}
	if (!ws_utf8(&state, (const uint8_t *)strbuf_str(&c->body), c->body.len) || state)
		return client_refuse(&c->why, "bad_request", "the body is not UTF-8");
	if (jscan_value(strbuf_str(&c->body), c->body.len, &err))
		return client_refuse(&c->why, "bad_request", "%s", err.msg);
	return 0;
}

/* Its sender sends again what was not answered: webhook-id is what makes that one task. */
static void run_hook(struct call *c)
{
	snprintf(c->msg.key, sizeof(c->msg.key), "hook.%s.%s", c->hook.hook, c->hook.message.id);
	memcpy(c->msg.pipeline, c->hook.pipeline, sizeof(c->msg.pipeline));
	c->msg.priority = c->hook.priority;
	c->msg.data = (struct slice){strbuf_str(&c->body), c->body.len};
	call_command(c, COMMAND_TASK);
}

const struct route http_routes_hooks[] = {
    {"POST", "/v1/hooks/{}", read_hook, run_hook, SCOPE_TASK},
    {NULL, NULL, NULL, NULL, 0},
};
