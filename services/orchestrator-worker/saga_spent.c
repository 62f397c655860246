/* What a task's calls of models took, for its tenant's tokens a minute. Errs upwards. */
#include <string.h>

#include "services/orchestrator-worker/saga.h"

void saga_spend(struct saga *s, size_t stage, const struct saga_usage *usage)
{
	enum stage_kind kind = s->spec->stages[stage].kind;
	if (kind != KIND_CHAT && kind != KIND_EMBED)
		return;
	if (usage == NULL || usage->total_tokens < 0 || usage->total_tokens > INT64_MAX - s->spent)
		s->untold = true;
	else
		s->spent += usage->total_tokens;
}

/* The target has not worked on it. */
static bool took_nothing(const char *reason)
{
	static const char *const reasons[] = {
	    "rate_limited",      "throttled",         "connect_failed",
	    "upstream_rejected", "upstream_denied",   "bad_input",
	    "unknown_model",     "unsupported_model", "secret_missing"};
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (strcmp(reason, reasons[i]) == 0)
			return true;
	return false;
}

void saga_spend_failed(struct saga *s, size_t stage, const char *reason)
{
	if (reason == NULL || !took_nothing(reason))
		saga_spend(s, stage, NULL);
}

int64_t saga_used(const struct saga *s, int64_t estimate)
{
	return s->untold && s->spent < estimate ? estimate : s->spent;
}
