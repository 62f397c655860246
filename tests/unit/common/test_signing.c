/* Signatures: the examples of RFC 7515, appendix A, and what is no key or no signature. */
#include <stdio.h>
#include <string.h>

#include "common/base64url.h"
#include "common/signing.h"
#include "suite.h"

#define PAYLOAD                                                                                    \
	"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0" \
	"cnVlfQ"
#define A1_KEY                                                                                     \
	"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
#define A1_SIGNED    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." PAYLOAD
#define A1_SIGNATURE "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
#define A2_KEY                                                                                     \
	"-----BEGIN PUBLIC KEY-----\n"                                                             \
	"MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAofgWCuLjybRlzo0tZWJj\n"                       \
	"NiuSfb4p4fAkd/wWJcyQoTbji9k0l8W26mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEz\n"                       \
	"P1Pt0Bm4d4QlL+yRT+SFd2lZS+pCgNMsD1W/YpRPEwOWvG6b32690r2jZ47soMZo\n"                       \
	"9wGzjb/7OMg0LOL+bSf63kpaSHSXndS5z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTB\n"                       \
	"EMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxX\n"                       \
	"FvUK+DWNmoudF8NAco9/h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXp\n"                       \
	"oQIDAQAB\n"                                                                               \
	"-----END PUBLIC KEY-----\n"
#define A2_SIGNED "eyJhbGciOiJSUzI1NiJ9." PAYLOAD
#define A2_SIGNATURE                                                                               \
	"cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"    \
	"O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIAR"   \
	"NPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvh"   \
	"J1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
#define A3_KEY                                                                                     \
	"-----BEGIN PUBLIC KEY-----\n"                                                             \
	"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7\n"                       \
	"6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\n"                           \
	"-----END PUBLIC KEY-----\n"
#define A3_SIGNED "eyJhbGciOiJFUzI1NiJ9." PAYLOAD
#define A3_SIGNATURE                                                                               \
	"DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
#define P384_KEY                                                                                   \
	"-----BEGIN PUBLIC KEY-----\n"                                                             \
	"MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEabEbP8dBK8yUks6ZQ+mEweoMkQ/a9hVq\n"                       \
	"TOxMRBG4jbtDbx2qb9G3w0vFjDuBP5oRuNkutY2RFaRwnXr08Su48/ffXhL8kA7+\n"                       \
	"n8ehzJuXvKHVTXdcH/dQ+vh1lWQaRZpl\n"                                                       \
	"-----END PUBLIC KEY-----\n"
#define RSA1024_KEY                                                                                \
	"-----BEGIN PUBLIC KEY-----\n"                                                             \
	"MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDArv0HDhmZYaPAW8ylEifwRRN0\n"                       \
	"I+pEKDMJ1iA4igg5C5HGdLwxd7MvEfNzWH0Z5PbQYgz63TYvfxL88aXxg06R03qh\n"                       \
	"mTRje/KcXMpFg9G19r3KrbhFXswOL/TQ9TNImPgeYbuaocTmKvvotBlXQErrKysr\n"                       \
	"mFvP5gHMTcDXSly1gwIDAQAB\n"                                                               \
	"-----END PUBLIC KEY-----\n"

static uint8_t signature[SIGN_MAX];
static size_t n_signature;

static void take(const char *text)
{
	ck_assert(base64url_decode(text, strlen(text), signature, sizeof(signature), &n_signature));
}

static bool good(struct verifier *v, const char *text)
{
	return verifier_good(v, text, strlen(text), signature, n_signature);
}

/* Good as it is; not with one bit of the text or of the signature changed, nor shortened. */
static void holds(enum sign_alg alg, const char *key, const char *text, const char *sig)
{
	struct verifier *v = verifier_new(alg, key);
	char other[400];

	ck_assert_uint_lt(strlen(text), sizeof(other));
	take(sig);
	ck_assert(good(v, text));
	ck_assert(good(v, text));
	strcpy(other, text);
	other[30] ^= 1;
	ck_assert(!good(v, other));
	for (size_t i = 0; i < n_signature; i += 7) {
		signature[i] ^= 1;
		ck_assert(!good(v, text));
		signature[i] ^= 1;
	}
	n_signature--;
	ck_assert(!good(v, text));
	n_signature = 0;
	ck_assert(!good(v, text));
	verifier_free(v);
}

START_TEST(rfc_7515_a1)
{
	char key[128];
	size_t n;

	ck_assert(base64url_decode(A1_KEY, strlen(A1_KEY), key, sizeof(key), &n) && n == 64);
	key[n] = 0; /* it has no other NUL */
	holds(SIGN_HS256, key, A1_SIGNED, A1_SIGNATURE);
}
END_TEST

START_TEST(rfc_7515_a2)
{
	holds(SIGN_RS256, A2_KEY, A2_SIGNED, A2_SIGNATURE);
}
END_TEST

START_TEST(rfc_7515_a3)
{
	holds(SIGN_ES256, A3_KEY, A3_SIGNED, A3_SIGNATURE);
}
END_TEST

/* CVE-2022-21449: r and s of nothing but zeros; and other values that are no such numbers. */
START_TEST(no_pair_of_numbers)
{
	struct verifier *v = verifier_new(SIGN_ES256, A3_KEY);

	n_signature = 64;
	memset(signature, 0, 64);
	ck_assert(!good(v, A3_SIGNED));
	memset(signature, 0xff, 64);
	ck_assert(!good(v, A3_SIGNED));
	take(A3_SIGNATURE);
	memset(signature, 0, 32);
	ck_assert(!good(v, A3_SIGNED));
	memset(signature, 0, 65);
	n_signature = 65;
	ck_assert(!good(v, A3_SIGNED));
	verifier_free(v);
}
END_TEST

START_TEST(what_is_no_key)
{
	static const struct {
		enum sign_alg alg;
		const char *material;
	} bad[] = {
	    {SIGN_HS256, "0123456789abcdef0123456789abcde"},
	    {SIGN_RS256, ""},
	    {SIGN_RS256, "key"},
	    {SIGN_RS256, A3_KEY},
	    {SIGN_ES256, A2_KEY},
	    {SIGN_ES256, P384_KEY},
	    {SIGN_RS256, RSA1024_KEY},
	    {SIGN_RS256, "x" A2_KEY},
	    {SIGN_RS256, A2_KEY A2_KEY},
	    {SIGN_RS256, "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"},
	    {SIGN_RS256, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"},
	    {SIGN_RS256, "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOC\n"},
	};

	take(A2_SIGNATURE);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct verifier *v = verifier_new(bad[i].alg, bad[i].material);
		struct error err = {0};

		ck_assert_msg(verifier_check(v, &err) == -1, "%zu", i);
		ck_assert_int_eq(err.code, ERR_REJECTED);
		ck_assert(!good(v, A2_SIGNED));
		verifier_free(v);
	}
}
END_TEST

START_TEST(keys_of_each_kind)
{
	static const struct {
		enum sign_alg alg;
		const char *material;
	} fine[] = {{SIGN_HS256, "0123456789abcdef0123456789abcdef"},
		    {SIGN_RS256, A2_KEY},
		    {SIGN_ES256, A3_KEY}};
	enum sign_alg alg;

	for (size_t i = 0; i < sizeof(fine) / sizeof(*fine); i++) {
		struct verifier *v = verifier_new(fine[i].alg, fine[i].material);

		ck_assert_int_eq(verifier_check(v, NULL), 0);
		ck_assert_int_eq(verifier_check(v, NULL), 0);
		verifier_free(v);
		ck_assert(sign_alg_parse(sign_alg_name(fine[i].alg), &alg) && alg == fine[i].alg);
	}
	ck_assert(!sign_alg_parse("none", &alg) && !sign_alg_parse("", &alg) &&
		  !sign_alg_parse("hs256", &alg) && !sign_alg_parse("HS512", &alg));
}
END_TEST

/* Cases 1 and 2, and 6: a key that is longer than a block. */
START_TEST(rfc_4231)
{
	static const uint8_t long_key[131] = {[0 ... 130] = 0xaa},
			     short_key[20] = {[0 ... 19] = 0x0b};
	static const struct {
		const void *key;
		size_t key_len;
		const char *text, *mac;
	} cases[] = {
	    {short_key, sizeof(short_key), "Hi There",
	     "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
	    {"Jefe", 4, "what do ya want for nothing?",
	     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
	    {long_key, sizeof(long_key), "Test Using Larger Than Block-Size Key - Hash Key First",
	     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint8_t mac[SIGN_HS256_LEN];
		char hex[2 * SIGN_HS256_LEN + 1];

		sign_hs256(cases[i].key, cases[i].key_len, cases[i].text, strlen(cases[i].text),
			   mac);
		for (size_t k = 0; k < sizeof(mac); k++)
			snprintf(hex + 2 * k, 3, "%02x", mac[k]);
		ck_assert_str_eq(hex, cases[i].mac);
	}
}
END_TEST

RUN_TESTS("common: signatures", rfc_4231, rfc_7515_a1, rfc_7515_a2, rfc_7515_a3, no_pair_of_numbers,
	  what_is_no_key, keys_of_each_kind)
