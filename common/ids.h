/* Identities: UUIDs and the digests behind idempotency. Pure, but for ids_random.
 * Threads: any. All texts are NUL-terminated lower-case canonical UUIDs (RFC 9562). */
#ifndef PENSTOCK_IDS_H
#define PENSTOCK_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/rng.h"

#define ID_LEN 36
struct id {
	char text[ID_LEN + 1];
};

/* Version 7: time-ordered, 74 random bits from rng. For things that nobody has to guess or not
 * guess. */
struct id id_new(struct rng *rng, int64_t wall_us);
/* Version 8, derived: the first 128 bits of SHA-256(tenant NUL scope NUL name), six of them then
 * overwritten by version and variant. The same key of the same tenant gives the same id, on every
 * router, for ever. scope: "event", "task", … */
struct id id_derive(const char *tenant, const char *scope, const char *name);
bool id_valid(const char *text);

/* 64-bit digest of a payload, to tell a repeat from a conflict (XXH3). Parts are length-prefixed.
 */
struct digest_part {
	const void *data;
	size_t len;
};
uint64_t digest64(const struct digest_part *parts, size_t n);

void sha256_hex(const void *data, size_t len, char out[65]);
/* Random bytes from the kernel as base64url without padding; for secrets. out: 4*ceil(n/3)+1 bytes.
 */
void secret_random(size_t n, char *out);
/* Equal-time comparison of two NUL-terminated texts. */
bool secret_equal(const char *a, const char *b);

/* W3C Trace Context: 00-<32 hex>-<16 hex>-<2 hex>. */
#define TRACE_LEN 55
bool trace_valid(const char *traceparent);
void trace_new(struct rng *rng, char out[TRACE_LEN + 1]);
/* The same trace with a new span id; a new trace if parent is NULL or not valid. */
void trace_child(struct rng *rng, const char *parent, char out[TRACE_LEN + 1]);

/* "2026-11-24T03:48:12.123456Z", RFC 3339. */
#define TIME_LEN 27
void time_format(int64_t wall_us, char out[TIME_LEN + 1]);
/* RFC 3339, any offset; false if it is none. */
bool time_parse(const char *text, int64_t *wall_us);

#endif
