/* How a simulated model behaves: latencies, limits, faults. Pure. Threads: one owner. */
#ifndef MODELSIM_KNOBS_H
#define MODELSIM_KNOBS_H

#include <jansson.h>
#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"

struct knobs {
	double first_token_ms, token_ms; /* before the first token, and between two */
	double rpm, tpm, concurrent;     /* limits, 0: none; above: 429 */
	double retry_after;              /* s, said with a 429 or 503; 0: what the window says */
	double fail_rate, fail_status,
	    fail_count;               /* share of requests that fail; count: how many may, -1 any */
	double hang_rate, hang_count; /* … that are never answered */
	double cut_rate, cut_after, cut_count; /* … that are cut off after so many tokens */
};

extern const struct knobs knobs_default;

/* Sets one knob by its name (the members above; also fail, hang, cut: see knobs_parse). A fault
 * that is given without a rate has rate 1. ERR_REJECTED for an unknown name or a value below -1 or
 * above 1e9. */
int knobs_set(struct knobs *k, const char *name, double value, struct error *err) MUST_CHECK;
/* "token_ms=5, fail=503": of the header X-Sim, or behind the @ of a model's name. */
int knobs_parse(struct knobs *k, const char *text, struct error *err) MUST_CHECK;
/* {"token_ms": 5, "fail": {"status": 503, "rate": 0.5, "count": 2}, "hang": true, "cut": {"after":
 * 3}}; null or false for a fault ends it. The members model and reset are the caller's. */
int knobs_json(struct knobs *k, const json_t *doc, struct error *err) MUST_CHECK;
void knobs_write(const struct knobs *k, struct strbuf *out);

#endif
