#include "tests/unit/edge/minter.h"

#include <check.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#include "common/base64url.h"

void minter_init(struct minter *m, enum sign_alg alg)
{
	*m = (struct minter){.alg = alg};
	if (alg == SIGN_HS256)
		m->secret = "0123456789abcdef0123456789ABCDEF";
	else
		m->key = alg == SIGN_RS256 ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
	ck_assert(m->secret || m->key);
}

void minter_done(struct minter *m)
{
	EVP_PKEY_free(m->key);
	m->key = NULL;
}

char *minter_material(const struct minter *m)
{
	BIO *bio;
	char *text, *out;
	long n;

	if (m->alg == SIGN_HS256)
		return xstrdup(m->secret);
	bio = BIO_new(BIO_s_mem());
	ck_assert(PEM_write_bio_PUBKEY(bio, m->key));
	n = BIO_get_mem_data(bio, &text);
	out = xstrndup(text, (size_t)n);
	BIO_free(bio);
	return out;
}

static size_t sign(const struct minter *m, const struct strbuf *b, uint8_t *out)
{
	size_t n = SIGN_MAX;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const unsigned char *der = out;
	ECDSA_SIG *pair;

	ck_assert(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, m->key) == 1);
	ck_assert(EVP_DigestSign(ctx, out, &n, (const uint8_t *)b->data, b->len) == 1);
	EVP_MD_CTX_free(ctx);
	if (m->alg != SIGN_ES256)
		return n;
	pair = d2i_ECDSA_SIG(NULL, &der, (long)n);
	BN_bn2binpad(ECDSA_SIG_get0_r(pair), out, 32);
	BN_bn2binpad(ECDSA_SIG_get0_s(pair), out + 32, 32);
	ECDSA_SIG_free(pair);
	return 64;
}

char *minter_token(const struct minter *m, const char *header, const char *claims)
{
	struct strbuf b = {0};
	uint8_t signature[SIGN_MAX];
	size_t n = SIGN_HS256_LEN;

	base64url_add(&b, header, strlen(header));
	strbuf_addc(&b, '.');
	base64url_add(&b, claims, strlen(claims));
	if (m->alg == SIGN_HS256)
		sign_hs256(m->secret, strlen(m->secret), b.data, b.len, signature);
	else
		n = sign(m, &b, signature);
	strbuf_addc(&b, '.');
	base64url_add(&b, signature, n);
	return strbuf_detach(&b, NULL);
}
