/* Good and bad documents, in tables; the bucket's documents; merge, ETag, times. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/catalog.h"
#include "common/json.h"
#include "common/strbuf.h"
#include "services/control-plane/registry.h"
#include "tests/unit/control-plane/suite.h"

#define NOW 1795492800000000LL /* 2026-11-24T04:00:00Z */

static json_t *tenant(const json_t *in, struct error *err)
{
	return registry_tenant(in, NULL, err);
}

static json_t *key(const json_t *in, struct error *err)
{
	return registry_key(in, "k1", "acme", NOW, err);
}

static json_t *first_version(const json_t *in, struct error *err)
{
	return registry_version(in, "acme", "chat.message", 1, NULL, err);
}

static json_t *next_version(const json_t *in, struct error *err)
{
	return registry_version(in, "acme", "chat.message", 2, "durable", err);
}

static json_t *model(const json_t *in, struct error *err)
{
	return registry_model(in, NULL, err);
}

static json_t *pipeline(const json_t *in, struct error *err)
{
	return registry_pipeline(in, "demo", 3, err);
}

static json_t *operator(const json_t *in, struct error *err)
{
	return registry_operator(in, "o1", NOW, err);
}

struct good {
	json_t *(*fn)(const json_t *in, struct error *err);
	const char *in, *out;
};

static const struct good goods[] = {
    {tenant, "{'id':'acme'}",
     "{'id':'acme','name':'acme','region':'local','class':'standard','status':'active','weight':1,"
     "'labels':{}}"},
    {tenant,
     "{'labels':{'a':'b'},'weight':7,'status':'suspended','class':'synthetic','region':'eu-1',"
     "'name':'Acme & Söhne','id':'a_-9'}",
     "{'id':'a_-9','name':'Acme & Söhne','region':'eu-1','class':'synthetic','status':'suspended',"
     "'weight':7,'labels':{'a':'b'}}"},
    {registry_limits, "{}",
     "{'events_per_s':1000,'burst':2000,'bytes_per_s':4194304,'connections':10000,"
     "'subscriptions':100000,'tasks_running':1000,'tasks_queued':100000,'tokens_per_min':0,"
     "'mode':'enforce'}"},
    {registry_limits, "{'mode':'shadow','burst':1,'connections':0}",
     "{'events_per_s':1000,'burst':1,'bytes_per_s':4194304,'connections':0,"
     "'subscriptions':100000,'tasks_running':1000,'tasks_queued':100000,'tokens_per_min':0,"
     "'mode':'shadow'}"},
    {key, "{}",
     "{'id':'k1','tenant':'acme','scopes':['publish','subscribe','task'],'status':'active',"
     "'created_at':'2026-11-24T04:00:00.000000Z'}"},
    {key, "{'scopes':['task','publish'],'name':'ci','expires_at':'2026-11-24T05:00:00.5+00:30'}",
     "{'id':'k1','tenant':'acme','name':'ci','scopes':['publish','task'],"
     "'expires_at':'2026-11-24T04:30:00.500000Z','status':'active',"
     "'created_at':'2026-11-24T04:00:00.000000Z'}"},
    {first_version, "{'class':'durable'}",
     "{'tenant':'acme','type':'chat.message','version':1,'class':'durable','schema':true,"
     "'state':'active'}"},
    {first_version, "{'class':'ephemeral','schema':{'type':'object'},'state':'deprecated'}",
     "{'tenant':'acme','type':'chat.message','version':1,'class':'ephemeral',"
     "'schema':{'type':'object'},'state':'deprecated'}"},
    {next_version, "{'tenant':'acme','type':'chat.message','version':2,'schema':false}",
     "{'tenant':'acme','type':'chat.message','version':2,'class':'durable','schema':false,"
     "'state':'active'}"},
    {model, "{'name':'m','kind':'openai','url':'http://127.0.0.1:9/v1'}",
     "{'name':'m','kind':'openai','url':'http://127.0.0.1:9/v1','model':'m',"
     "'limits':{'rpm':0,'tpm':0,'concurrent':0},'timeout_ms':60000,"
     "'first_token_timeout_ms':30000,'fallbacks':[]}"},
    {model,
     "{'name':'m','kind':'http','url':'https://x','limits':{'rpm':5},'timeout_ms':100,"
     "'secret_env':'API_KEY2','fallbacks':['b','a']}",
     "{'name':'m','kind':'http','url':'https://x','secret_env':'API_KEY2',"
     "'limits':{'rpm':5,'tpm':0,'concurrent':0},'timeout_ms':100,'first_token_timeout_ms':100,"
     "'fallbacks':['b','a']}"},
    {pipeline, "{'stages':[{'id':'a','kind':'transform','input':'.input'}]}",
     "{'name':'demo','version':3,'stages':[{'id':'a','kind':'transform','input':'.input'}],"
     "'triggers':[]}"},
    {pipeline,
     "{'output':'.stages.a','version':3,'name':'demo','triggers':[{'event':'x'}],"
     "'stages':[{'id':'a','kind':'chat','model':'m'}]}",
     "{'name':'demo','version':3,'stages':[{'id':'a','kind':'chat','model':'m'}],"
     "'output':'.stages.a','triggers':[{'event':'x'}]}"},
    {operator, "{'role':'viewer'}",
     "{'id':'o1','name':'o1','role':'viewer','created_at':'2026-11-24T04:00:00.000000Z'}"},
};

START_TEST(test_good)
{
	for (size_t i = 0; i < sizeof(goods) / sizeof(*goods); i++) {
		struct error err = {0};
		json_t *in = from_text(goods[i].in), *out = goods[i].fn(in, &err);
		ck_assert_msg(out != NULL, "%s: %s", goods[i].in, err.msg);
		ck_assert_str_eq(text_of(out), goods[i].out);
		json_decref(in);
		json_decref(out);
	}
}
END_TEST

struct bad {
	json_t *(*fn)(const json_t *in, struct error *err);
	const char *in;
	const char *member; /* what the message must name */
	enum err_code code;
};

#define MODEL "'name':'m','kind':'http','url':'http://x'"

static const struct bad bads[] = {
    {tenant, "[]", "object", ERR_REJECTED},
    {tenant, "{}", "id", ERR_REJECTED},
    {tenant, "{'id':''}", "id", ERR_REJECTED},
    {tenant, "{'id':7}", "id", ERR_REJECTED},
    {tenant, "{'id':'a.b'}", "id", ERR_REJECTED},
    {tenant, "{'id':'a b'}", "id", ERR_REJECTED},
    {tenant, "{'id':'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'}", "id",
     ERR_REJECTED},
    {tenant, "{'id':'a','nmae':'b'}", "nmae", ERR_REJECTED},
    {tenant, "{'id':'a','name':null}", "name", ERR_REJECTED},
    {tenant, "{'id':'a','region':'e u'}", "region", ERR_REJECTED},
    {tenant, "{'id':'a','class':'gold'}", "class", ERR_REJECTED},
    {tenant, "{'id':'a','status':'gone'}", "status", ERR_REJECTED},
    {tenant, "{'id':'a','weight':0}", "weight", ERR_REJECTED},
    {tenant, "{'id':'a','weight':1.5}", "weight", ERR_REJECTED},
    {tenant, "{'id':'a','labels':[]}", "labels", ERR_REJECTED},
    {tenant, "{'id':'a','labels':{'x':1}}", "labels.x", ERR_REJECTED},
    {registry_limits, "{'events_per_s':0}", "events_per_s", ERR_REJECTED},
    {registry_limits, "{'burst':'2'}", "burst", ERR_REJECTED},
    {registry_limits, "{'tasks_queued':-1}", "tasks_queued", ERR_REJECTED},
    {registry_limits, "{'mode':'off'}", "mode", ERR_REJECTED},
    {registry_limits, "{'evnts':1}", "evnts", ERR_REJECTED},
    {key, "{'scopes':[]}", "scopes", ERR_REJECTED},
    {key, "{'scopes':['publish','publish']}", "scopes", ERR_REJECTED},
    {key, "{'scopes':['admin']}", "scopes", ERR_REJECTED},
    {key, "{'scopes':'publish'}", "scopes", ERR_REJECTED},
    {key, "{'expires_at':'tomorrow'}", "expires_at", ERR_REJECTED},
    {key, "{'expires_at':'2026-11-24T03:59:59Z'}", "expires_at", ERR_REJECTED},
    {key, "{'hash':'00'}", "hash", ERR_REJECTED},
    {first_version, "{}", "class", ERR_REJECTED},
    {first_version, "{'class':'stream'}", "class", ERR_REJECTED},
    {first_version, "{'class':'best'}", "class", ERR_REJECTED},
    {first_version, "{'class':'durable','schema':[]}", "schema", ERR_REJECTED},
    {first_version, "{'class':'durable','schema':null}", "schema", ERR_REJECTED},
    {first_version, "{'class':'durable','state':'old'}", "state", ERR_REJECTED},
    {first_version, "{'class':'durable','version':2}", "version", ERR_REJECTED},
    {first_version, "{'class':'durable','type':'x'}", "type", ERR_REJECTED},
    {next_version, "{'class':'ephemeral'}", "class", ERR_CONFLICT},
    {next_version, "{'class':'stream'}", "class", ERR_REJECTED},
    {model, "{'kind':'http','url':'http://x'}", "name", ERR_REJECTED},
    {model, "{'name':'m','url':'http://x'}", "kind", ERR_REJECTED},
    {model, "{'name':'m','kind':'grpc','url':'http://x'}", "kind", ERR_REJECTED},
    {model, "{'name':'m','kind':'http'}", "url", ERR_REJECTED},
    {model, "{'name':'m','kind':'http','url':'ftp://x'}", "url", ERR_REJECTED},
    {model, "{'name':'m','kind':'http','url':'http://'}", "url", ERR_REJECTED},
    {model, "{'name':'m','kind':'http','url':'http:///v1'}", "url", ERR_REJECTED},
    {model, "{'name':'m','kind':'http','url':'http://u:p@x'}", "secret_env", ERR_REJECTED},
    {model, "{'name':'m','kind':'http','url':'http://x y'}", "url", ERR_REJECTED},
    {model, "{" MODEL ",'secret_env':'sk-123'}", "secret_env", ERR_REJECTED},
    {model, "{" MODEL ",'secret_env':'9A'}", "secret_env", ERR_REJECTED},
    {model, "{" MODEL ",'limits':7}", "limits", ERR_REJECTED},
    {model, "{" MODEL ",'limits':{'rpm':-1}}", "rpm", ERR_REJECTED},
    {model, "{" MODEL ",'limits':{'rps':1}}", "rps", ERR_REJECTED},
    {model, "{" MODEL ",'timeout_ms':0}", "timeout_ms", ERR_REJECTED},
    {model, "{" MODEL ",'timeout_ms':10,'first_token_timeout_ms':11}", "first_token_timeout_ms",
     ERR_REJECTED},
    {model, "{" MODEL ",'fallbacks':['m']}", "fallbacks[0]", ERR_REJECTED},
    {model, "{" MODEL ",'fallbacks':['a','a']}", "fallbacks[1]", ERR_REJECTED},
    {model, "{" MODEL ",'fallbacks':[1]}", "fallbacks[0]", ERR_REJECTED},
    {pipeline, "{}", "stages", ERR_REJECTED},
    {pipeline, "[]", "object", ERR_REJECTED},
    {pipeline, "{'stages':[{'id':'a','kind':'chat'}]}", "model", ERR_REJECTED},
    {pipeline, "{'stages':[{'id':'a','kind':'wait','needs':['b']}]}", "\"b\"", ERR_REJECTED},
    {pipeline, "{'stages':[{'id':'a','kind':'transform','input':'.['}]}", "stage a: input",
     ERR_REJECTED},
    {pipeline, "{'stages':[{'id':'a','kind':'transform','input':'nothere(1)'}]}", "nothere",
     ERR_REJECTED},
    {pipeline, "{'stages':[{'id':'a','kind':'transform','input':'import \\'x\\' as x; .'}]}",
     "stage a: input", ERR_REJECTED},
    {pipeline, "{'stages':[{'id':'a','kind':'transform'}],'output':'if'}", "output", ERR_REJECTED},
    {pipeline, "{'stages':[{'id':'a','kind':'transform'}],'triggers':{}}", "triggers",
     ERR_REJECTED},
    {pipeline, "{'stages':[{'id':'a','kind':'transform'}],'version':2}", "version", ERR_REJECTED},
    {pipeline, "{'stages':[{'id':'a','kind':'transform'}],'stage':2}", "stage", ERR_REJECTED},
    {operator, "{}", "role", ERR_REJECTED},
    {operator, "{'role':'root'}", "role", ERR_REJECTED},
};

START_TEST(test_bad)
{
	for (size_t i = 0; i < sizeof(bads) / sizeof(*bads); i++) {
		struct error err = {0};
		json_t *in = from_text(bads[i].in), *out = bads[i].fn(in, &err);
		ck_assert_msg(out == NULL, "%s was taken", bads[i].in);
		ck_assert_msg(err.code == bads[i].code, "%s: %s", bads[i].in, err.msg);
		ck_assert_msg(strstr(err.msg, bads[i].member) != NULL, "%s: %s", bads[i].in,
			      err.msg);
		json_decref(in);
	}
}
END_TEST

/* What was read can be written back. */
START_TEST(test_again)
{
	for (size_t i = 0; i < sizeof(goods) / sizeof(*goods); i++) {
		struct error err = {0};
		if (goods[i].fn == key || goods[i].fn == operator)
			continue; /* are made once */
		json_t *in = from_text(goods[i].out), *out = goods[i].fn(in, &err);
		ck_assert_msg(out != NULL, "%s: %s", goods[i].out, err.msg);
		ck_assert_str_eq(text_of(out), goods[i].out);
		json_decref(in);
		json_decref(out);
	}
}
END_TEST

START_TEST(test_identity_of_the_path)
{
	struct error err = {0};
	json_t *in = from_text("{'id':'other'}");
	ck_assert_ptr_null(registry_tenant(in, "acme", &err));
	ck_assert_ptr_nonnull(strstr(err.msg, "acme"));
	json_decref(in);
	in = from_text("{" MODEL "}");
	ck_assert_ptr_null(registry_model(in, "n", &err));
	json_decref(in);
	in = from_text("{'class':'durable'}");
	ck_assert_ptr_null(registry_version(in, "acme", "task.done", 1, NULL, &err));
	ck_assert_ptr_null(registry_version(in, "acme", "a..b", 1, NULL, &err));
	json_decref(in);
}
END_TEST

/* A hostile program must not take the parser's stack. */
START_TEST(test_deep_program)
{
	char program[40001];
	memset(program, '[', sizeof(program) - 1);
	program[sizeof(program) - 1] = '\0';
	json_t *in =
	    json_pack("{s[{ssssss}]}", "stages", "id", "a", "kind", "transform", "input", program);
	struct error err = {0};
	ck_assert_ptr_null(registry_pipeline(in, "demo", 1, &err));
	ck_assert_int_eq(err.code, ERR_REJECTED);
	json_decref(in);
}
END_TEST

static void expect_catalog(struct catalog *c, const char *key_text, json_t *doc)
{
	struct error err = {0};
	size_t len;
	char *text = json_text(doc, &len);
	ck_assert_msg(catalog_put(c, key_text, text, len, &err) == 0, "%s: %s", text, err.msg);
	free(text);
	json_decref(doc);
}

static json_t *made(json_t *(*fn)(const json_t *, struct error *), const char *text)
{
	json_t *in = from_text(text), *out = fn(in, NULL);
	json_decref(in);
	ck_assert_ptr_nonnull(out);
	return out;
}

/* The services' own reader takes what is published. */
START_TEST(test_catalog)
{
	char name[REGISTRY_KEY_MAX], hash[65];
	struct catalog *c = catalog_new();
	memset(hash, 'a', 64);
	hash[64] = '\0';

	json_t *t = made(tenant, "{'id':'acme','status':'suspended','weight':3}");
	json_t *l = made(registry_limits, "{'burst':7}");
	registry_key_tenant("acme", name);
	expect_catalog(c, name, registry_catalog_tenant(t, l));
	ck_assert(!catalog_tenant(c, "acme")->active);
	ck_assert_int_eq(catalog_tenant(c, "acme")->weight, 3);
	ck_assert_int_eq(catalog_tenant(c, "acme")->limits.burst, 7);
	json_decref(t);
	json_decref(l);

	json_t *k = made(key, "{'scopes':['task'],'expires_at':'2027-01-01T00:00:00Z'}");
	registry_key_key("k1", name);
	expect_catalog(c, name, registry_catalog_key(k, hash));
	ck_assert_uint_eq(catalog_key(c, "k1")->scopes, SCOPE_TASK);
	ck_assert(catalog_key(c, "k1")->active);
	ck_assert_int_eq(catalog_key(c, "k1")->expires_us, 1798761600000000LL);
	json_t *revoked = registry_key_revoked(k, NOW);
	expect_catalog(c, name, registry_catalog_key(revoked, hash));
	ck_assert(!catalog_key(c, "k1")->active);
	json_decref(revoked);
	json_decref(k);

	registry_key_model("m", name);
	expect_catalog(c, name, made(model, "{" MODEL ",'limits':{'rpm':9}}"));
	ck_assert_int_eq(catalog_model(c, "m")->rpm, 9);
	registry_key_pipeline("demo", 3, name);
	expect_catalog(c, name, made(pipeline, "{'stages':[{'id':'a','kind':'transform'}]}"));
	ck_assert_uint_eq(catalog_pipeline(c, "demo", 0)->version, 3);
	catalog_stop(c);
}
END_TEST

static unsigned latest(const char *versions)
{
	char name[REGISTRY_KEY_MAX];
	struct catalog *c = catalog_new();
	json_t *list = from_text(versions);
	registry_key_type("acme", "chat.message", name);
	expect_catalog(c, name, registry_catalog_type("acme", "chat.message", "durable", list));
	unsigned n = catalog_type(c, "acme", "chat.message")->latest;
	json_decref(list);
	catalog_stop(c);
	return n;
}

START_TEST(test_latest_version)
{
	ck_assert_uint_eq(latest("[{'version':1,'state':'active','schema':true}]"), 1);
	ck_assert_uint_eq(latest("[{'version':2,'state':'active','schema':true},"
				 "{'version':10,'state':'active','schema':true}]"),
			  10);
	ck_assert_uint_eq(latest("[{'version':1,'state':'active','schema':true},"
				 "{'version':2,'state':'deprecated','schema':true}]"),
			  1);
	ck_assert_uint_eq(latest("[{'version':1,'state':'disabled','schema':true},"
				 "{'version':2,'state':'deprecated','schema':true}]"),
			  2);
	ck_assert_uint_eq(latest("[{'version':1,'state':'disabled','schema':true}]"), 0);
	json_t *none = json_array();
	ck_assert_ptr_null(registry_catalog_type("a", "b", "durable", none));
	json_decref(none);
}
END_TEST

START_TEST(test_known_keys)
{
	ck_assert(registry_key_known("tenant.acme"));
	ck_assert(registry_key_known("pipeline.p.1"));
	ck_assert(!registry_key_known("flag.x"));
	ck_assert(!registry_key_known("tenants"));
}
END_TEST

/* The examples of RFC 7396, appendix A. */
START_TEST(test_merge)
{
	static const char *const cases[][3] = {
	    {"{'a':'b'}", "{'a':'c'}", "{'a':'c'}"},
	    {"{'a':'b'}", "{'b':'c'}", "{'a':'b','b':'c'}"},
	    {"{'a':'b'}", "{'a':null}", "{}"},
	    {"{'a':'b','b':'c'}", "{'a':null}", "{'b':'c'}"},
	    {"{'a':['b']}", "{'a':'c'}", "{'a':'c'}"},
	    {"{'a':'c'}", "{'a':['b']}", "{'a':['b']}"},
	    {"{'a':{'b':'c'}}", "{'a':{'b':'d','c':null}}", "{'a':{'b':'d'}}"},
	    {"{'a':[{'b':'c'}]}", "{'a':[1]}", "{'a':[1]}"},
	    {"['a','b']", "['c','d']", "['c','d']"},
	    {"{'a':'b'}", "['c']", "['c']"},
	    {"{'a':'foo'}", "null", "null"},
	    {"{'a':'foo'}", "'bar'", "'bar'"},
	    {"{'e':null}", "{'a':1}", "{'e':null,'a':1}"},
	    {"[1,2]", "{'a':'b','c':null}", "{'a':'b'}"},
	    {"{}", "{'a':{'bb':{'ccc':null}}}", "{'a':{'bb':{}}}"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		json_t *target = from_text(cases[i][0]), *patch = from_text(cases[i][1]);
		json_t *out = registry_merge(target, patch);
		ck_assert_str_eq(text_of(out), cases[i][2]);
		ck_assert_str_eq(text_of(target), cases[i][0]); /* untouched */
		json_decref(target);
		json_decref(patch);
		json_decref(out);
	}
}
END_TEST

START_TEST(test_etag)
{
	char a[ETAG_LEN + 1], b[ETAG_LEN + 1];
	json_t *x = from_text("{'id':'a'}"), *y = from_text("{'id':'b'}");
	registry_etag(x, a);
	registry_etag(y, b);
	ck_assert_str_ne(a, b);
	ck_assert_int_eq((int)strlen(a), ETAG_LEN);
	ck_assert(a[0] == '"' && a[ETAG_LEN - 1] == '"');
	registry_etag(x, b);
	ck_assert_str_eq(a, b);
	json_decref(x);
	json_decref(y);
}
END_TEST

START_TEST(test_time)
{
	static const struct {
		const char *text;
		int64_t us;
	} good[] = {
	    {"1970-01-01T00:00:00Z", 0},
	    {"1970-01-01T00:00:00.000001Z", 1},
	    {"2000-02-29T12:00:00Z", 951825600000000LL},
	    {"2026-11-24T04:00:00+00:00", NOW},
	    {"2026-11-24t05:30:00.123456789+01:30", NOW + 123456},
	    {"2026-11-23T20:00:00-08:00", NOW},
	    {"1969-12-31T23:59:59Z", -1000000},
	};
	static const char *const bad[] = {"",
					  "2026-11-24",
					  "2026-11-24T04:00:00",
					  "2026-13-01T00:00:00Z",
					  "2026-02-29T00:00:00Z",
					  "2026-11-24T24:00:00Z",
					  "2026-11-24T04:00:00.Z",
					  "2026-11-24T04:00:00Zx",
					  "2026-11-24T04:00:00+1:00",
					  "26-11-24T04:00:00Z"};
	int64_t us;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		ck_assert_msg(registry_time(good[i].text, &us), "%s", good[i].text);
		ck_assert_int_eq(us, good[i].us);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(!registry_time(bad[i], &us), "%s", bad[i]);
}
END_TEST

RUN_TESTS("registry", test_good, test_bad, test_again, test_identity_of_the_path, test_deep_program,
	  test_catalog, test_latest_version, test_known_keys, test_merge, test_etag, test_time)
