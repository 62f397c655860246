#include "services/edge/hook.h"

#include <stdio.h>
#include <string.h>

static bool is_signed(const struct hook *hook, const struct webhook_message *m, int64_t now_us)
{
	if (webhook_verify(hook->secret, m, now_us / 1000000) == WEBHOOK_GOOD)
		return true;
	return hook->previous && now_us / 1000 < hook->previous_until_ms &&
	       webhook_verify(hook->previous, m, now_us / 1000000) == WEBHOOK_GOOD;
}

enum auth_result hook_check(const struct catalog *catalog, struct hook_call *call, int64_t now_us,
			    struct auth_identity *who)
{
	if (!catalog_ready(catalog))
		return AUTH_NOT_READY;
	const struct hook *hook = catalog_hook(catalog, call->hook);
	if (!hook || !is_signed(hook, &call->message, now_us))
		return AUTH_BAD;
	const struct tenant *tenant = catalog_tenant(catalog, hook->tenant);
	if (!tenant)
		return AUTH_BAD;
	if (!tenant->active)
		return AUTH_SUSPENDED;
	*who = (struct auth_identity){.scopes = SCOPE_TASK};
	snprintf(who->tenant, sizeof(who->tenant), "%s", hook->tenant);
	snprintf(who->id, sizeof(who->id), "hook:%s", hook->id);
	snprintf(call->pipeline, sizeof(call->pipeline), "%s", hook->pipeline);
	call->priority = hook->priority;
	return AUTH_OK;
}
