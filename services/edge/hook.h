/* Inbound hooks: is this call of a hook its sender's? (common/webhook.h)
 *
 * Pure but for the catalog it reads; threads: the catalog's loop. HMAC of the longest body, 64 KiB,
 * takes about 0.1 ms. Never logs a secret or a signature. */
#ifndef PENSTOCK_EDGE_HOOK_H
#define PENSTOCK_EDGE_HOOK_H

#include "common/webhook.h"
#include "services/edge/auth.h"

#define HOOK_BODY_MAX 65536

struct hook_call {
	const char *hook;               /* its id */
	struct webhook_message message; /* borrowed */
	/* found: what it starts */
	char pipeline[TENANT_MAX + 1];
	int32_t priority;
};

/* As auth_check(): AUTH_OK with *who, whose only scope is to start tasks. An unknown hook is
 * AUTH_BAD as a wrong signature is: nobody learns which it was. now_us: UTC. */
enum auth_result hook_check(const struct catalog *catalog, struct hook_call *call, int64_t now_us,
			    struct auth_identity *who);

#endif
