#include "services/edge/problem.h"

#include <string.h>

static const struct {
	const char *code;
	unsigned status;
	const char *title;
} codes[] = {
    {"bad_request", 400, "Bad request"},
    {"schema_invalid", 422, "The data does not match its schema"},
    {"unknown_type", 422, "Unknown event type"},
    {"unauthenticated", 401, "Not authenticated"},
    {"forbidden", 403, "Forbidden"},
    {"not_found", 404, "Not found"},
    {"method_not_allowed", 405, "Method not allowed"},
    {"conflict", 422, "The key was used for something else"},
    {"expired", 410, "Expired"},
    {"too_large", 413, "Too large"},
    {"unsupported_media_type", 415, "Unsupported media type"},
    {"upgrade_required", 426, "Upgrade required"},
    {"rate_limited", 429, "Rate limited"},
    {"overloaded", 503, "Overloaded"},
    {"unavailable", 503, "Unavailable"},
};

static size_t find(const char *code)
{
	size_t i = 0;

	while (i < sizeof(codes) / sizeof(codes[0]) && strcmp(codes[i].code, code))
		i++;
	return i;
}

unsigned problem_status(const char *code)
{
	size_t i = find(code);

	return i < sizeof(codes) / sizeof(codes[0]) ? codes[i].status : 500;
}

void problem_add(struct strbuf *b, unsigned status, const struct frame_error *e, const char *trace)
{
	size_t i = find(e->code);

	/* A code that we do not know has no words of its own (RFC 9457, 4.2.1). */
	bool known = i < sizeof(codes) / sizeof(codes[0]);

	strbuf_addf(b, "{\"type\":\"%s%s\",\"title\":",
		    known ? "urn:penstock:problem:" : "about:blank", known ? e->code : "");
	strbuf_add_json(b, known ? codes[i].title : "Error");
	strbuf_addf(b, ",\"status\":%u,\"code\":", status);
	strbuf_add_json(b, e->code);
	strbuf_adds(b, ",\"detail\":");
	strbuf_add_json(b, e->message);
	strbuf_adds(b, ",\"trace_id\":");
	strbuf_add_jsonn(b, strlen(trace) >= 35 ? trace + 3 : "", strlen(trace) >= 35 ? 32 : 0);
	strbuf_addf(b, ",\"scope\":\"%s\",\"temporary\":%s",
		    e->scope && *e->scope ? e->scope : "connection",
		    e->temporary ? "true" : "false");
	if (e->retry_after_ms)
		strbuf_addf(b, ",\"retry_after_ms\":%u", e->retry_after_ms);
	if (e->limit && *e->limit) {
		strbuf_adds(b, ",\"limit\":");
		strbuf_add_json(b, e->limit);
	}
	strbuf_addc(b, '}');
}
