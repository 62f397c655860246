/* What the handlers of hooks share. Called within a change of the scope "tenant". Threads: the
 * change's. */
#ifndef PENSTOCK_CONTROL_HOOKS_H
#define PENSTOCK_CONTROL_HOOKS_H

#include "services/control-plane/change.h"

/* The document of a hook k, of an outgoing one with what its state s says. */
#define HOOK_SHOWN                                                                                 \
	"CASE WHEN s.hook IS NULL THEN k.doc ELSE (k.doc::jsonb || jsonb_build_object('enabled',"  \
	" s.enabled, 'reason', s.reason, 'delivered', s.delivered, 'failures', s.failures))::json" \
	" END"

bool hook_is_out(const json_t *doc);
/* The outgoing hook of the call goes on where it stopped, dead deliveries first; or stops. */
int hook_switch(struct change *ch, bool on) MUST_CHECK;
/* What edges must know of an inbound one. previous: as registry_catalog_hook(). */
int hook_publish(struct change *ch, const char *id, const json_t *doc, const char *secret,
		 const char *previous, int64_t previous_until_ms) MUST_CHECK;
/* Which channels and types, as the event-store looks for them; owned by the caller. */
void hook_regexes(const json_t *doc, struct strbuf *channels, struct strbuf *types);

#endif
