#include "services/edge/resume.h"

#include <openssl/hmac.h>
#include <string.h>

static void base64url(struct strbuf *out, const unsigned char *p, size_t n)
{
	static const char alphabet[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

	for (size_t i = 0; i < n; i += 3) {
		unsigned v = (unsigned)p[i] << 16 | (i + 1 < n ? (unsigned)p[i + 1] << 8 : 0) |
			     (i + 2 < n ? p[i + 2] : 0);

		strbuf_addc(out, alphabet[v >> 18 & 63]);
		strbuf_addc(out, alphabet[v >> 12 & 63]);
		if (i + 1 < n)
			strbuf_addc(out, alphabet[v >> 6 & 63]);
		if (i + 2 < n)
			strbuf_addc(out, alphabet[v & 63]);
	}
}

void resume_token(struct strbuf *out, const char *key, const char *session, const char *tenant,
		  const char *principal, int64_t wall_ms)
{
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	struct strbuf text = {0};

	strbuf_addf(&text, "%s %s %s %lld", session, tenant, principal, (long long)wall_ms);
	HMAC(EVP_sha256(), key, (int)strlen(key), (const unsigned char *)text.data, text.len, mac,
	     &n);
	base64url(out, (const unsigned char *)text.data, text.len);
	strbuf_addc(out, '.');
	base64url(out, mac, n);
	strbuf_done(&text);
}
