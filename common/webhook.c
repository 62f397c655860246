#include "common/webhook.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "common/base64url.h"
#include "common/ids.h"
#include "common/signing.h"
#include "common/strbuf.h"

#define PREFIX         "whsec_"
#define PREFIX_LEN     6
#define FRESH_BYTES    32
#define SIGNATURES_MAX 8 /* of one message: what is beyond is not looked at */

/* Base64 with padding (RFC 4648, section 4) of at most WEBHOOK_SECRET_MAX bytes. */
static bool decode(const char *text, uint8_t *out, size_t *n)
{
	uint8_t room[(WEBHOOK_SECRET_MAX + 2) / 3 * 3];
	size_t len = strlen(text);
	size_t pad = len >= 2 && text[len - 1] == '=' ? 1 + (text[len - 2] == '=') : 0;

	if (len == 0 || len % 4 != 0 || len / 4 * 3 > sizeof(room))
		return false;
	int got = EVP_DecodeBlock(room, (const unsigned char *)text, (int)len);
	bool ok = got >= 0 && (size_t)got - pad <= WEBHOOK_SECRET_MAX;
	if (ok) {
		*n = (size_t)got - pad;
		memcpy(out, room, *n);
	}
	OPENSSL_cleanse(room, sizeof(room));
	return ok;
}

static bool secret_bytes(const char *secret, uint8_t out[WEBHOOK_SECRET_MAX], size_t *n)
{
	return strncmp(secret, PREFIX, PREFIX_LEN) == 0 && decode(secret + PREFIX_LEN, out, n) &&
	       *n >= WEBHOOK_SECRET_MIN;
}

void webhook_secret_new(char out[WEBHOOK_SECRET_TEXT + 1])
{
	char text[BASE64URL_LEN(FRESH_BYTES) + 1];
	uint8_t bytes[FRESH_BYTES];
	size_t n;

	secret_random(FRESH_BYTES, text);
	if (!base64url_decode(text, strlen(text), bytes, sizeof(bytes), &n))
		abort();
	memcpy(out, PREFIX, PREFIX_LEN);
	EVP_EncodeBlock((unsigned char *)out + PREFIX_LEN, bytes, (int)n);
	OPENSSL_cleanse(text, sizeof(text));
	OPENSSL_cleanse(bytes, sizeof(bytes));
}

bool webhook_secret_valid(const char *secret)
{
	uint8_t key[WEBHOOK_SECRET_MAX];
	size_t n;
	bool ok = secret_bytes(secret, key, &n);
	OPENSSL_cleanse(key, sizeof(key));
	return ok;
}

bool webhook_sign(const char *secret, const struct webhook_message *m,
		  char out[WEBHOOK_SIGNED_LEN + 1])
{
	uint8_t key[WEBHOOK_SECRET_MAX], mac[SIGN_HS256_LEN];
	struct strbuf text = {0};
	size_t n;

	if (!secret_bytes(secret, key, &n))
		return false;
	strbuf_addf(&text, "%s.%s.", m->id, m->timestamp);
	strbuf_add(&text, m->body, m->len);
	sign_hs256(key, n, text.data, text.len, mac);
	memcpy(out, "v1,", 3);
	EVP_EncodeBlock((unsigned char *)out + 3, mac, sizeof(mac));
	strbuf_done(&text);
	OPENSSL_cleanse(key, sizeof(key));
	return true;
}

/* The id becomes part of an idempotency key. */
static bool valid_id(const char *id)
{
	size_t n = 0;
	for (; id[n] > ' ' && id[n] <= '~'; n++)
		if (n >= WEBHOOK_ID_MAX)
			return false;
	return n > 0 && !id[n];
}

static bool read_time(const char *text, int64_t *out)
{
	size_t n = strlen(text);
	if (n < 1 || n > 12 || strspn(text, "0123456789") != n)
		return false;
	*out = strtoll(text, NULL, 10);
	return true;
}

enum webhook_result webhook_verify(const char *secret, const struct webhook_message *m,
				   int64_t now_s)
{
	char mine[WEBHOOK_SIGNED_LEN + 1];
	int64_t time_s;

	if (!m->id || !m->timestamp || !m->signature || !valid_id(m->id) ||
	    !read_time(m->timestamp, &time_s))
		return WEBHOOK_MALFORMED;
	if (time_s < now_s - WEBHOOK_TOLERANCE_S || time_s > now_s + WEBHOOK_TOLERANCE_S)
		return WEBHOOK_STALE;
	if (!webhook_sign(secret, m, mine))
		return WEBHOOK_BAD;
	const char *p = m->signature;
	for (int i = 0; i < SIGNATURES_MAX && *p; i++) {
		p += strspn(p, " ");
		size_t n = strcspn(p, " ");
		if (n == WEBHOOK_SIGNED_LEN && CRYPTO_memcmp(p, mine, n) == 0)
			return WEBHOOK_GOOD;
		p += n;
	}
	return WEBHOOK_BAD;
}
