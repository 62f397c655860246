#include "services/edge/resume.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "common/base64url.h"
#include "common/signing.h"

#define VERSION "resume2"
/* Version, session, tenant, principal, times, rights and what separates them. */
#define TEXT_MAX (sizeof(VERSION) + ID_LEN + TENANT_MAX + PRINCIPAL_MAX + 40 + RIGHTS_MAX + 8)

void resume_token(struct strbuf *out, const char *key, const struct resume_claim *claim)
{
	uint8_t mac[SIGN_HS256_LEN];
	char text[TEXT_MAX];
	/* None of these has a blank. */
	int n = snprintf(text, sizeof(text), VERSION " %s %s %s %lld %lld %s", claim->session.text,
			 claim->tenant, claim->principal, (long long)claim->expires_ms,
			 (long long)claim->until_us, claim->rights);

	sign_hs256(key, strlen(key), text, (size_t)n, mac);
	base64url_add(out, text, (size_t)n);
	strbuf_addc(out, '.');
	base64url_add(out, mac, sizeof(mac));
}

static bool parse(const char *text, struct resume_claim *claim)
{
	long long expires_ms = 0, until_us = 0;
	int used = -1;

	memset(claim, 0, sizeof(*claim));
	/* The widths are ID_LEN, TENANT_MAX and PRINCIPAL_MAX. */
	if (sscanf(text, VERSION " %36s %64s %200s %19lld %19lld%n", claim->session.text,
		   claim->tenant, claim->principal, &expires_ms, &until_us, &used) != 5 ||
	    used < 0 || text[used] != ' ' || strlen(text + used + 1) > RIGHTS_MAX)
		return false;
	strcpy(claim->rights, text + used + 1);
	claim->expires_ms = expires_ms;
	claim->until_us = until_us;
	return id_valid(claim->session.text) && name_valid_tenant(claim->tenant);
}

bool resume_read(const char *token, const char *key, int64_t wall_ms, struct resume_claim *claim)
{
	size_t len = strnlen(token, RESUME_MAX + 1), n, n_mac;
	const char *dot = memchr(token, '.', len);
	uint8_t theirs[SIGN_HS256_LEN], mine[SIGN_HS256_LEN];
	char text[TEXT_MAX + 1];

	if (len > RESUME_MAX || !dot ||
	    !base64url_decode(token, (size_t)(dot - token), text, TEXT_MAX, &n) ||
	    !base64url_decode(dot + 1, len - (size_t)(dot + 1 - token), theirs, sizeof(theirs),
			      &n_mac) ||
	    n_mac != SIGN_HS256_LEN)
		return false;
	text[n] = 0;
	sign_hs256(key, strlen(key), text, n, mine);
	return !CRYPTO_memcmp(mine, theirs, SIGN_HS256_LEN) && strlen(text) == n &&
	       parse(text, claim) && wall_ms < claim->expires_ms;
}
