/* Signatures of webhooks as Standard Webhooks has them
 * (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md):
 * webhook-signature is "v1," and the base64 of HMAC-SHA-256 over "<webhook-id>.<webhook-timestamp>.
 * <body>", several with blanks between while a secret is changed. A secret is "whsec_" and the
 * base64 of its 24 to 64 bytes.
 *
 * Pure; threads: any. Units: seconds since 1970. */
#ifndef PENSTOCK_WEBHOOK_H
#define PENSTOCK_WEBHOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEBHOOK_SECRET_MIN  24 /* bytes */
#define WEBHOOK_SECRET_MAX  64
#define WEBHOOK_SECRET_TEXT (6 + (WEBHOOK_SECRET_MAX + 2) / 3 * 4) /* characters, at most */
#define WEBHOOK_ID_MAX      128
#define WEBHOOK_TOLERANCE_S 300
#define WEBHOOK_SIGNED_LEN  47 /* of one signature: "v1," and 44 characters */

struct webhook_message {
	const char *id;        /* the headers, as they came; NULL: absent */
	const char *timestamp; /* seconds since 1970 */
	const char *signature; /* any number of them */
	const void *body;
	size_t len;
};

/* A fresh one of 32 random bytes. out: room for WEBHOOK_SECRET_TEXT + 1. */
void webhook_secret_new(char out[WEBHOOK_SECRET_TEXT + 1]);
bool webhook_secret_valid(const char *secret);

/* out: room for WEBHOOK_SIGNED_LEN + 1. False: the secret is none. */
bool webhook_sign(const char *secret, const struct webhook_message *m,
		  char out[WEBHOOK_SIGNED_LEN + 1]);

enum webhook_result {
	WEBHOOK_GOOD,
	WEBHOOK_MALFORMED, /* a header is missing or is not what it must be */
	WEBHOOK_STALE,     /* signed too long ago, or in the future: it may be a repeat */
	WEBHOOK_BAD,       /* none of the signatures is the secret's */
};

enum webhook_result webhook_verify(const char *secret, const struct webhook_message *m,
				   int64_t now_s);

#endif
