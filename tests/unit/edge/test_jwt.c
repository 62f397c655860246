/* JSON Web Tokens at the door: what lets in, with which rights, and everything that does not. */
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "services/edge/auth.h"
#include "services/edge/client_msg.h"
#include "services/edge/jwt.h"
#include "services/edge/resume.h"
#include "tests/unit/common/suite.h"
#include "tests/unit/edge/minter.h"

#define NOW    INT64_C(1700000000000000)
#define CLAIMS "{\"tenant\":\"acme\",\"sub\":\"u1\",\"exp\":1700000060%s}"
#define HS     "{\"alg\":\"HS256\",\"kid\":\"k-hs\"}"

static struct catalog *catalog;
static struct auth_identity who;
static struct minter minters[SIGN_N];
static char claims[6000];

static void put(const char *key, json_t *doc)
{
	struct error err = {0};
	char *text = doc ? json_text(doc, NULL) : NULL;

	ck_assert_msg(catalog_put(catalog, key, text, text ? strlen(text) : 0, &err) == 0, "%s: %s",
		      key, err.msg);
	free(text);
	json_decref(doc);
}

static void put_signing(const char *tenant, const char *id, const struct minter *m,
			const char *status)
{
	char key[200], *material = minter_material(m);
	json_t *doc = json_pack("{s:s, s:s, s:s, s:s}", "tenant", tenant, "id", id, "alg",
				sign_alg_name(m->alg), "status", status);

	json_object_set_new(doc, m->alg == SIGN_HS256 ? "secret" : "public_key",
			    json_string(material));
	snprintf(key, sizeof(key), "signing.%s.%s", tenant, id);
	put(key, doc);
	free(material);
}

static void setup(void)
{
	catalog = catalog_new();
	put("tenant.acme", json_pack("{s:s}", "id", "acme"));
	put("tenant.other", json_pack("{s:s}", "id", "other"));
	put("tenant.idle", json_pack("{s:s, s:s}", "id", "idle", "status", "suspended"));
	for (int i = 0; i < SIGN_N; i++)
		minter_init(&minters[i], (enum sign_alg)i);
	put_signing("acme", "k-hs", &minters[SIGN_HS256], "active");
	put_signing("acme", "k-rs", &minters[SIGN_RS256], "active");
	put_signing("acme", "k-es", &minters[SIGN_ES256], "active");
	put_signing("idle", "k-hs", &minters[SIGN_HS256], "active");
}

static void done(void)
{
	auth_identity_done(&who);
	catalog_stop(catalog);
	for (int i = 0; i < SIGN_N; i++)
		minter_done(&minters[i]);
}

static enum auth_result check_at(const char *token, int64_t now_us)
{
	auth_identity_done(&who);
	memset(&who, 0, sizeof(who));
	return auth_check(catalog, token, NULL, now_us, &who);
}

static enum auth_result check(const char *token)
{
	return check_at(token, NOW);
}

/* Signed well, whatever it says. */
static enum auth_result says(enum sign_alg alg, const char *header, const char *body)
{
	char *token = minter_token(&minters[alg], header, body);
	enum auth_result result = check(token);

	free(token);
	return result;
}

static const char *with(const char *more)
{
	snprintf(claims, sizeof(claims), CLAIMS, more);
	return claims;
}

START_TEST(each_algorithm)
{
	static const char *const headers[SIGN_N] = {HS, "{\"alg\":\"RS256\",\"kid\":\"k-rs\"}",
						    "{\"alg\":\"ES256\",\"kid\":\"k-es\"}"};
	static const char *const ids[SIGN_N] = {"jwt:k-hs:u1", "jwt:k-rs:u1", "jwt:k-es:u1"};
	static const char *const kids[SIGN_N] = {"k-hs", "k-rs", "k-es"};

	setup();
	for (int i = 0; i < SIGN_N; i++) {
		ck_assert_int_eq(says((enum sign_alg)i, headers[i], with("")), AUTH_OK);
		ck_assert_str_eq(who.tenant, "acme");
		ck_assert_str_eq(who.id, ids[i]);
		ck_assert_uint_eq(who.scopes, 0);
		ck_assert_int_eq(who.expires_us, NOW + 60000000);
		ck_assert(auth_signed_by(who.id, kids[i]));
		ck_assert(!auth_signed_by(who.id, "k") && !auth_signed_by(who.id, "k-hs:u1"));
	}
	done();
}
END_TEST

START_TEST(rights)
{
	setup();
	ck_assert_int_eq(says(SIGN_HS256, HS,
			      with(",\"channels\":{\"subscribe\":[\"room.*\"],\"publish\":"
				   "[\"room.7\"]},\"pipelines\":[\"sum*\"]")),
			 AUTH_OK);
	ck_assert_uint_eq(who.scopes, SCOPE_SUBSCRIBE | SCOPE_PUBLISH | SCOPE_TASK);
	ck_assert(permit_allows(who.permit, PERMIT_SUBSCRIBE, "room.8"));
	ck_assert(!permit_allows(who.permit, PERMIT_PUBLISH, "room.8"));
	ck_assert(permit_allows(who.permit, PERMIT_PIPELINE, "summarize"));
	ck_assert_int_eq(says(SIGN_HS256, HS, with(",\"channels\":{\"publish\":[\"a\"]}")),
			 AUTH_OK);
	ck_assert_uint_eq(who.scopes, SCOPE_PUBLISH);
	ck_assert_int_eq(says(SIGN_HS256, HS, with(",\"pipelines\":[\"a\"],\"channels\":{}")),
			 AUTH_OK);
	ck_assert_uint_eq(who.scopes, SCOPE_TASK);
	done();
}
END_TEST

START_TEST(claims_that_are_refused)
{
	static const char *const bad[] = {
	    "{}",
	    "[]",
	    "1",
	    "",
	    "{\"tenant\":\"acme\",\"sub\":\"u1\"}",                        /* no exp */
	    "{\"tenant\":\"acme\",\"exp\":1700000060}",                    /* no sub */
	    "{\"sub\":\"u1\",\"exp\":1700000060}",                         /* no tenant */
	    "{\"tenant\":\"acme\",\"sub\":\"u1\",\"exp\":1700000000}",     /* now */
	    "{\"tenant\":\"acme\",\"sub\":\"u1\",\"exp\":1699999999.9}",   /* a moment ago */
	    "{\"tenant\":\"acme\",\"sub\":\"u1\",\"exp\":\"1700000060\"}", /* a text */
	    "{\"tenant\":\"acme\",\"sub\":\"u1\",\"exp\":null}",
	    "{\"tenant\":\"acme\",\"sub\":\"u1\",\"exp\":-1}",
	    "{\"tenant\":\"acme\",\"sub\":\"u1\",\"exp\":9223372036854775807}",
	    "{\"tenant\":\"acme\",\"sub\":\"u1\",\"exp\":1e300}",
	    "{\"tenant\":\"acme\",\"sub\":\"u1\",\"exp\":true}",
	    "{\"tenant\":\"acme\",\"sub\":\"\",\"exp\":1700000060}",
	    "{\"tenant\":\"acme\",\"sub\":\"a b\",\"exp\":1700000060}",
	    "{\"tenant\":\"acme\",\"sub\":\"a\\n\",\"exp\":1700000060}",
	    "{\"tenant\":\"acme\",\"sub\":\"gr\xc3\xbcn\",\"exp\":1700000060}",
	    "{\"tenant\":\"acme\",\"sub\":7,\"exp\":1700000060}",
	    "{\"tenant\":\"other\",\"sub\":\"u1\",\"exp\":1700000060}", /* acme's key */
	    "{\"tenant\":\"a.b\",\"sub\":\"u1\",\"exp\":1700000060}",
	    "{\"tenant\":[\"acme\"],\"sub\":\"u1\",\"exp\":1700000060}",
	    "{\"tenant\":\"acme\",\"tenant\":\"acme\",\"sub\":\"u1\",\"exp\":1700000060}",
	};
	static const char *const more[] = {
	    ",\"nbf\":1700000010",
	    ",\"nbf\":\"0\"",
	    ",\"aud\":\"somebody\"",
	    ",\"aud\":[\"a\",\"b\"]",
	    ",\"aud\":7",
	    ",\"channels\":[\"a\"]",
	    ",\"channels\":\"*\"",
	    ",\"channels\":{\"subscribe\":[\"a..b\"]}",
	    ",\"channels\":{\"publish\":[7]}",
	    ",\"pipelines\":{}",
	    ",\"pipelines\":[\"a b\"]",
	};

	setup();
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(says(SIGN_HS256, HS, bad[i]) == AUTH_BAD, "%s", bad[i]);
	for (size_t i = 0; i < sizeof(more) / sizeof(*more); i++)
		ck_assert_msg(says(SIGN_HS256, HS, with(more[i])) == AUTH_BAD, "%s", more[i]);
	done();
}
END_TEST

START_TEST(claims_that_are_fine)
{
	static const char *const more[] = {
	    ",\"nbf\":1700000000",
	    ",\"nbf\":1700000004.5",
	    ",\"iat\":1700000000",
	    ",\"aud\":\"penstock\"",
	    ",\"aud\":[\"a\",\"penstock\"]",
	    ",\"iss\":\"x\",\"jti\":7",
	    ",\"channels\":null,\"pipelines\":null",
	};

	setup();
	for (size_t i = 0; i < sizeof(more) / sizeof(*more); i++)
		ck_assert_msg(says(SIGN_HS256, HS, with(more[i])) == AUTH_OK, "%s", more[i]);
	ck_assert_int_eq(says(SIGN_HS256, HS,
			      "{\"tenant\":\"acme\",\"sub\":\"a|b:c@d/~!\",\"exp\":"
			      "1700000000.5}"),
			 AUTH_OK);
	ck_assert_str_eq(who.id, "jwt:k-hs:a|b:c@d/~!");
	ck_assert_int_eq(who.expires_us, NOW + 500000);
	done();
}
END_TEST

START_TEST(headers_that_are_refused)
{
	static const char *const bad[] = {
	    "{}",
	    "[]",
	    "{\"alg\":\"HS256\"}",
	    "{\"kid\":\"k-hs\"}",
	    "{\"alg\":\"none\",\"kid\":\"k-hs\"}",
	    "{\"alg\":\"None\",\"kid\":\"k-hs\"}",
	    "{\"alg\":\"hs256\",\"kid\":\"k-hs\"}",
	    "{\"alg\":\"HS384\",\"kid\":\"k-hs\"}",
	    "{\"alg\":\"\",\"kid\":\"k-hs\"}",
	    "{\"alg\":[\"HS256\"],\"kid\":\"k-hs\"}",
	    "{\"alg\":\"HS256\",\"alg\":\"HS256\",\"kid\":\"k-hs\"}",
	    "{\"alg\":\"HS256\",\"kid\":\"\"}",
	    "{\"alg\":\"HS256\",\"kid\":7}",
	    "{\"alg\":\"HS256\",\"kid\":\"nosuch\"}",
	    "{\"alg\":\"HS256\",\"kid\":\"acme.k-hs\"}",
	    "{\"alg\":\"HS256\",\"kid\":\"k-hs\",\"crit\":[\"exp\"]}",
	    "{\"alg\":\"HS256\",\"kid\":\"k-hs\",\"typ\":\"dpop+jwt\"}",
	    "{\"alg\":\"HS256\",\"kid\":\"k-hs\",\"typ\":7}",
	    "{\"alg\":\"RS256\",\"kid\":\"k-hs\"}",
	    "{\"alg\":\"HS256\",\"kid\":\"k-rs\"}",
	};

	setup();
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(says(SIGN_HS256, bad[i], with("")) == AUTH_BAD, "%s", bad[i]);
	ck_assert_int_eq(says(SIGN_HS256,
			      "{\"typ\":\"jwt\",\"alg\":\"HS256\",\"kid\":\"k-hs\",\"jku\":\"x\"}",
			      with("")),
			 AUTH_OK);
	ck_assert_int_eq(
	    says(SIGN_HS256, "{\"typ\":\"at+jwt\",\"alg\":\"HS256\",\"kid\":\"k-hs\"}", with("")),
	    AUTH_OK);
	done();
}
END_TEST

/* RFC 8725, 2.1: the public key of RS256 as if it were the secret of HS256. */
START_TEST(no_other_algorithm_for_a_key)
{
	struct minter m = {.alg = SIGN_HS256};
	char *pem, *token;

	setup();
	for (int i = SIGN_RS256; i <= SIGN_ES256; i++) {
		pem = minter_material(&minters[i]);
		m.secret = pem;
		token = minter_token(&m,
				     i == SIGN_RS256 ? "{\"alg\":\"HS256\",\"kid\":\"k-rs\"}"
						     : "{\"alg\":\"HS256\",\"kid\":\"k-es\"}",
				     with(""));
		ck_assert_int_eq(check(token), AUTH_BAD);
		free(token);
		free(pem);
	}
	ck_assert_int_eq(says(SIGN_ES256, "{\"alg\":\"ES256\",\"kid\":\"k-rs\"}", with("")),
			 AUTH_BAD);
	ck_assert_int_eq(says(SIGN_ES256, "{\"alg\":\"RS256\",\"kid\":\"k-es\"}", with("")),
			 AUTH_BAD);
	done();
}
END_TEST

/* A good token, spoilt. */
START_TEST(texts_that_are_refused)
{
	char *token, text[TOKEN_MAX + 200];
	size_t n;

	setup();
	token = minter_token(&minters[SIGN_HS256], HS, with(""));
	n = strlen(token);
	ck_assert_int_eq(check(token), AUTH_OK);
	for (size_t i = 0; i < n; i++) {
		char c = token[i];

		token[i] = c == 'A' ? 'B' : 'A';
		ck_assert_msg(check(token) == AUTH_BAD, "%zu", i);
		token[i] = 0;
		ck_assert_msg(check(token) == AUTH_BAD, "%zu", i);
		token[i] = c;
	}
	snprintf(text, sizeof(text), "%s=", token);
	ck_assert_int_eq(check(text), AUTH_BAD);
	snprintf(text, sizeof(text), "%s.", token);
	ck_assert_int_eq(check(text), AUTH_BAD);
	snprintf(text, sizeof(text), " %s", token);
	ck_assert_int_eq(check(text), AUTH_BAD);
	snprintf(text, sizeof(text), "%s.e30.e30", token);
	ck_assert_int_eq(check(text), AUTH_BAD);
	*strrchr(token, '.') = 0; /* no signature at all, and an empty one */
	ck_assert_int_eq(check(token), AUTH_BAD);
	snprintf(text, sizeof(text), "%s.", token);
	ck_assert_int_eq(check(text), AUTH_BAD);
	ck_assert_int_eq(check(".."), AUTH_BAD);
	ck_assert_int_eq(check("e30.e30.e30"), AUTH_BAD);
	free(token);
	done();
}
END_TEST

START_TEST(no_longer_than_the_bound)
{
	size_t fits = 0;

	setup();
	/* Letters of a claim that nobody reads, until it is too long; the sub has a bound of its
	 * own. */
	for (size_t n = 2000; n < 4000; n++) {
		char more[4100], *token;
		enum auth_result result;

		snprintf(more, sizeof(more), ",\"x\":\"%0*d\"", (int)n, 0);
		token = minter_token(&minters[SIGN_HS256], HS, with(more));
		result = check(token);
		ck_assert_msg(result == (strlen(token) <= TOKEN_MAX ? AUTH_OK : AUTH_BAD), "%zu",
			      strlen(token));
		fits += result == AUTH_OK;
		free(token);
	}
	ck_assert_uint_gt(fits, 100);
	ck_assert_uint_lt(fits, 1999);
	for (size_t n = SUB_MAX; n <= SUB_MAX + 1; n++) {
		snprintf(claims, sizeof(claims),
			 "{\"tenant\":\"acme\",\"exp\":1700000060,\"sub\":\"%0*d\"}", (int)n, 0);
		ck_assert_int_eq(says(SIGN_HS256, HS, claims), n == SUB_MAX ? AUTH_OK : AUTH_BAD);
	}
	done();
}
END_TEST

START_TEST(states)
{
	char *token;

	setup();
	token = minter_token(&minters[SIGN_HS256], HS, with(""));
	ck_assert_int_eq(check_at(token, NOW + 59999999), AUTH_OK);
	ck_assert_int_eq(check_at(token, NOW + 60000000), AUTH_BAD);
	ck_assert_int_eq(
	    says(SIGN_HS256, HS, "{\"tenant\":\"idle\",\"sub\":\"u1\",\"exp\":1700000060}"),
	    AUTH_SUSPENDED);
	ck_assert_int_eq(auth_recheck(catalog, "acme", "jwt:k-hs:u1", NOW), AUTH_OK);
	ck_assert_int_eq(auth_recheck(catalog, "idle", "jwt:k-hs:u1", NOW), AUTH_SUSPENDED);
	ck_assert_int_eq(auth_recheck(catalog, "other", "jwt:k-hs:u1", NOW), AUTH_BAD);
	put_signing("acme", "k-hs", &minters[SIGN_HS256], "revoked");
	ck_assert_int_eq(check(token), AUTH_BAD);
	ck_assert_int_eq(auth_recheck(catalog, "acme", "jwt:k-hs:u1", NOW), AUTH_BAD);
	put("signing.acme.k-rs", NULL);
	ck_assert_int_eq(says(SIGN_RS256, "{\"alg\":\"RS256\",\"kid\":\"k-rs\"}", with("")),
			 AUTH_BAD);
	/* A key that expires takes its tokens with it. */
	put("signing.acme.k-x",
	    json_pack("{s:s, s:s, s:s, s:s, s:s}", "tenant", "acme", "id", "k-x", "alg", "HS256",
		      "secret", minters[SIGN_HS256].secret, "expires_at", "2023-11-14T22:13:21Z"));
	ck_assert_int_eq(says(SIGN_HS256, "{\"alg\":\"HS256\",\"kid\":\"k-x\"}", with("")),
			 AUTH_OK);
	ck_assert_int_eq(who.expires_us, NOW + 1000000);
	free(token);
	done();
}
END_TEST

/* A socket that comes back brings what its token allowed, and no more than that. */
START_TEST(resumed)
{
	struct resume_claim claim = {.until_us = NOW + 1000000};
	struct auth_identity back = {.scopes = 0};

	setup();
	ck_assert_int_eq(says(SIGN_HS256, HS,
			      with(",\"channels\":{\"subscribe\":[\"room.*\",\"b\"]},"
				   "\"pipelines\":[\"p\"]")),
			 AUTH_OK);
	strcpy(claim.tenant, who.tenant);
	strcpy(claim.principal, who.id);
	ck_assert(permit_text(who.permit, claim.rights, sizeof(claim.rights)));
	ck_assert_str_eq(claim.rights, "{\"channels\":{\"subscribe\":[\"room.*\",\"b\"],"
				       "\"publish\":[]},\"pipelines\":[\"p\"]}");
	ck_assert_int_eq(auth_resume(catalog, &claim, NULL, NOW, &back), AUTH_OK);
	ck_assert_str_eq(back.id, who.id);
	ck_assert_uint_eq(back.scopes, SCOPE_SUBSCRIBE | SCOPE_TASK);
	ck_assert_int_eq(back.expires_us, NOW + 1000000);
	ck_assert(permit_same(back.permit, who.permit));
	auth_identity_done(&back);
	ck_assert_int_eq(auth_resume(catalog, &claim, NULL, NOW + 1000000, &back), AUTH_BAD);
	put("tenant.acme", json_pack("{s:s, s:[s]}", "id", "acme", "origins", "https://a.test"));
	ck_assert_int_eq(auth_resume(catalog, &claim, "https://b.test", NOW, &back), AUTH_ORIGIN);
	put_signing("acme", "k-hs", &minters[SIGN_HS256], "revoked");
	ck_assert_int_eq(auth_resume(catalog, &claim, NULL, NOW, &back), AUTH_BAD);
	*claim.rights = 0;
	ck_assert_int_eq(auth_resume(catalog, &claim, NULL, NOW, &back), AUTH_BAD);
	ck_assert(!permit_text(who.permit, claim.rights, 20) && !*claim.rights);
	done();
}
END_TEST

START_TEST(origins)
{
	json_t *list = json_pack("[s, s, s]", "https://app.example.com", "http://localhost:3000",
				 "https://*.acme.test");
	static const struct {
		const char *origin;
		bool allowed;
	} t[] = {
	    {NULL, true},
	    {"https://app.example.com", true},
	    {"HTTPS://App.Example.com", true},
	    {"http://app.example.com", false},
	    {"https://app.example.com:444", false},
	    {"https://app.example.com.evil.test", false},
	    {"https://evil.test/https://app.example.com", false},
	    {"http://localhost:3000", true},
	    {"http://localhost", false},
	    {"https://a.acme.test", true},
	    {"https://a.b.acme.test", true},
	    {"https://acme.test", false},
	    {"https://.acme.test", false},
	    {"https://evilacme.test", false},
	    {"http://a.acme.test", false},
	    {"null", false},
	    {"", false},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++)
		ck_assert_msg(auth_origin_allowed(list, t[i].origin) == t[i].allowed, "%s",
			      t[i].origin);
	ck_assert(auth_origin_allowed(NULL, "https://any.test"));
	json_array_clear(list);
	ck_assert(!auth_origin_allowed(list, "https://any.test") &&
		  auth_origin_allowed(list, NULL));
	json_decref(list);
}
END_TEST

START_TEST(the_tenants_origins)
{
	char *token;

	setup();
	put("tenant.acme", json_pack("{s:s, s:[s]}", "id", "acme", "origins", "https://a.test"));
	token = minter_token(&minters[SIGN_HS256], HS, with(""));
	ck_assert_int_eq(auth_check(catalog, token, "https://a.test", NOW, &who), AUTH_OK);
	auth_identity_done(&who);
	ck_assert_int_eq(auth_check(catalog, token, "https://b.test", NOW, &who), AUTH_ORIGIN);
	ck_assert_int_eq(auth_check(catalog, token, NULL, NOW, &who), AUTH_OK);
	/* Nothing is said of origins to who has no token. */
	ck_assert_int_eq(auth_check(catalog, "a.b.c", "https://b.test", NOW, &who), AUTH_BAD);
	free(token);
	done();
}
END_TEST

RUN_TESTS("edge: JSON Web Tokens", each_algorithm, rights, claims_that_are_refused,
	  claims_that_are_fine, headers_that_are_refused, no_other_algorithm_for_a_key,
	  texts_that_are_refused, no_longer_than_the_bound, states, resumed, origins,
	  the_tenants_origins)
