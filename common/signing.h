/* Signatures of JSON Web Tokens: HS256, RS256, ES256 (RFC 7518, 3.2 to 3.4), by OpenSSL.
 *
 * An algorithm belongs to a key and never to a message: a key answers for its own one only (RFC
 * 8725, 3.1). Threads: a key belongs to one thread; the rest to any. */
#ifndef PENSTOCK_SIGNING_H
#define PENSTOCK_SIGNING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum sign_alg { SIGN_HS256, SIGN_RS256, SIGN_ES256, SIGN_N };

#define SIGN_SECRET_MIN 32   /* bytes: RFC 7518, 3.2 */
#define SIGN_SECRET_MAX 512  /* bytes */
#define SIGN_PEM_MAX    4096 /* characters */
#define SIGN_MAX        1024 /* bytes of a signature: RSA of 8,192 bits */
#define SIGN_HS256_LEN  32

const char *sign_alg_name(enum sign_alg alg);
bool sign_alg_parse(const char *name, enum sign_alg *alg);

struct verifier;

/* material: for HS256 the secret, whose bytes are the key; else a PEM "PUBLIC KEY" (RFC 7468,
 * section 13): RSA of 2,048 to 8,192 bits, or EC on P-256. It is read at the first use: there are
 * many keys, and most are never asked for here. Copied. */
struct verifier *verifier_new(enum sign_alg alg, const char *material);
void verifier_free(struct verifier *v); /* NULL is fine; wipes the secret */
/* Reads the material now: what is wrong with it. */
int verifier_check(struct verifier *v, struct error *err) MUST_CHECK;
bool verifier_good(struct verifier *v, const void *data, size_t len, const uint8_t *signature,
		   size_t n);

/* HMAC-SHA-256, what HS256 is. */
void sign_hs256(const void *key, size_t key_len, const void *data, size_t len,
		uint8_t out[SIGN_HS256_LEN]);

#endif
