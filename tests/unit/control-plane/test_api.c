/* The handlers on a real PostgreSQL, without HTTP and without a bus: nothing is published, and says
 * so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/pg.h"
#include "services/control-plane/api.h"
#include "services/control-plane/db.h"
#include "services/control-plane/snapshot.h"
#include "tests/unit/control-plane/suite.h"

#define ADMIN_KEY "an-admin-key-of-the-tests"

static struct api api;
static struct api_reply reply; /* of the last ask() */
static json_t *doc;            /* its body */

static struct {
	const char *token, *if_match, *none_match, *type, *reason, *trace;
} with; /* headers of the next ask(); then forgotten */

static void begin(void)
{
	api = (struct api){.admin_key = ADMIN_KEY, .pool = db_pool_new(suite_dsn, 2)};
	db_pool_open(api.pool);
}

static void end(void)
{
	api_reply_done(&reply);
	json_decref(doc);
	doc = NULL;
	db_pool_free(api.pool);
}

static void split_query(struct api_request *req, char *path)
{
	char *at = strchr(path, '?'), *save = NULL;
	if (!at)
		return;
	*at++ = '\0';
	for (char *p = strtok_r(at, "&", &save); p; p = strtok_r(NULL, "&", &save)) {
		char *equal = strchr(p, '=');
		if (equal)
			*equal++ = '\0';
		req->query[req->n_query++] = (struct api_param){p, equal};
	}
}

/* body: JSON with ' for ", NULL for none. The status. */
static int ask(const char *method, const char *path, const char *body)
{
	char auth[300], where[600];
	snprintf(auth, sizeof(auth), "Bearer %s", with.token ? with.token : ADMIN_KEY);
	snprintf(where, sizeof(where), "/v1%s", path);
	char *text = body ? xstrdup(body) : NULL;
	for (char *p = text; p && *p; p++)
		if (*p == '\'')
			*p = '"';
	struct api_request req = {.method = method,
				  .path = where,
				  .authorization = auth,
				  .content_type = with.type ? with.type
						  : body    ? "application/json"
							    : NULL,
				  .if_match = with.if_match,
				  .if_none_match = with.none_match,
				  .reason = with.reason,
				  .traceparent = with.trace,
				  .body = text,
				  .body_len = text ? strlen(text) : 0};
	split_query(&req, where);
	api_reply_done(&reply);
	json_decref(doc);
	reply = (struct api_reply){0};
	api_handle(&api, &req, &reply);
	doc = reply.body.len ? json_parse(reply.body.data, reply.body.len, NULL) : NULL;
	ck_assert_msg(!reply.body.len || doc, "%s", strbuf_str(&reply.body));
	memset(&with, 0, sizeof(with));
	free(text);
	return reply.status;
}

#define ASK(want, method, path, text)                                                              \
	do {                                                                                       \
		int got_ = ask(method, path, text);                                                \
		ck_assert_msg(got_ == (want), "%s %s: %d %s", method, path, got_,                  \
			      strbuf_str(&reply.body));                                            \
	} while (0)

static const char *word(const char *name)
{
	return json_string_value(json_object_get(doc, name));
}

/* The ETag of the last answer, for with.if_match. */
static const char *tag(void)
{
	static char copy[ETAG_LEN + 1];
	strcpy(copy, reply.etag);
	ck_assert(*copy);
	return copy;
}

/* The single value of a query, "" for one without rows; until the next one. */
static const char *value(const char *sql)
{
	static char text[400];
	struct error err = {0};
	PGconn *conn = pg_connect(suite_dsn, "test", &err);
	ck_assert_msg(conn != NULL, "%s", err.msg);
	PGresult *res = pg_query(conn, sql, 0, NULL, &err);
	ck_assert_msg(res != NULL, "%s: %s", sql, err.msg);
	snprintf(text, sizeof(text), "%s", PQntuples(res) ? pg_text(res, 0, 0) : "");
	PQclear(res);
	PQfinish(conn);
	return text;
}

static int64_t count(const char *sql)
{
	return atoll(value(sql));
}

/* What a fresh bucket would get for this key; NULL: nothing. Compact, with ' for ". */
static const char *published(const char *key)
{
	struct error err = {0};
	static char *text;
	PGconn *conn = pg_connect(suite_dsn, "test", &err);
	json_t *all = snapshot_read(conn, &err);
	ck_assert_msg(all != NULL, "%s", err.msg);
	const char *found = json_string_value(json_object_get(all, key));
	free(text);
	text = found ? xstrdup(found) : NULL;
	for (char *p = text; p && *p; p++)
		if (*p == '"')
			*p = '\'';
	json_decref(all);
	PQfinish(conn);
	return text;
}

/* The outbox's last word on a key; "" for a deletion. */
static const char *outbox(const char *key)
{
	struct error err = {0};
	static char text[4000];
	PGconn *conn = pg_connect(suite_dsn, "test", &err);
	PGresult *res = pg_query(
	    conn,
	    "SELECT document FROM control.config_outbox WHERE key = $1 ORDER BY id DESC LIMIT 1", 1,
	    (const char *[]){key}, &err);
	ck_assert_msg(res && PQntuples(res) == 1, "nothing for %s", key);
	snprintf(text, sizeof(text), "%s", pg_text(res, 0, 0) ? pg_text(res, 0, 0) : "");
	for (char *p = text; *p; p++)
		if (*p == '"')
			*p = '\'';
	PQclear(res);
	PQfinish(conn);
	return text;
}

START_TEST(test_tenant)
{
	begin();
	ASK(404, "GET", "/tenants/t1", NULL);
	ASK(201, "POST", "/tenants", "{'id':'t1','name':'One'}");
	ck_assert_str_eq(reply.location, "/v1/tenants/t1");
	ck_assert_int_eq(reply.published, PUBLISHED_NO);
	ck_assert_str_eq(outbox("tenant.t1"), published("tenant.t1"));
	ASK(409, "POST", "/tenants", "{'id':'t1'}");
	ck_assert_str_eq(word("code"), "conflict");
	ASK(200, "GET", "/tenants/t1", NULL);
	const char *old = tag();
	ASK(428, "PUT", "/tenants/t1", "{}");
	with.if_match = "\"no\"";
	ASK(412, "PUT", "/tenants/t1", "{}");
	with.none_match = "*";
	ASK(412, "PUT", "/tenants/t1", "{}");
	with.if_match = old;
	ASK(200, "PUT", "/tenants/t1", "{'name':'Two'}");
	with.if_match = old;
	ASK(412, "DELETE", "/tenants/t1", NULL);
	ASK(201, "PUT", "/tenants/t2", "{}");
	with.if_match = "*";
	ASK(412, "PUT", "/tenants/t3", "{}");
	ASK(200, "POST", "/tenants/t1:suspend", NULL);
	ck_assert_str_eq(word("status"), "suspended");
	ck_assert_ptr_nonnull(strstr(outbox("tenant.t1"), "suspended"));
	with.if_match = old;
	ASK(412, "POST", "/tenants/t1:resume", NULL);
	ASK(200, "POST", "/tenants/t1:resume", "{}");
	with.if_match = tag();
	with.type = "application/merge-patch+json; charset=utf-8";
	ASK(200, "PATCH", "/tenants/t1", "{'name':null,'labels':{'a':'b'}}");
	ck_assert_str_eq(word("name"), "t1");
	ASK(404, "POST", "/tenants/nope:suspend", NULL);
	end();
}
END_TEST

START_TEST(test_tenant_delete)
{
	begin();
	ASK(201, "POST", "/tenants", "{'id':'gone'}");
	ASK(201, "POST", "/tenants/gone/keys", "{}");
	ASK(201, "POST", "/tenants/gone/schemas/a.b/versions", "{'class':'durable'}");
	ck_assert_ptr_nonnull(published("type.gone.a.b"));
	ASK(200, "GET", "/tenants/gone", NULL);
	with.if_match = tag();
	ASK(204, "DELETE", "/tenants/gone", NULL);
	ck_assert_str_eq(outbox("tenant.gone"), "");
	ck_assert_str_eq(outbox("type.gone.a.b"), "");
	ck_assert_ptr_null(published("type.gone.a.b"));
	ck_assert_int_eq(count("SELECT count(*) FROM control.api_keys WHERE tenant = 'gone'"), 0);
	ck_assert_int_eq(count("SELECT count(*) FROM control.config_outbox WHERE key LIKE 'key.%'"
			       " AND document IS NULL"),
			 1);
	ASK(404, "GET", "/tenants/gone/keys", NULL);
	ASK(404, "GET", "/tenants/gone/limits", NULL);
	end();
}
END_TEST

START_TEST(test_limits)
{
	begin();
	ASK(201, "POST", "/tenants", "{'id':'lim'}");
	ASK(200, "GET", "/tenants/lim/limits", NULL);
	ASK(428, "PUT", "/tenants/lim/limits", "{}");
	ASK(200, "GET", "/tenants/lim/limits", NULL);
	with.if_match = tag();
	ASK(200, "PUT", "/tenants/lim/limits", "{'burst':3}");
	with.if_match = tag();
	ASK(200, "PATCH", "/tenants/lim/limits", "{'events_per_s':4}");
	ck_assert_ptr_nonnull(strstr(outbox("tenant.lim"), "'events_per_s':4,'burst':3,"));
	with.if_match = tag();
	ASK(422, "PATCH", "/tenants/lim/limits", "{'burst':0}");
	ck_assert_ptr_nonnull(strstr(word("detail"), "burst"));
	ASK(404, "PUT", "/tenants/nope/limits", "{}");
	/* A change of the tenant keeps them. */
	ASK(200, "POST", "/tenants/lim:suspend", NULL);
	ck_assert_ptr_nonnull(strstr(outbox("tenant.lim"), "'burst':3,"));
	end();
}
END_TEST

START_TEST(test_key)
{
	char id[40], secret[100], path[200], hash[65], key[80];
	begin();
	ASK(201, "POST", "/tenants", "{'id':'kt'}");
	ASK(200, "POST", "/tenants/kt/keys?validate_only=true", "{}");
	ck_assert_ptr_null(word("key"));
	ck_assert_int_eq(count("SELECT count(*) FROM control.api_keys WHERE tenant = 'kt'"), 0);
	ASK(201, "POST", "/tenants/kt/keys", "{'scopes':['publish']}");
	ck_assert_int_eq(sscanf(word("key"), "pk_%39[^_]_%99s", id, secret), 2);
	ck_assert_str_eq(word("id"), id);
	sha256_hex(secret, strlen(secret), hash);
	snprintf(key, sizeof(key), "key.%s", id);
	ck_assert_ptr_nonnull(strstr(outbox(key), hash));
	ck_assert_str_eq(outbox(key), published(key));
	ASK(200, "GET", "/tenants/kt/keys", NULL);
	ck_assert_ptr_null(strstr(reply.body.data, secret));
	ck_assert_ptr_null(strstr(reply.body.data, hash));
	snprintf(path, sizeof(path), "/tenants/kt/keys/%s", id);
	ASK(200, "GET", path, NULL);
	ASK(428, "DELETE", path, NULL);
	ASK(200, "GET", path, NULL);
	with.if_match = tag();
	ASK(204, "DELETE", path, NULL);
	ck_assert_ptr_nonnull(strstr(outbox(key), "'revoked'"));
	ck_assert_ptr_nonnull(strstr(outbox(key), hash));
	snprintf(path, sizeof(path), "/tenants/other/keys/%s", id);
	ASK(404, "GET", path, NULL);
	ASK(404, "DELETE", path, NULL);
	/* Neither the secret nor its hash is anywhere it can be read. */
	snprintf(path, sizeof(path),
		 "SELECT count(*) FROM control.audit a WHERE a::text LIKE '%%%.20s%%'", secret);
	ck_assert_int_eq(count(path), 0);
	snprintf(path, sizeof(path),
		 "SELECT count(*) FROM control.audit a WHERE a::text LIKE '%%%.20s%%'", hash);
	ck_assert_int_eq(count(path), 0);
	end();
}
END_TEST

#define SECRET "0123456789abcdef0123456789ABCDEF"
/* Of RFC 7515, A.3 */
#define PEM                                                                                        \
	"-----BEGIN PUBLIC KEY-----\\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1"  \
	"gHMzV7\\n6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\\n-----END PUBLIC " \
	"KEY-----\\n"

START_TEST(test_signing_key)
{
	begin();
	ASK(201, "POST", "/tenants", "{'id':'st'}");
	ASK(404, "POST", "/tenants/nobody/signing-keys", "{'alg':'HS256'}");
	ASK(422, "POST", "/tenants/st/signing-keys", "{'alg':'none'}");
	ASK(200, "POST", "/tenants/st/signing-keys?validate_only=true", "{'alg':'HS256'}");
	ck_assert_ptr_null(word("secret"));
	ASK(201, "POST", "/tenants/st/signing-keys", "{'alg':'HS256'}"); /* one is made */
	ck_assert_uint_eq(strlen(word("secret")), 43);
	ck_assert_uint_eq(strlen(word("id")), 16);
	ASK(201, "POST", "/tenants/st/signing-keys",
	    "{'alg':'HS256','id':'k1','secret':'" SECRET "','name':'ours'}");
	ck_assert_str_eq(word("secret"), SECRET);
	ck_assert_str_eq(reply.location, "/v1/tenants/st/signing-keys/k1");
	ck_assert_str_eq(
	    outbox("signing.st.k1"),
	    "{'id':'k1','tenant':'st','alg':'HS256','status':'active','secret':'" SECRET "'}");
	ck_assert_str_eq(outbox("signing.st.k1"), published("signing.st.k1"));
	ASK(409, "POST", "/tenants/st/signing-keys", "{'alg':'HS256','id':'k1'}");
	ASK(201, "POST", "/tenants/st/signing-keys",
	    "{'alg':'ES256','id':'k2','public_key':'" PEM "'}");
	ck_assert_ptr_null(word("secret"));
	ck_assert_ptr_nonnull(strstr(outbox("signing.st.k2"), "BEGIN PUBLIC KEY"));
	ck_assert_str_eq(outbox("signing.st.k2"), published("signing.st.k2"));
	ASK(200, "GET", "/tenants/st/signing-keys", NULL);
	ck_assert_ptr_nonnull(strstr(reply.body.data, "\"k2\""));
	ck_assert_ptr_null(strstr(reply.body.data, "secret"));
	ASK(200, "GET", "/tenants/st/signing-keys/k1", NULL);
	ck_assert_ptr_null(word("secret"));
	ASK(428, "DELETE", "/tenants/st/signing-keys/k1", NULL);
	ASK(404, "GET", "/tenants/other/signing-keys/k1", NULL);
	ASK(200, "GET", "/tenants/st/signing-keys/k1", NULL);
	with.if_match = tag();
	ASK(204, "DELETE", "/tenants/st/signing-keys/k1", NULL);
	/* What is revoked verifies nothing any more, and its id is nobody else's. */
	ck_assert_str_eq(outbox("signing.st.k1"),
			 "{'id':'k1','tenant':'st','alg':'HS256','status':'revoked'}");
	ck_assert_str_eq(outbox("signing.st.k1"), published("signing.st.k1"));
	ck_assert_int_eq(
	    count("SELECT count(*) FROM control.signing_keys WHERE secret = '" SECRET "'"), 0);
	ASK(409, "POST", "/tenants/st/signing-keys", "{'alg':'HS256','id':'k1'}");
	ck_assert_int_eq(
	    count("SELECT count(*) FROM control.audit a WHERE a::text LIKE '%" SECRET "%'"), 0);
	ck_assert_int_eq(
	    count("SELECT count(*) FROM control.audit WHERE tenant = 'st' AND action IN"
		  " ('signing-key.create', 'signing-key.revoke')"),
	    4);
	ASK(200, "GET", "/tenants/st", NULL);
	with.if_match = tag();
	ASK(204, "DELETE", "/tenants/st", NULL);
	ck_assert_str_eq(outbox("signing.st.k2"), "");
	ck_assert_ptr_null(published("signing.st.k2"));
	end();
}
END_TEST

START_TEST(test_versions_of_a_type)
{
	begin();
	ASK(404, "POST", "/tenants/ty/schemas/m/versions", "{'class':'durable'}");
	ASK(201, "POST", "/tenants", "{'id':'ty'}");
	ASK(404, "GET", "/tenants/ty/schemas/m/versions", NULL);
	ASK(422, "POST", "/tenants/ty/schemas/m/versions", "{}");
	ASK(201, "POST", "/tenants/ty/schemas/m/versions",
	    "{'class':'durable','schema':{'type':'object'}}");
	ck_assert_str_eq(reply.location, "/v1/tenants/ty/schemas/m/versions/1");
	ASK(409, "POST", "/tenants/ty/schemas/m/versions", "{'class':'ephemeral'}");
	ASK(201, "PUT", "/tenants/ty/schemas/m/versions/5", "{}");
	ASK(200, "PUT", "/tenants/ty/schemas/m/versions/5", "{}"); /* the same again */
	ASK(409, "PUT", "/tenants/ty/schemas/m/versions/5", "{'schema':false}");
	ASK(409, "PUT", "/tenants/ty/schemas/m/versions/4", "{}");
	ASK(428, "PUT", "/tenants/ty/schemas/m/versions/5", "{'state':'disabled'}");
	ASK(404, "PUT", "/tenants/ty/schemas/m/versions/05", "{}");
	ASK(404, "PUT", "/tenants/ty/schemas/m/versions/x", "{}");
	ASK(200, "GET", "/tenants/ty/schemas/m/versions/5", NULL);
	with.if_match = tag();
	ASK(200, "PATCH", "/tenants/ty/schemas/m/versions/5", "{'state':'deprecated'}");
	with.if_match = tag();
	ASK(409, "PATCH", "/tenants/ty/schemas/m/versions/5", "{'schema':{}}");
	ck_assert_str_eq(outbox("type.ty.m"), published("type.ty.m"));
	ck_assert_str_eq(
	    outbox("type.ty.m"),
	    "{'tenant':'ty','type':'m','class':'durable','latest':1,'versions':{'1':{'state':"
	    "'active','schema':{'type':'object'}},'5':{'state':'deprecated','schema':true}}}");
	/* A number that was used stays used, and the class stays too. */
	ASK(200, "GET", "/tenants/ty/schemas/m/versions/5", NULL);
	with.if_match = tag();
	ASK(204, "DELETE", "/tenants/ty/schemas/m/versions/5", NULL);
	ASK(200, "GET", "/tenants/ty/schemas/m/versions/1", NULL);
	with.if_match = tag();
	ASK(204, "DELETE", "/tenants/ty/schemas/m/versions/1", NULL);
	ck_assert_str_eq(outbox("type.ty.m"), "");
	ck_assert_ptr_null(published("type.ty.m"));
	ASK(409, "POST", "/tenants/ty/schemas/m/versions", "{'class':'ephemeral'}");
	ASK(201, "POST", "/tenants/ty/schemas/m/versions", "{}");
	ck_assert_int_eq(json_integer_value(json_object_get(doc, "version")), 6);
	end();
}
END_TEST

START_TEST(test_models_and_pipelines)
{
	static const char stages[] = "{'stages':[{'id':'a','kind':'chat','model':'m1'}]}";
	begin();
	ASK(422, "POST", "/pipelines/p/versions", stages);
	ck_assert_ptr_nonnull(strstr(word("detail"), "m1"));
	ASK(422, "PUT", "/models/m2", "{'kind':'http','url':'http://x','fallbacks':['m1']}");
	ASK(201, "POST", "/models", "{'name':'m1','kind':'openai','url':'http://x'}");
	ASK(409, "POST", "/models", "{'name':'m1','kind':'openai','url':'http://x'}");
	ASK(201, "PUT", "/models/m2", "{'kind':'http','url':'http://x','fallbacks':['m1']}");
	ASK(201, "POST", "/pipelines/p/versions", stages);
	ck_assert_str_eq(reply.location, "/v1/pipelines/p/versions/1");
	ASK(200, "PUT", "/pipelines/p/versions/1", stages);
	ASK(409, "PUT", "/pipelines/p/versions/1", "{'stages':[{'id':'b','kind':'transform'}]}");
	ck_assert_str_eq(outbox("pipeline.p.1"), published("pipeline.p.1"));
	ASK(200, "GET", "/models/m1", NULL);
	with.if_match = tag();
	ASK(409, "DELETE", "/models/m1", NULL);
	ASK(200, "GET", "/pipelines/p/versions/1", NULL);
	with.if_match = tag();
	ASK(204, "DELETE", "/pipelines/p/versions/1", NULL);
	ASK(409, "PUT", "/pipelines/p/versions/1", stages);
	ASK(200, "GET", "/models/m1", NULL);
	with.if_match = tag();
	ASK(409, "DELETE", "/models/m1", NULL); /* m2 falls back to it */
	ck_assert_ptr_nonnull(strstr(word("detail"), "m2"));
	ASK(200, "GET", "/models/m2", NULL);
	with.if_match = tag();
	ASK(200, "PATCH", "/models/m2", "{'fallbacks':[]}");
	ASK(200, "GET", "/models/m1", NULL);
	with.if_match = tag();
	ASK(204, "DELETE", "/models/m1", NULL);
	ck_assert_str_eq(outbox("model.m1"), "");
	end();
}
END_TEST

START_TEST(test_validate_only)
{
	begin();
	int64_t audits = count("SELECT count(*) FROM control.audit"),
		rows = count("SELECT count(*) FROM control.config_outbox");
	ASK(200, "POST", "/tenants?validate_only=true", "{'id':'dry'}");
	ck_assert_str_eq(word("id"), "dry");
	ck_assert_int_eq(reply.published, PUBLISHED_NONE);
	ASK(422, "POST", "/tenants?validate_only=1", "{'id':'dry','class':'x'}");
	ASK(400, "POST", "/tenants?validate_only=maybe", "{'id':'dry'}");
	ASK(400, "POST", "/tenants?validate-only=true", "{'id':'dry'}");
	ASK(404, "GET", "/tenants/dry", NULL);
	ck_assert_int_eq(count("SELECT count(*) FROM control.audit"), audits);
	ck_assert_int_eq(count("SELECT count(*) FROM control.config_outbox"), rows);
	end();
}
END_TEST

START_TEST(test_operators)
{
	char viewer[200], oper[200], id[40];
	begin();
	ASK(201, "POST", "/operators", "{'role':'viewer','name':'v'}");
	strcpy(viewer, word("key"));
	ASK(201, "POST", "/operators", "{'role':'operator'}");
	strcpy(oper, word("key"));
	strcpy(id, word("id"));
	const struct {
		const char *token, *method, *path, *body;
		int status;
	} cases[] = {
	    {viewer, "GET", "/tenants", NULL, 200},
	    {viewer, "POST", "/tenants", "{'id':'no'}", 403},
	    {viewer, "GET", "/operators", NULL, 403},
	    {viewer, "GET", "/audit", NULL, 200},
	    {oper, "POST", "/tenants", "{'id':'yes'}", 201},
	    {oper, "GET", "/tenants/yes/keys", NULL, 200},
	    {oper, "POST", "/tenants/yes/keys", "{}", 403},
	    {oper, "POST", "/operators", "{'role':'admin'}", 403},
	    {"op_aaaaaaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "GET", "/tenants",
	     NULL, 401},
	    {ADMIN_KEY "x", "GET", "/tenants", NULL, 401},
	    {"", "GET", "/tenants", NULL, 401},
	    {"nobody", "GET", "/nowhere", NULL, 401},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		with.token = cases[i].token;
		ASK(cases[i].status, cases[i].method, cases[i].path, cases[i].body);
	}
	char path[80];
	snprintf(path, sizeof(path), "/operators/%s", id);
	ASK(200, "GET", path, NULL);
	with.if_match = tag();
	ASK(204, "DELETE", path, NULL);
	with.token = oper;
	ASK(401, "GET", "/tenants", NULL);
	snprintf(path, sizeof(path), "SELECT count(*) FROM control.audit WHERE actor = '%s'", id);
	ck_assert_int_eq(count(path), 1);
	end();
}
END_TEST

START_TEST(test_pages)
{
	char path[1000], body[100], last[100] = "";
	int pages = 0, seen = 0;
	begin();
	for (int i = 0; i < 23; i++) {
		snprintf(body, sizeof(body), "{'name':'page-%02d','kind':'http','url':'http://x'}",
			 i);
		ASK(201, "POST", "/models", body);
	}
	strcpy(path, "/models?page_size=5");
	for (bool more = true; more; pages++) {
		size_t i;
		json_t *item;
		ASK(200, "GET", path, NULL);
		json_array_foreach(json_object_get(doc, "items"), i, item)
		{
			const char *name = json_string_value(json_object_get(item, "name"));
			ck_assert_msg(strcmp(name, last) > 0, "%s after %s", name, last);
			strcpy(last, name);
			seen += !strncmp(name, "page-", 5);
		}
		ck_assert_int_le((int)i, 5);
		more = word("next_page_token") != NULL;
		snprintf(path, sizeof(path), "/models?page_size=5&page_token=%s",
			 more ? word("next_page_token") : "");
	}
	ck_assert_int_eq(seen, 23);
	ck_assert_int_eq(pages, (23 + 4) / 5);
	ASK(400, "GET", "/models?page_size=0", NULL);
	ASK(400, "GET", "/models?page_size=1001", NULL);
	ASK(400, "GET", "/models?page_size=x", NULL);
	ASK(400, "GET", "/models?page_token=abc", NULL);
	ASK(200, "GET", "/audit?page_size=2", NULL);
	json_t *items = json_object_get(doc, "items");
	ck_assert_int_eq((int)json_array_size(items), 2);
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(items, 0), "resource")),
			 "models");
	end();
}
END_TEST

START_TEST(test_audit)
{
	begin();
	with.reason = "because it was asked for";
	with.trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
	ASK(201, "POST", "/tenants", "{'id':'aud'}");
	ck_assert_ptr_nonnull(strstr(reply.trace, "0af7651916cd43dd8448eb211c80319c"));
	ASK(200, "GET", "/audit?page_size=1", NULL);
	json_t *row = json_array_get(json_object_get(doc, "items"), 0);
	json_object_del(row, "id");
	json_object_del(row, "at");
	ck_assert_int_eq(strncmp(json_string_value(json_object_get(row, "trace")),
				 "00-0af7651916cd43dd8448eb211c80319c-", 36),
			 0);
	json_object_del(row, "trace");
	ck_assert_str_eq(
	    text_of(row),
	    "{'actor':'admin','role':'admin','action':'tenant.create','resource':'tenants',"
	    "'tenant':'aud','before':null,'after':{'id':'aud','name':'aud','region':'local',"
	    "'class':'standard','status':'active','weight':1,'labels':{}},"
	    "'reason':'because it was asked for'}");
	end();
}
END_TEST

START_TEST(test_requests)
{
	begin();
	ASK(404, "GET", "/flags", NULL);
	ASK(404, "GET", "/nothing", NULL);
	ASK(405, "DELETE", "/tenants", NULL);
	ck_assert_str_eq(reply.allow, "GET, HEAD, POST");
	ASK(405, "BREW", "/tenants/x", NULL);
	ASK(400, "POST", "/tenants", NULL);
	ASK(400, "POST", "/tenants", "{'id':");
	ASK(400, "POST", "/tenants", "{'id':'a','id':'b'}");
	with.type = "text/plain";
	ASK(415, "POST", "/tenants", "{'id':'a'}");
	with.type = "application/merge-patch+json";
	ASK(415, "POST", "/tenants", "{'id':'a'}");
	ck_assert_str_eq(word("code"), "unsupported_media_type");
	ck_assert(reply.problem);
	ck_assert_int_eq((int)strlen(word("trace_id")), 32);
	/* Without a bus. */
	ASK(503, "GET", "/members", NULL);
	ASK(503, "GET", "/events?tenant=a&channel=b", NULL);
	ck_assert_int_gt(reply.retry_after_s, 0);
	ASK(400, "GET", "/events?channel=b", NULL);
	ASK(400, "GET", "/events?tenant=a&channel=b&after=x", NULL);
	ASK(400, "GET", "/tasks/x", NULL);
	end();
}
END_TEST

/* PostgreSQL away: 503 at once, and the next request works when it is back. */
START_TEST(test_database_away)
{
	struct error err = {0};
	begin();
	struct db_pool *good = api.pool;
	api.pool = db_pool_new("host=/nonexistent dbname=x", 1);
	ASK(503, "GET", "/tenants", NULL); /* the schema is not known to be there */
	db_pool_open(api.pool);
	ASK(503, "GET", "/tenants", NULL);
	ASK(503, "POST", "/tenants", "{'id':'away'}");
	with.token = "op_aaaaaaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
	ASK(503, "GET", "/tenants", NULL);
	db_pool_free(api.pool);
	api.pool = good;
	ASK(200, "GET", "/tenants", NULL);
	/* The server ends the idle connection: the pool notices before it is used. */
	PGconn *conn = pg_connect(suite_dsn, "test", &err);
	ck_assert_int_eq(
	    pg_exec(conn,
		    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE"
		    " application_name = 'penstock-control-plane'"
		    " AND datname = current_database()",
		    &err),
	    0);
	PQfinish(conn);
	ASK(200, "GET", "/tenants", NULL);
	end();
}
END_TEST

/* What does not fit into one message of the bucket is refused, also when it is the sum of versions.
 */
START_TEST(test_large_documents)
{
	begin();
	ASK(201, "POST", "/tenants", "{'id':'big'}");
	struct strbuf body = {0};
	strbuf_adds(&body, "{'class':'durable','schema':{'description':'");
	for (int i = 0; i < 400 * 1024; i++)
		strbuf_addc(&body, 'x');
	strbuf_adds(&body, "'}}");
	ASK(201, "POST", "/tenants/big/schemas/b/versions", body.data);
	ASK(422, "POST", "/tenants/big/schemas/b/versions", body.data);
	ASK(404, "GET", "/tenants/big/schemas/b/versions/2", NULL);
	strbuf_done(&body);
	end();
}
END_TEST

/* Without a bus nobody is known to live, but what is wanted of an edge can still be changed. */
START_TEST(test_edges)
{
	const char *why = "new kernel";
	begin();
	ASK(201, "POST", "/tenants", "{'id':'dr'}");
	with.reason = why;
	ASK(503, "POST", "/edges/e1:drain", NULL);
	ASK(503, "GET", "/edges/e1", NULL);
	ASK(503, "GET", "/edges", NULL);
	count("INSERT INTO control.edges (id, doc) VALUES ('e1',"
	      " '{\"id\":\"e1\",\"drained\":true,\"tenants\":{}}') RETURNING 1");
	ASK(400, "POST", "/edges/e1:undrain", NULL);
	with.reason = " ";
	ASK(400, "POST", "/edges/e1:undrain", NULL);
	with.reason = "\xff";
	ASK(400, "POST", "/edges/e1:undrain", NULL);
	with.reason = why;
	ASK(422, "POST", "/edges/e1:drain", "{'deadline_ms':-5}");
	with.reason = why;
	ASK(404, "POST", "/edges/e1:drain", "{'tenant':'nobody'}");
	with.reason = why;
	ASK(200, "POST", "/edges/e1:drain?validate_only=true", "{'tenant':'dr'}");
	ck_assert_str_eq(published("edge.e1"), "{'id':'e1','drained':true,'tenants':{}}");
	with.reason = why;
	ASK(200, "POST", "/edges/e1:drain", "{'tenant':'dr','deadline_ms':50}");
	ck_assert(json_is_false(json_object_get(doc, "live")));
	ck_assert_str_eq(outbox("edge.e1"), published("edge.e1"));
	ck_assert_str_eq(published("edge.e1"),
			 "{'id':'e1','drained':true,'tenants':{'dr':{'deadline_ms':50}}}");
	ASK(200, "GET", "/audit?page_size=1", NULL);
	json_t *row = json_array_get(json_object_get(doc, "items"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(row, "action")), "edge.drain");
	ck_assert_str_eq(json_string_value(json_object_get(row, "reason")), why);
	ck_assert_str_eq(json_string_value(json_object_get(row, "tenant")), "dr");
	ASK(200, "GET", "/edges/e1", NULL);
	ck_assert(json_is_true(json_object_get(json_object_get(doc, "drain"), "drained")));
	with.reason = why;
	ASK(200, "POST", "/edges/e1:undrain", NULL);
	with.reason = why;
	ASK(200, "POST", "/edges/e1:undrain", "{'tenant':'dr'}");
	ck_assert(json_is_null(json_object_get(doc, "drain")));
	ck_assert_str_eq(outbox("edge.e1"), "");
	ck_assert_ptr_null(published("edge.e1"));
	end();
}
END_TEST

START_TEST(test_workers)
{
	const char *why = "new kernel";
	begin();
	with.reason = why;
	ASK(503, "POST", "/workers/w1:drain", NULL);
	ASK(503, "GET", "/workers/w1", NULL);
	ASK(503, "GET", "/workers", NULL);
	count("INSERT INTO control.workers (id, doc) VALUES ('w1',"
	      " '{\"id\":\"w1\",\"drained\":true}') RETURNING 1");
	ASK(400, "POST", "/workers/w1:undrain", NULL);
	with.reason = why;
	ASK(422, "POST", "/workers/w1:drain", "{'grace_ms':-1}");
	with.reason = why;
	ASK(422, "POST", "/workers/w1:undrain", "{'grace_ms':1}");
	with.reason = why;
	ASK(200, "POST", "/workers/w1:drain", "{'grace_ms':50}");
	ck_assert(json_is_false(json_object_get(doc, "live")));
	ck_assert_str_eq(published("worker.w1"), "{'id':'w1','drained':true,'grace_ms':50}");
	ck_assert_str_eq(outbox("worker.w1"), published("worker.w1"));
	ASK(200, "GET", "/audit?page_size=1", NULL);
	json_t *row = json_array_get(json_object_get(doc, "items"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(row, "action")), "worker.drain");
	ck_assert_str_eq(json_string_value(json_object_get(row, "reason")), why);
	with.reason = why;
	ASK(200, "POST", "/workers/w1:undrain", NULL);
	ck_assert(json_is_null(json_object_get(doc, "drain")));
	ck_assert_str_eq(outbox("worker.w1"), "");
	ck_assert_ptr_null(published("worker.w1"));
	end();
}
END_TEST

/* The items of the last answer, compact, with ' for ". */
static const char *items(void)
{
	static char copy[1024];
	char *text = json_text(json_object_get(doc, "items"), NULL);
	snprintf(copy, sizeof(copy), "%s", text);
	free(text);
	for (char *p = copy; *p; p++)
		if (*p == '"')
			*p = '\'';
	return copy;
}

START_TEST(test_usage)
{
	begin();
	count("WITH x AS (INSERT INTO usage_days SELECT d, t, p, 'm', 2, 1, 100, 10, 110, 0.5 FROM"
	      " unnest(ARRAY['2026-11-01', '2026-11-02']::date[]) d,"
	      " unnest(ARRAY['u1', 'u2']) t, unnest(ARRAY['p', 'q']) p RETURNING 1) SELECT 1");
	count("WITH x AS (INSERT INTO usage_tasks (tenant, task, pipeline, model, calls, failed,"
	      " prompt_tokens, completion_tokens, total_tokens, cost, updated_at) VALUES"
	      " ('u1', 't1', 'p', 'm', 2, 1, 100, 10, 110, 0.5, now()) RETURNING 1) SELECT 1");
	ASK(200, "GET", "/usage", NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(doc, "items")), 8);
	ASK(200, "GET", "/usage?tenant=u1&by=tenant", NULL);
	ck_assert_str_eq(items(), "[{'tenant':'u1','calls':8,'failed':4,'prompt_tokens':400,"
				  "'completion_tokens':40,'total_tokens':440,'cost':2}]");
	ASK(200, "GET", "/usage?pipeline=q&from=2026-11-02&to=2026-11-02&by=day,model", NULL);
	ck_assert_str_eq(items(), "[{'day':'2026-11-02','model':'m','calls':4,'failed':2,"
				  "'prompt_tokens':200,'completion_tokens':20,'total_tokens':220,"
				  "'cost':1}]");
	ASK(200, "GET", "/usage?page_size=5", NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(doc, "items")), 5);
	char next[256];
	snprintf(next, sizeof(next), "/usage?page_size=5&page_token=%s", word("next_page_token"));
	ASK(200, "GET", next, NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(doc, "items")), 3);
	ASK(200, "GET", "/usage?tenant=u1&task=t1", NULL);
	ck_assert_str_eq(items(), "[{'task':'t1','tenant':'u1','pipeline':'p','model':'m',"
				  "'calls':2,'failed':1,'prompt_tokens':100,'completion_tokens':10,"
				  "'total_tokens':110,'cost':0.5}]");
	ASK(200, "GET", "/usage?tenant=u2&task=t1", NULL);
	ck_assert_str_eq(items(), "[]");
	ASK(400, "GET", "/usage?task=t1", NULL);
	ASK(400, "GET", "/usage?by=hour", NULL);
	static const char *const bad[] = {"2026-02-29",  "2026-13-01", "20261101",
					  "2026-11-01x", "2026-1-011", "now"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(next, sizeof(next), "/usage?from=%s", bad[i]);
		ASK(400, "GET", next, NULL);
	}
	ASK(200, "GET", "/usage?from=2024-02-29", NULL);
	ASK(201, "PUT", "/models/priced",
	    "{'kind':'http','url':'http://x','price':{'input':0.25,'output':2}}");
	ASK(422, "PUT", "/models/dear", "{'kind':'http','url':'http://x','price':{'input':-1}}");
	ASK(422, "PUT", "/models/dear", "{'kind':'http','url':'http://x','price':{'input':'1'}}");
	ASK(422, "PUT", "/models/dear", "{'kind':'http','url':'http://x','price':{'inputs':1}}");
	ASK(422, "PUT", "/models/dear", "{'kind':'http','url':'http://x','price':1}");
	end();
}
END_TEST

START_TEST(test_hooks)
{
	begin();
	ASK(404, "POST", "/tenants/hk/hooks", "{'pipeline':'p'}");
	ASK(201, "POST", "/tenants", "{'id':'hk','name':'Hk'}");
	ASK(422, "POST", "/tenants/hk/hooks", "{}");
	ASK(422, "POST", "/tenants/hk/hooks", "{'pipeline':'a b'}");
	ASK(422, "POST", "/tenants/hk/hooks", "{'pipeline':'p','secret':'whsec_short'}");
	ASK(422, "POST", "/tenants/hk/hooks", "{'pipeline':'p','priority':101}");
	ASK(422, "POST", "/tenants/hk/hooks", "{'pipeline':'p','id':'mine'}");
	ASK(200, "POST", "/tenants/hk/hooks?validate_only=true", "{'pipeline':'p'}");
	ck_assert_ptr_null(json_object_get(doc, "secret"));
	ASK(200, "GET", "/tenants/hk/hooks", NULL);
	ck_assert_str_eq(items(), "[]");
	ASK(201, "POST", "/tenants/hk/hooks", "{'pipeline':'p','priority':-1,'name':'CI'}");
	char id[64], secret[128], path[128], key[80], wanted[400];
	snprintf(id, sizeof(id), "%s", word("id"));
	snprintf(secret, sizeof(secret), "%s", word("secret"));
	ck_assert(!strncmp(secret, "whsec_", 6));
	snprintf(path, sizeof(path), "/tenants/hk/hooks/%s", id);
	ck_assert_ptr_nonnull(strstr(reply.location, path));
	snprintf(key, sizeof(key), "hook.%s", id);
	snprintf(wanted, sizeof(wanted),
		 "{'id':'%s','tenant':'hk','pipeline':'p','priority':-1,'secret':'%s'}", id,
		 secret);
	ck_assert_str_eq(published(key), wanted);
	ck_assert_str_eq(outbox(key), published(key));
	/* Never again. */
	ASK(200, "GET", path, NULL);
	ck_assert_ptr_null(json_object_get(doc, "secret"));
	with.if_match = tag();
	ASK(204, "DELETE", path, NULL);
	ck_assert_ptr_null(published(key));
	ck_assert_str_eq(outbox(key), "");
	ASK(404, "GET", path, NULL);
	ASK(404, "DELETE", path, NULL);
	ASK(200, "GET", "/audit?page_size=2", NULL);
	ck_assert_ptr_null(strstr(strbuf_str(&reply.body), secret));
	ck_assert_ptr_nonnull(strstr(strbuf_str(&reply.body), "hook.create"));
	/* A tenant takes its hooks along. */
	ASK(201, "POST", "/tenants/hk/hooks", "{'pipeline':'p'}");
	snprintf(key, sizeof(key), "hook.%s", word("id"));
	ASK(200, "GET", "/tenants/hk", NULL);
	with.if_match = tag();
	ASK(204, "DELETE", "/tenants/hk", NULL);
	ck_assert_str_eq(outbox(key), "");
	end();
}
END_TEST

/* PATCH of what is there now. */
static int patch(const char *path, const char *body)
{
	with.if_match = "*";
	return ask("PATCH", path, body);
}

static int64_t switched(const char *id, bool on)
{
	char sql[256];
	snprintf(sql, sizeof(sql),
		 "SELECT 1 FROM hook_states WHERE hook = '%s' AND enabled = %s AND failures = 0"
		 " AND resume_at IS NULL",
		 id, on ? "true" : "false");
	return count(sql);
}

START_TEST(test_hook_edits)
{
	begin();
	char id[64], path[128], key[80], sql[256];
	ASK(201, "POST", "/tenants", "{'id':'he'}");
	ASK(404, "PATCH", "/tenants/he/hooks/none", "{'name':'x'}");
	ASK(201, "POST", "/tenants/he/hooks",
	    "{'direction':'out','url':'https://example.com/a','channels':['room.*']}");
	snprintf(id, sizeof(id), "%s", word("id"));
	snprintf(path, sizeof(path), "/tenants/he/hooks/%s", id);
	ASK(200, "GET", path, NULL);
	char *read = json_dumps(doc, 0), made[40];
	snprintf(made, sizeof(made), "%s", word("created_at"));
	ASK(428, "PUT", path, read);
	ASK(200, "GET", path, NULL);
	with.if_match = tag();
	/* What was read can be written back, and changes nothing. */
	ck_assert_int_eq(ask("PUT", path, read), 200);
	ck_assert_str_eq(word("created_at"), made);
	free(read);
	ck_assert_int_eq(patch(path, "{'url':'http://10.0.0.1/'}"), 422);
	ck_assert_int_eq(patch(path, "{'direction':'in'}"), 422);
	ck_assert_int_eq(patch(path, "{'secret':'whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz'}"), 422);
	ck_assert_int_eq(patch(path, "{'enabled':'no'}"), 422);
	ck_assert_int_eq(patch(path, "{'id':'other'}"), 422);
	with.if_match = "\"0000000000000000\"";
	ASK(412, "PATCH", path, "{'name':'x'}");
	/* It was given up. Another address is tried at once; that alone does not enable it. */
	snprintf(
	    sql, sizeof(sql),
	    "UPDATE hook_states SET enabled = false, reason = 'gone', failures = 7, resume_at ="
	    " now() + interval '1 h' WHERE hook = '%s' RETURNING 1",
	    id);
	count(sql);
	ck_assert_int_eq(patch(path, "{'name':'b'}"), 200);
	ck_assert_int_eq(json_integer_value(json_object_get(doc, "failures")), 7);
	ck_assert_int_eq(
	    patch(path, "{'url':'https://example.com/b','channels':['chat.1'],'types':['a.*'],"
			"'concurrent':2}"),
	    200);
	ck_assert(json_is_false(json_object_get(doc, "enabled")));
	ck_assert_int_eq(switched(id, false), 1);
	snprintf(sql, sizeof(sql),
		 "SELECT 1 FROM hook_states WHERE hook = '%s' AND channels = '^(?:chat[.]1)$'"
		 " AND types = '^(?:a[.].*)$' AND concurrent = 2",
		 id);
	ck_assert_int_eq(count(sql), 1);
	count("INSERT INTO hook_deliveries (hook, epoch, seq, time, attempts, dead)"
	      " SELECT hook, 1, 1, now(), 20, true FROM hook_states WHERE tenant = 'he'"
	      " RETURNING 1");
	with.if_match = "*";
	snprintf(sql, sizeof(sql), "%s?validate_only=true", path);
	ASK(200, "PATCH", sql, "{'enabled':true}");
	ck_assert(json_is_true(json_object_get(doc, "enabled")));
	ck_assert_int_eq(switched(id, false), 1);
	ck_assert_int_eq(patch(path, "{'enabled':true}"), 200);
	ck_assert_int_eq(switched(id, true), 1);
	ck_assert_str_eq(word("reason"), "");
	ck_assert_int_eq(count("SELECT count(*) FROM hook_deliveries WHERE NOT dead"), 1);
	ck_assert_int_eq(patch(path, "{'enabled':false}"), 200);
	ck_assert_str_eq(word("reason"), "operator");
	ASK(200, "GET", "/audit?page_size=1", NULL);
	ck_assert_ptr_nonnull(strstr(strbuf_str(&reply.body), "hook.update"));
	ck_assert_ptr_nonnull(strstr(strbuf_str(&reply.body), "\"enabled\":false"));
	/* An inbound one: edges learn of it, with the secret that it has. */
	ASK(201, "POST", "/tenants/he/hooks", "{'pipeline':'p'}");
	snprintf(key, sizeof(key), "hook.%s", word("id"));
	snprintf(path, sizeof(path), "/tenants/he/hooks/%s", word("id"));
	snprintf(sql, sizeof(sql),
		 "{'id':'%s','tenant':'he','pipeline':'q','priority':3,'secret':'%s'}", word("id"),
		 word("secret"));
	ck_assert_int_eq(patch(path, "{'enabled':true}"), 422);
	with.if_match = "*";
	ASK(200, "PUT", path, "{'pipeline':'q','priority':3}");
	ck_assert_str_eq(published(key), sql);
	ck_assert_str_eq(outbox(key), sql);
	end();
}
END_TEST

START_TEST(test_schedules)
{
	static const char good[] = "{'cron':'0 9 * * mon-fri','pipeline':'p'}";
	begin();
	ASK(404, "PUT", "/tenants/sc/schedules/s", good);
	ASK(201, "POST", "/tenants", "{'id':'sc'}");
	ASK(422, "PUT", "/tenants/sc/schedules/s", "{'cron':'0 9 * *','pipeline':'p'}");
	ASK(422, "PUT", "/tenants/sc/schedules/s", "{'pipeline':'p'}");
	ASK(422, "PUT", "/tenants/sc/schedules/s", "{'cron':'@daily'}");
	ASK(422, "PUT", "/tenants/sc/schedules/s", "{'cron':'@daily','pipeline':'a b'}");
	ASK(422, "PUT", "/tenants/sc/schedules/s",
	    "{'cron':'@daily','pipeline':'p','zone':'Europe/Atlantis'}");
	ASK(422, "PUT", "/tenants/sc/schedules/s",
	    "{'cron':'@daily','pipeline':'p','missed':'all'}");
	ASK(422, "PUT", "/tenants/sc/schedules/s", "{'cron':'@daily','pipeline':'p','every':1}");
	ASK(422, "PUT", "/tenants/sc/schedules/a%20b", good);
	ASK(200, "PUT", "/tenants/sc/schedules/s?validate_only=true", good);
	ASK(404, "GET", "/tenants/sc/schedules/s", NULL);
	ASK(201, "PUT", "/tenants/sc/schedules/s",
	    "{'cron':'0 0 1 1 *','pipeline':'p','zone':'America/New_York','input':[1]}");
	ck_assert_ptr_nonnull(strstr(reply.location, "/v1/tenants/sc/schedules/s"));
	ck_assert_str_eq(word("missed"), "skip");
	/* Midnight there is five in the morning. */
	const char *next =
	    json_string_value(json_object_get(json_object_get(doc, "status"), "next_at"));
	ck_assert_ptr_nonnull(next);
	ck_assert_str_eq(next + 4, "-01-01T05:00:00Z");
	ASK(428, "PUT", "/tenants/sc/schedules/s", good);
	ASK(200, "GET", "/tenants/sc/schedules/s", NULL);
	char *read = json_dumps(doc, 0);
	with.if_match = tag();
	/* What was read can be written back. */
	ask("PUT", "/tenants/sc/schedules/s", read);
	free(read);
	ck_assert_int_eq(reply.status, 200);
	with.if_match = "*";
	ASK(200, "PUT", "/tenants/sc/schedules/s",
	    "{'cron':'@hourly','pipeline':'p','paused':true}");
	ck_assert(json_is_null(json_object_get(json_object_get(doc, "status"), "next_at")));
	ASK(200, "GET", "/tenants/sc/schedules", NULL);
	ck_assert_ptr_nonnull(strstr(items(), "@hourly"));
	with.if_match = "*";
	ASK(204, "DELETE", "/tenants/sc/schedules/s", NULL);
	ASK(404, "GET", "/tenants/sc/schedules/s", NULL);
	ASK(200, "GET", "/audit?page_size=4", NULL);
	ck_assert_ptr_nonnull(strstr(strbuf_str(&reply.body), "schedule.create"));
	ck_assert_ptr_nonnull(strstr(strbuf_str(&reply.body), "schedule.delete"));
	end();
}
END_TEST

START_TEST(test_triggers)
{
	static const char good[] = "{'type':'chat.message','pipeline':'p'}";
	begin();
	ASK(404, "PUT", "/tenants/tr/triggers/t", good);
	ASK(201, "POST", "/tenants", "{'id':'tr'}");
	ASK(422, "PUT", "/tenants/tr/triggers/t", "{'pipeline':'p'}");
	ASK(422, "PUT", "/tenants/tr/triggers/t", "{'type':'chat.*','pipeline':'p'}");
	ASK(422, "PUT", "/tenants/tr/triggers/t", "{'type':'chat'}");
	ASK(422, "PUT", "/tenants/tr/triggers/t", "{'type':'chat','pipeline':'p','channel':'a b'}");
	ASK(422, "PUT", "/tenants/tr/triggers/t", "{'type':'chat','pipeline':'p','input':{}}");
	ASK(422, "PUT", "/tenants/tr/triggers/t", "{'type':'chat','pipeline':'p','priority':101}");
	ASK(422, "PUT", "/tenants/tr/triggers/a%20b", good);
	ASK(200, "PUT", "/tenants/tr/triggers/t?validate_only=true", good);
	ASK(404, "GET", "/tenants/tr/triggers/t", NULL);
	value("INSERT INTO store_position (epoch, seq) VALUES (6, 9), (7, 5)");
	ASK(201, "PUT", "/tenants/tr/triggers/t",
	    "{'type':'chat.message','pipeline':'p','channel':'room.*.x','priority':-3}");
	ck_assert_ptr_nonnull(strstr(reply.location, "/v1/tenants/tr/triggers/t"));
	json_t *status = json_object_get(doc, "status");
	ck_assert_int_eq(json_integer_value(json_object_get(status, "started")), 0);
	ck_assert_int_eq(json_integer_value(json_object_get(status, "waiting")), 0);
	ck_assert(json_is_null(json_object_get(status, "last")));
	/* From the log's end on, by what the event-store looks for. */
	ck_assert_str_eq(value("SELECT concat_ws(' ', type, channels, paused, from_epoch, from_seq)"
			       " FROM control.triggers"),
			 "chat.message ^(?:room[.][^.]*[.]x)$ f 7 5");
	ASK(428, "PUT", "/tenants/tr/triggers/t", good);
	/* One that is changed goes on where it was; what waits stays. */
	value("UPDATE store_position SET seq = 8 WHERE epoch = 7");
	value("INSERT INTO trigger_events VALUES ('tr', 't', 7, 6, now())");
	ASK(200, "GET", "/tenants/tr/triggers/t", NULL);
	char *read = json_dumps(doc, 0);
	with.if_match = tag();
	ask("PUT", "/tenants/tr/triggers/t", read);
	free(read);
	ck_assert_int_eq(reply.status, 200);
	status = json_object_get(doc, "status");
	ck_assert_int_eq(json_integer_value(json_object_get(status, "waiting")), 1);
	ck_assert_str_eq(value("SELECT from_seq FROM control.triggers"), "5");
	/* Paused, it has nothing that waits, and resumed it begins anew. */
	with.if_match = "*";
	ASK(200, "PUT", "/tenants/tr/triggers/t", "{'type':'chat','pipeline':'p','paused':true}");
	status = json_object_get(doc, "status");
	ck_assert_int_eq(json_integer_value(json_object_get(status, "waiting")), 0);
	with.if_match = "*";
	ASK(200, "PUT", "/tenants/tr/triggers/t", "{'type':'chat','pipeline':'p'}");
	ck_assert_str_eq(value("SELECT concat_ws(' ', type, channels, paused, from_seq)"
			       " FROM control.triggers"),
			 "chat ^(?:.*)$ f 8");
	ASK(200, "GET", "/tenants/tr/triggers", NULL);
	ck_assert_ptr_nonnull(strstr(items(), "'chat'"));
	with.if_match = "*";
	ASK(204, "DELETE", "/tenants/tr/triggers/t", NULL);
	ASK(404, "GET", "/tenants/tr/triggers/t", NULL);
	ASK(200, "GET", "/audit?page_size=4", NULL);
	ck_assert_ptr_nonnull(strstr(strbuf_str(&reply.body), "trigger.update"));
	ck_assert_ptr_nonnull(strstr(strbuf_str(&reply.body), "trigger.delete"));
	end();
}
END_TEST

RUN_DATABASE_TESTS("api", test_triggers, test_schedules, test_hooks, test_hook_edits, test_usage,
		   test_tenant, test_tenant_delete, test_limits, test_key, test_signing_key,
		   test_versions_of_a_type, test_models_and_pipelines, test_validate_only,
		   test_operators, test_pages, test_audit, test_requests, test_database_away,
		   test_large_documents, test_edges, test_workers)
