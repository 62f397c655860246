/* As in ids.c: the low-level SHA256_* calls, for the sake of their speed. */
#define OPENSSL_API_COMPAT 10100
#include "common/signing.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192
#define PEM_HEAD     "-----BEGIN PUBLIC KEY-----"

struct verifier {
	enum sign_alg alg;
	bool read;     /* the material was looked at */
	EVP_PKEY *key; /* NULL: HS256, not read yet, or no good */
	size_t len;
	char material[];
};

static const char *const names[SIGN_N] = {"HS256", "RS256", "ES256"};

const char *sign_alg_name(enum sign_alg alg)
{
	return names[alg];
}

bool sign_alg_parse(const char *name, enum sign_alg *alg)
{
	for (int i = 0; i < SIGN_N; i++) {
		if (strcmp(names[i], name) != 0)
			continue;
		*alg = (enum sign_alg)i;
		return true;
	}
	return false;
}

struct verifier *verifier_new(enum sign_alg alg, const char *material)
{
	size_t len = strlen(material);
	struct verifier *v = xcalloc(1, sizeof(*v) + len + 1);

	v->alg = alg;
	v->len = len;
	memcpy(v->material, material, len + 1);
	return v;
}

void verifier_free(struct verifier *v)
{
	if (!v)
		return;
	EVP_PKEY_free(v->key);
	OPENSSL_cleanse(v->material, v->len);
	free(v);
}

/* --- reading ------------------------------------------------------------------------------ */

static int no_password(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static bool is_p256(const EVP_PKEY *key)
{
	char group[32];
	size_t n;

	return EVP_PKEY_get_group_name(key, group, sizeof(group), &n) == 1 &&
	       !strcmp(group, "prime256v1");
}

static int check_kind(const struct verifier *v, const EVP_PKEY *key, struct error *err)
{
	int bits = EVP_PKEY_get_bits(key);

	if (v->alg == SIGN_ES256)
		return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC && is_p256(key)
			   ? 0
			   : err_set(err, ERR_REJECTED, "ES256 needs an EC key on P-256");
	if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA)
		return err_set(err, ERR_REJECTED, "RS256 needs an RSA key");
	if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX)
		return err_set(err, ERR_REJECTED, "an RSA key has %d to %d bits, not %d",
			       RSA_BITS_MIN, RSA_BITS_MAX, bits);
	return 0;
}

static int read_pem(struct verifier *v, struct error *err)
{
	const char *end = strstr(v->material, "-----END PUBLIC KEY-----");
	EVP_PKEY *key;
	BIO *bio;

	if (v->len > SIGN_PEM_MAX)
		return err_set(err, ERR_REJECTED, "longer than %d characters", SIGN_PEM_MAX);
	/* Exactly one key and nothing beside it: neither a private one nor a second one. */
	if (strncmp(v->material, PEM_HEAD, sizeof(PEM_HEAD) - 1) != 0 || !end ||
	    strstr(end + 1, "-----BEGIN"))
		return err_set(err, ERR_REJECTED, "is not one PEM block \"PUBLIC KEY\"");
	bio = BIO_new_mem_buf(v->material, (int)v->len);
	key = bio ? PEM_read_bio_PUBKEY(bio, NULL, no_password, NULL) : NULL;
	BIO_free(bio);
	ERR_clear_error();
	if (!key)
		return err_set(err, ERR_REJECTED, "the PEM block holds no public key");
	if (check_kind(v, key, err)) {
		EVP_PKEY_free(key);
		return -1;
	}
	v->key = key;
	return 0;
}

int verifier_check(struct verifier *v, struct error *err)
{
	if (v->alg == SIGN_HS256)
		return v->len >= SIGN_SECRET_MIN && v->len <= SIGN_SECRET_MAX
			   ? 0
			   : err_set(err, ERR_REJECTED, "a secret has %d to %d bytes",
				     SIGN_SECRET_MIN, SIGN_SECRET_MAX);
	if (v->key)
		return 0;
	v->read = true;
	return read_pem(v, err);
}

/* --- verifying ---------------------------------------------------------------------------- */

/* SHA-256 of pad, with each byte turned over by turn, and data. */
static void hash_padded(uint8_t pad[SHA256_CBLOCK], uint8_t turn, const void *data, size_t len,
			uint8_t out[SIGN_HS256_LEN])
{
	SHA256_CTX ctx;

	for (unsigned i = 0; i < SHA256_CBLOCK; i++)
		pad[i] ^= turn;
	SHA256_Init(&ctx);
	SHA256_Update(&ctx, pad, SHA256_CBLOCK);
	SHA256_Update(&ctx, data, len);
	SHA256_Final(out, &ctx);
	OPENSSL_cleanse(&ctx, sizeof(ctx)); /* as good as the key */
}

/* RFC 2104. HMAC() takes five times as long, for it looks up the algorithm and makes three contexts
 * in each call: more than all else that a connection's resume token takes. */
void sign_hs256(const void *key, size_t key_len, const void *data, size_t len,
		uint8_t out[SIGN_HS256_LEN])
{
	uint8_t pad[SHA256_CBLOCK] = {0};
	SHA256_CTX ctx;

	if (key_len <= sizeof(pad)) {
		memcpy(pad, key, key_len);
	} else {
		SHA256_Init(&ctx);
		SHA256_Update(&ctx, key, key_len);
		SHA256_Final(pad, &ctx);
	}
	hash_padded(pad, 0x36, data, len, out);
	hash_padded(pad, 0x36 ^ 0x5c, out, SIGN_HS256_LEN, out);
	OPENSSL_cleanse(pad, sizeof(pad));
}

static bool good_mac(const struct verifier *v, const void *data, size_t len,
		     const uint8_t *signature, size_t n)
{
	uint8_t mac[SIGN_HS256_LEN];

	if (n != sizeof(mac) || v->len < SIGN_SECRET_MIN)
		return false;
	sign_hs256(v->material, v->len, data, len, mac);
	return CRYPTO_memcmp(mac, signature, sizeof(mac)) == 0;
}

static bool good_key(EVP_PKEY *key, const void *data, size_t len, const uint8_t *signature,
		     size_t n)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool good = ctx && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
		    EVP_DigestVerify(ctx, signature, n, data, len) == 1;

	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	return good;
}

/* RFC 7518, 3.4: r and s, 32 bytes each; OpenSSL wants them in DER. */
static bool good_pair(EVP_PKEY *key, const void *data, size_t len, const uint8_t *signature,
		      size_t n)
{
	ECDSA_SIG *pair = n == 64 ? ECDSA_SIG_new() : NULL;
	BIGNUM *r = pair ? BN_bin2bn(signature, 32, NULL) : NULL;
	BIGNUM *s = pair ? BN_bin2bn(signature + 32, 32, NULL) : NULL;
	unsigned char *der = NULL;
	int size = -1;
	bool good;

	if (r && s && ECDSA_SIG_set0(pair, r, s)) {
		r = s = NULL;
		size = i2d_ECDSA_SIG(pair, &der);
	}
	good = size > 0 && good_key(key, data, len, der, (size_t)size);
	OPENSSL_free(der);
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(pair);
	return good;
}

bool verifier_good(struct verifier *v, const void *data, size_t len, const uint8_t *signature,
		   size_t n)
{
	struct error err;

	if (v->alg == SIGN_HS256)
		return good_mac(v, data, len, signature, n);
	if (!v->key && (v->read || verifier_check(v, &err)))
		return false;
	return v->alg == SIGN_ES256 ? good_pair(v->key, data, len, signature, n)
				    : good_key(v->key, data, len, signature, n);
}
