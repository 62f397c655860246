/* Resume tokens: what was signed comes back, and nothing else does. */
#include <stdio.h>

#include "common/base64url.h"
#include "services/edge/resume.h"
#include "tests/unit/common/suite.h"

#define NOW INT64_C(1700000000000)

static const struct resume_claim claim = {
    {"0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"}, "acme", "k1", NOW + 1000, 0, ""};
static struct strbuf token;

static void make(const char *key, const struct resume_claim *c)
{
	strbuf_reset(&token);
	resume_token(&token, key, c);
}

static bool reads(const char *key, int64_t now)
{
	struct resume_claim back;

	return resume_read(strbuf_str(&token), key, now, &back);
}

START_TEST(comes_back)
{
	struct resume_claim back;

	make("secret", &claim);
	ck_assert(resume_read(token.data, "secret", NOW, &back));
	ck_assert_str_eq(back.session.text, claim.session.text);
	ck_assert_str_eq(back.tenant, "acme");
	ck_assert_str_eq(back.principal, "k1");
	ck_assert_int_eq(back.expires_ms, claim.expires_ms);
	ck_assert_int_eq(back.until_us, 0);
	ck_assert_str_eq(back.rights, "");
	strbuf_done(&token);
}
END_TEST

START_TEST(the_longest_names_fit)
{
	struct resume_claim c = claim, back;

	memset(c.tenant, 't', TENANT_MAX);
	memset(c.principal, 'p', PRINCIPAL_MAX);
	memset(c.rights, 'r', RIGHTS_MAX);
	c.expires_ms = c.until_us = INT64_MAX;
	make("secret", &c);
	ck_assert_uint_le(token.len, RESUME_MAX);
	ck_assert(resume_read(token.data, "secret", NOW, &back));
	ck_assert_str_eq(back.tenant, c.tenant);
	ck_assert_str_eq(back.principal, c.principal);
	ck_assert_int_eq(back.expires_ms, INT64_MAX);
	ck_assert_int_eq(back.until_us, INT64_MAX);
	ck_assert_str_eq(back.rights, c.rights);
	strbuf_done(&token);
}
END_TEST

START_TEST(expires)
{
	make("secret", &claim);
	ck_assert(reads("secret", NOW + 999));
	ck_assert(!reads("secret", NOW + 1000));
	ck_assert(!reads("secret", INT64_MAX));
	strbuf_done(&token);
}
END_TEST

START_TEST(another_key)
{
	make("secret", &claim);
	ck_assert(!reads("Secret", NOW));
	ck_assert(!reads("", NOW));
	strbuf_done(&token);
}
END_TEST

/* Each character is covered: no other text says the same, either. */
START_TEST(any_change_is_noticed)
{
	make("secret", &claim);
	for (size_t i = 0; i < token.len; i++) {
		char was = token.data[i];

		for (const char *c = "Ab9_-.\001"; *c; c++) {
			token.data[i] = *c;
			ck_assert_msg(reads("secret", NOW) == (*c == was), "at %zu", i);
		}
		token.data[i] = was;
	}
	while (token.len) {
		token.data[--token.len] = 0;
		ck_assert(!reads("secret", NOW));
	}
	make("secret", &claim);
	strbuf_addc(&token, 'A');
	ck_assert(!reads("secret", NOW));
	strbuf_done(&token);
}
END_TEST

/* The claim of one token under the signature of another. */
START_TEST(another_tenants)
{
	struct resume_claim other = claim;
	struct strbuf mixed = {0};
	const char *dot;

	memcpy(other.tenant, "globex", 7);
	make("secret", &other);
	dot = strchr(token.data, '.');
	strbuf_add(&mixed, token.data, (size_t)(dot - token.data));
	make("secret", &claim);
	strbuf_adds(&mixed, strchr(token.data, '.'));
	strbuf_reset(&token);
	strbuf_adds(&token, mixed.data);
	ck_assert(!reads("secret", NOW));
	strbuf_done(&mixed);
	strbuf_done(&token);
}
END_TEST

START_TEST(nonsense)
{
	static const char *const texts[] = {"", ".", "..", "a", "a.b", "=.=", "A A.A", "\xff.\xff"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		strbuf_reset(&token);
		strbuf_adds(&token, texts[i]);
		ck_assert_msg(!reads("secret", NOW), "%s", texts[i]);
	}
	strbuf_reset(&token);
	for (int i = 0; i < RESUME_MAX; i++)
		strbuf_addc(&token, 'A');
	strbuf_adds(&token, ".AAAA");
	ck_assert(!reads("secret", NOW));
	strbuf_done(&token);
}
END_TEST

RUN_TESTS("edge: resume tokens", comes_back, the_longest_names_fit, expires, another_key,
	  any_change_is_noticed, another_tenants, nonsense)
