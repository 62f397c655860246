/* Tokens against a catalog: who is let in, and who may stay when the configuration changes. */
#include <stdio.h>

#include "common/ids.h"
#include "services/edge/auth.h"
#include "services/edge/resume.h"
#include "tests/unit/common/suite.h"

#define NOW 1700000000000000

static struct catalog *catalog;
static struct auth_identity who;

static void put(const char *key, const char *doc)
{
	struct error err = {0};

	ck_assert_msg(catalog_put(catalog, key, doc, doc ? strlen(doc) : 0, &err) == 0, "%s: %s",
		      key, err.msg);
}

static void put_key(const char *id, const char *tenant, const char *secret, const char *more)
{
	char hash[65], doc[512], name[80];

	sha256_hex(secret, strlen(secret), hash);
	snprintf(name, sizeof(name), "key.%s", id);
	snprintf(doc, sizeof(doc), "{\"id\":\"%s\",\"tenant\":\"%s\",\"hash\":\"%s\"%s}", id,
		 tenant, hash, more);
	put(name, doc);
}

static void setup(void)
{
	catalog = catalog_new();
	put("tenant.acme", "{\"id\":\"acme\"}");
	put("tenant.idle", "{\"id\":\"idle\",\"status\":\"suspended\"}");
	put_key("k1", "acme", "s3cret", ",\"scopes\":[\"publish\",\"task\"]");
}

static enum auth_result check(const char *token)
{
	memset(&who, 0, sizeof(who));
	return auth_check(catalog, token, NULL, NOW, &who);
}

static void done(void)
{
	catalog_stop(catalog);
	catalog = NULL;
}

START_TEST(a_key_is_let_in)
{
	setup();
	ck_assert_int_eq(check("pk_k1_s3cret"), AUTH_OK);
	ck_assert_str_eq(who.tenant, "acme");
	ck_assert_str_eq(who.id, "k1");
	ck_assert_uint_eq(who.scopes, SCOPE_PUBLISH | SCOPE_TASK);
	ck_assert_int_eq(who.expires_us, 0);
	done();
}
END_TEST

START_TEST(others_are_not)
{
	static const char *const bad[] = {
	    "",
	    "p",
	    "pk_",
	    "pk_k1",
	    "pk_k1_",
	    "pk__",
	    "pk_k1_s3cre",
	    "pk_k1_s3crett",
	    "pk_k2_s3cret",
	    "PK_k1_s3cret",
	    "k1_s3cret",
	    " pk_k1_s3cret",
	    "pk_k1_s3cret ",
	    "pk_k1_S3CRET",
	    "pk___________",
	};
	char longer[5000];

	setup();
	ck_assert_int_eq(check(NULL), AUTH_BAD);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(check(bad[i]) == AUTH_BAD, "%s", bad[i]);
	memset(longer, '_', sizeof(longer));
	memcpy(longer, "pk_", 3);
	longer[sizeof(longer) - 1] = 0;
	ck_assert_int_eq(check(longer), AUTH_BAD);
	done();
}
END_TEST

/* An empty secret's hash is no way in. */
START_TEST(an_empty_secret_is_none)
{
	setup();
	put_key("k2", "acme", "", "");
	ck_assert_int_eq(check("pk_k2_"), AUTH_BAD);
	done();
}
END_TEST

START_TEST(underscores_in_ids_and_secrets)
{
	setup();
	put_key("a_b", "acme", "c_d", "");
	put_key("a", "acme", "other", "");
	ck_assert_int_eq(check("pk_k1_s3cret"), AUTH_OK);
	put_key("x_y", "acme", "z_", "");
	ck_assert_int_eq(check("pk_x_y_z_"), AUTH_OK);
	ck_assert_str_eq(who.id, "x_y");
	done();
}
END_TEST

/* One key's id may be the beginning of another's: each of them is let in by its own secret. */
START_TEST(ids_that_begin_alike)
{
	setup();
	put_key("a", "acme", "one", "");
	put_key("a_b", "acme", "two", "");
	ck_assert_int_eq(check("pk_a_one"), AUTH_OK);
	ck_assert_str_eq(who.id, "a");
	ck_assert_int_eq(check("pk_a_b_two"), AUTH_OK);
	ck_assert_str_eq(who.id, "a_b");
	ck_assert_int_eq(check("pk_a_two"), AUTH_BAD);
	ck_assert_int_eq(check("pk_a_b_one"), AUTH_BAD);
	done();
}
END_TEST

START_TEST(states)
{
	setup();
	put_key("k2", "acme", "s", ",\"status\":\"revoked\"");
	ck_assert_int_eq(check("pk_k2_s"), AUTH_BAD);
	put_key("k3", "idle", "s", "");
	ck_assert_int_eq(check("pk_k3_s"), AUTH_SUSPENDED);
	ck_assert_int_eq(check("pk_k3_wrong"), AUTH_BAD); /* tells nothing to who has no secret */
	put_key("k4", "nobody", "s", "");
	ck_assert_int_eq(check("pk_k4_s"), AUTH_BAD);
	/* 1700000000 is 22:13:20 */
	put_key("k5", "acme", "s", ",\"expires_at\":\"2023-11-14T22:13:20Z\"");
	ck_assert_int_eq(check("pk_k5_s"), AUTH_BAD);
	put_key("k5", "acme", "s", ",\"expires_at\":\"2023-11-14T22:13:21Z\"");
	ck_assert_int_eq(check("pk_k5_s"), AUTH_OK);
	ck_assert_int_eq(who.expires_us, NOW + 1000000);
	done();
}
END_TEST

START_TEST(asked_again)
{
	setup();
	ck_assert_int_eq(auth_recheck(catalog, "acme", "k1", NOW), AUTH_OK);
	ck_assert_int_eq(auth_recheck(catalog, "idle", "k1", NOW), AUTH_BAD);
	put("tenant.acme", "{\"id\":\"acme\",\"status\":\"suspended\"}");
	ck_assert_int_eq(auth_recheck(catalog, "acme", "k1", NOW), AUTH_SUSPENDED);
	put("key.k1", NULL);
	ck_assert_int_eq(auth_recheck(catalog, "acme", "k1", NOW), AUTH_BAD);
	ck_assert_int_eq(check("pk_k1_s3cret"), AUTH_BAD);
	done();
}
END_TEST

START_TEST(without_a_configuration)
{
	ck_assert_int_eq(auth_check(NULL, "pk_k1_s3cret", NULL, NOW, &who), AUTH_NOT_READY);
}
END_TEST

static enum auth_result resume(const struct catalog *c, const char *tenant, const char *id)
{
	struct resume_claim claim = {.expires_ms = 0};

	snprintf(claim.tenant, sizeof(claim.tenant), "%s", tenant);
	snprintf(claim.principal, sizeof(claim.principal), "%s", id);
	return auth_resume(c, &claim, NULL, NOW, &who);
}

/* Who comes back has shown who he is, but must still be somebody. */
START_TEST(resumed)
{
	setup();
	memset(&who, 0, sizeof(who));
	ck_assert_int_eq(resume(catalog, "acme", "k1"), AUTH_OK);
	ck_assert_str_eq(who.tenant, "acme");
	ck_assert_str_eq(who.id, "k1");
	ck_assert_uint_eq(who.scopes, SCOPE_PUBLISH | SCOPE_TASK);
	ck_assert_int_eq(resume(catalog, "idle", "k1"), AUTH_BAD);
	ck_assert_int_eq(resume(catalog, "acme", "nobody"), AUTH_BAD);
	put_key("k2", "idle", "s3cret", "");
	ck_assert_int_eq(resume(catalog, "idle", "k2"), AUTH_SUSPENDED);
	put_key("k1", "acme", "s3cret", ",\"status\":\"revoked\"");
	ck_assert_int_eq(resume(catalog, "acme", "k1"), AUTH_BAD);
	put("key.k1", NULL);
	ck_assert_int_eq(resume(catalog, "acme", "k1"), AUTH_BAD);
	ck_assert_int_eq(resume(NULL, "acme", "k1"), AUTH_NOT_READY);
	done();
}
END_TEST

RUN_TESTS("edge: who is it", a_key_is_let_in, others_are_not, an_empty_secret_is_none,
	  underscores_in_ids_and_secrets, ids_that_begin_alike, states, asked_again,
	  without_a_configuration, resumed)
