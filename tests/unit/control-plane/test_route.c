/* Paths, page tokens, preconditions, secrets. */
#include <string.h>

#include "common/ids.h"
#include "services/control-plane/auth.h"
#include "services/control-plane/route.h"
#include "tests/unit/control-plane/suite.h"

START_TEST(test_match)
{
	static const struct {
		const char *pattern, *path;
		int ids; /* -1: no match */
		const char *first;
	} cases[] = {
	    {"/v1/tenants", "/v1/tenants", 0, ""},
	    {"/v1/tenants", "/v1/tenants/", -1, ""},
	    {"/v1/tenants", "/v1/tenant", -1, ""},
	    {"/v1/tenants", "/v1", -1, ""},
	    {"/v1/tenants", "", -1, ""},
	    {"/v1/tenants/{}", "/v1/tenants/acme", 1, "acme"},
	    {"/v1/tenants/{}", "/v1/tenants/", -1, ""},
	    {"/v1/tenants/{}", "/v1/tenants/a/b", -1, ""},
	    {"/v1/tenants/{}", "/v1/tenants//", -1, ""},
	    {"/v1/tenants/{}:suspend", "/v1/tenants/acme:suspend", 1, "acme"},
	    {"/v1/tenants/{}:suspend", "/v1/tenants/:suspend", -1, ""},
	    {"/v1/tenants/{}:suspend", "/v1/tenants/acme:resume", -1, ""},
	    {"/v1/tenants/{}/schemas/{}/versions/{}", "/v1/tenants/a/schemas/b.c:d/versions/1", 3,
	     "a"},
	};
	struct route_ids ids;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		bool match = route_match(cases[i].pattern, cases[i].path, &ids);
		ck_assert_msg(match == (cases[i].ids >= 0), "%s", cases[i].path);
		if (!match)
			continue;
		ck_assert_int_eq((int)ids.n, cases[i].ids);
		if (ids.n)
			ck_assert_str_eq(ids.id[0], cases[i].first);
	}
}
END_TEST

START_TEST(test_long_id)
{
	char path[ROUTE_ID_MAX + 20] = "/v1/models/";
	struct route_ids ids;
	memset(path + 11, 'x', ROUTE_ID_MAX);
	path[11 + ROUTE_ID_MAX] = '\0';
	ck_assert(route_match("/v1/models/{}", path, &ids));
	ck_assert_int_eq((int)strlen(ids.id[0]), ROUTE_ID_MAX);
	strcat(path, "x");
	ck_assert(!route_match("/v1/models/{}", path, &ids));
}
END_TEST

START_TEST(test_page_token)
{
	char token[PAGE_TOKEN_MAX], last[ROUTE_ID_MAX + 1], text[ROUTE_ID_MAX + 1];
	struct error err = {0};
	/* Each length: the last group of base64 has one, two or three bytes. */
	for (size_t n = 1; n <= ROUTE_ID_MAX; n++) {
		memset(text, 'a' + (int)(n % 26), n);
		text[n] = '\0';
		page_token_make("tenants", text, token);
		ck_assert_int_eq((int)strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrst"
						    "uvwxyz0123456789-_"),
				 (int)strlen(token));
		ck_assert_int_eq(page_token_read(token, "tenants", last, &err), 0);
		ck_assert_str_eq(last, text);
	}
}
END_TEST

START_TEST(test_page_token_bad)
{
	char token[PAGE_TOKEN_MAX], last[ROUTE_ID_MAX + 1], longest[1000];
	struct error err = {0};
	page_token_make("keys", "k", token);
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	const char *bad[] = {token, "x", "!!!!", "dGVuYW50cw", "dGVuYW50cwo", "AAAA", longest};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		ck_assert_msg(page_token_read(bad[i], "tenants", last, &err) == -1, "%s", bad[i]);
		ck_assert_int_eq(err.code, ERR_REJECTED);
	}
}
END_TEST

START_TEST(test_precondition)
{
	static const struct {
		const char *match, *none, *etag;
		enum precondition result;
	} cases[] = {
	    {NULL, NULL, NULL, PRE_OK},
	    {"*", NULL, NULL, PRE_STALE},
	    {"\"a\"", NULL, NULL, PRE_STALE},
	    {NULL, "*", NULL, PRE_OK},
	    {NULL, NULL, "\"a\"", PRE_MISSING},
	    {"\"a\"", NULL, "\"a\"", PRE_OK},
	    {"\"b\", \"a\"", NULL, "\"a\"", PRE_OK},
	    {"\"b\",\"a\"", NULL, "\"a\"", PRE_OK},
	    {"\"b\"", NULL, "\"a\"", PRE_STALE},
	    {"W/\"a\"", NULL, "\"a\"", PRE_STALE},
	    {"", NULL, "\"a\"", PRE_STALE},
	    {"*", NULL, "\"a\"", PRE_OK},
	    {NULL, "*", "\"a\"", PRE_STALE},
	    {"\"a\"", "*", "\"a\"", PRE_STALE},
	    {"\"a\"", "\"b\"", "\"a\"", PRE_OK},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		ck_assert_msg(precondition(cases[i].match, cases[i].none, cases[i].etag) ==
				  cases[i].result,
			      "case %zu", i);
}
END_TEST

START_TEST(test_secret)
{
	struct auth_secret a, b, c;
	char token[128], hash[65];
	auth_secret_new(&a);
	auth_secret_new(&b);
	ck_assert_str_ne(a.id, b.id);
	ck_assert_str_ne(a.secret, b.secret);
	sha256_hex(a.secret, strlen(a.secret), hash);
	ck_assert_str_eq(a.hash, hash);
	snprintf(token, sizeof(token), "op_%s_%s", a.id, a.secret);
	ck_assert(auth_secret_parse(token, "op", &c));
	ck_assert_str_eq(c.id, a.id);
	ck_assert_str_eq(c.hash, a.hash);
	ck_assert(!auth_secret_parse(token, "pk", &c));
	token[strlen(token) - 1] = '\0';
	ck_assert(!auth_secret_parse(token, "op", &c));
	ck_assert(!auth_secret_parse("op_", "op", &c));
	ck_assert(!auth_secret_parse("", "op", &c));
}
END_TEST

START_TEST(test_roles)
{
	for (int i = ROLE_VIEWER; i <= ROLE_ADMIN; i++)
		ck_assert_int_eq(auth_role_parse(auth_role_name((enum api_role)i)), i);
	ck_assert_int_eq(auth_role_parse("none"), ROLE_NONE);
	ck_assert_int_eq(auth_role_parse("root"), ROLE_NONE);
	ck_assert_int_eq(auth_role_parse(NULL), ROLE_NONE);
}
END_TEST

RUN_TESTS("route", test_match, test_long_id, test_page_token, test_page_token_bad,
	  test_precondition, test_secret, test_roles)
