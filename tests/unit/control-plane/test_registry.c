/* Good and bad documents, in tables; the bucket's documents; merge, ETag, times. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/catalog.h"
#include "common/json.h"
#include "common/strbuf.h"
#include "services/control-plane/registry.h"
#include "tests/unit/control-plane/suite.h"

#define NOW    1795492800000000LL /* 2026-11-24T04:00:00Z */
#define SECRET "0123456789abcdef0123456789ABCDEF"
/* Of RFC 7515, A.3 */
#define PEM                                                                                        \
	"-----BEGIN PUBLIC KEY-----\\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1"  \
	"gHMzV7\\n6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\\n-----END PUBLIC " \
	"KEY-----\\n"

static json_t *tenant(const json_t *in, struct error *err)
{
	return registry_tenant(in, NULL, err);
}

static json_t *key(const json_t *in, struct error *err)
{
	return registry_key(in, "k1", "acme", NOW, err);
}

static json_t *signing(const json_t *in, struct error *err)
{
	return registry_signing(in, "fresh", "acme", NOW, err);
}

static json_t *hook_out(const json_t *in, struct error *err)
{
	return registry_hook_out(in, "h1", "acme", NOW, err);
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
    {tenant,
     "{'id':'a','origins':['https://app.example.com','http://localhost:3000',"
     "'https://*.example.com','capacitor://localhost','http://[::1]:80']}",
     "{'id':'a','name':'a','region':'local','class':'standard','status':'active','weight':1,"
     "'labels':{},'origins':['https://app.example.com','http://localhost:3000',"
     "'https://*.example.com','capacitor://localhost','http://[::1]:80']}"},
    {key, "{'scopes':['publish'],'channels':{'publish':['room.*']},'pipelines':[]}",
     "{'id':'k1','tenant':'acme','scopes':['publish'],'channels':{'publish':['room.*']},"
     "'pipelines':[],'status':'active','created_at':'2026-11-24T04:00:00.000000Z'}"},
    {signing, "{'alg':'HS256','secret':'" SECRET "','name':'n'}",
     "{'id':'fresh','tenant':'acme','name':'n','alg':'HS256','status':'active',"
     "'created_at':'2026-11-24T04:00:00.000000Z'}"},
    {signing,
     "{'alg':'ES256','id':'k-1','public_key':'" PEM "','expires_at':'2026-11-24T05:00:00Z'}",
     "{'id':'k-1','tenant':'acme','alg':'ES256','public_key':'" PEM
     "','expires_at':'2026-11-24T05:00:00.000000Z','status':'active',"
     "'created_at':'2026-11-24T04:00:00.000000Z'}"},
    {hook_out, "{'direction':'out','url':'https://x.example/h','channels':['room.*']}",
     "{'id':'h1','tenant':'acme','direction':'out','url':'https://x.example/h',"
     "'channels':['room.*'],'concurrent':8,'timeout_ms':15000,'disable_after_s':86400,"
     "'retry':{'max_attempts':20,'initial_ms':5000,'max_ms':3600000},'allow_private':false,"
     "'created_at':'2026-11-24T04:00:00.000000Z'}"},
    {hook_out,
     "{'direction':'out','url':'http://[::1]:80/h','channels':['a','*'],'types':['t'],"
     "'allow_private':true,'retry':{'max_attempts':1},'name':'n','concurrent':1}",
     "{'id':'h1','tenant':'acme','direction':'out','name':'n','url':'http://[::1]:80/h',"
     "'channels':['a','*'],'types':['t'],'concurrent':1,'timeout_ms':15000,"
     "'disable_after_s':86400,"
     "'retry':{'max_attempts':1,'initial_ms':5000,'max_ms':3600000},'allow_private':true,"
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
    {model,
     "{'name':'m','kind':'http','url':'https://x','limits':{'rpm':50,'concurrent':4},"
     "'safe_capacity':{'concurrent':0,'rpm':50}}",
     "{'name':'m','kind':'http','url':'https://x','limits':{'rpm':50,'tpm':0,'concurrent':4},"
     "'safe_capacity':{'rpm':50,'concurrent':0},'timeout_ms':60000,"
     "'first_token_timeout_ms':30000,'fallbacks':[]}"},
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

#define HOOK  "'direction':'out','url':'http://x.example/'"
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
    {tenant, "{'id':'a','origins':'*'}", "origins", ERR_REJECTED},
    {tenant, "{'id':'a','origins':['*']}", "origins[0]", ERR_REJECTED},
    {tenant, "{'id':'a','origins':['https://a','b.test']}", "origins[1]", ERR_REJECTED},
    {tenant, "{'id':'a','origins':['https://a/']}", "origins[0]", ERR_REJECTED},
    {tenant, "{'id':'a','origins':['https://']}", "origins[0]", ERR_REJECTED},
    {tenant, "{'id':'a','origins':['https://a:']}", "origins[0]", ERR_REJECTED},
    {tenant, "{'id':'a','origins':['https://a:8x']}", "origins[0]", ERR_REJECTED},
    {tenant, "{'id':'a','origins':['https://a.*.b']}", "origins[0]", ERR_REJECTED},
    {tenant, "{'id':'a','origins':['https://u@a']}", "origins[0]", ERR_REJECTED},
    {tenant, "{'id':'a','origins':['http://[::1']}", "origins[0]", ERR_REJECTED},
    {key, "{'channels':['*']}", "channels", ERR_REJECTED},
    {key, "{'channels':{'publish':['a b']}}", "channels.publish[0]", ERR_REJECTED},
    {key, "{'channels':{'write':['a']}}", "channels", ERR_REJECTED},
    {key, "{'pipelines':'*'}", "pipelines", ERR_REJECTED},
    {signing, "{}", "alg", ERR_REJECTED},
    {signing, "{'alg':'none'}", "alg", ERR_REJECTED},
    {signing, "{'alg':'HS512'}", "alg", ERR_REJECTED},
    {signing, "{'alg':'HS256','secret':'too short'}", "secret", ERR_REJECTED},
    {signing, "{'alg':'HS256','secret':7}", "secret", ERR_REJECTED},
    {signing, "{'alg':'HS256','public_key':'" PEM "'}", "public_key", ERR_REJECTED},
    {signing, "{'alg':'RS256'}", "public_key", ERR_REJECTED},
    {signing, "{'alg':'RS256','public_key':'" PEM "'}", "public_key", ERR_REJECTED},
    {signing, "{'alg':'ES256','public_key':'" PEM "','secret':'" SECRET "'}", "secret",
     ERR_REJECTED},
    {signing, "{'alg':'ES256','public_key':'x'}", "public_key", ERR_REJECTED},
    {signing, "{'alg':'HS256','id':'a.b'}", "id", ERR_REJECTED},
    {signing, "{'alg':'HS256','id':''}", "id", ERR_REJECTED},
    {signing, "{'alg':'HS256','status':'active'}", "status", ERR_REJECTED},
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
    {hook_out, "{" HOOK ",'channels':[]}", "channels", ERR_REJECTED},
    {hook_out, "{" HOOK ",'channels':['a**']}", "channels", ERR_REJECTED},
    {hook_out, "{" HOOK ",'channels':['a'],'retry':{'max_attempts':0}}", "max_attempts",
     ERR_REJECTED},
    {hook_out, "{" HOOK ",'channels':['a'],'secret':'whsec_AAAA'}", "secret", ERR_REJECTED},
    {hook_out, "{" HOOK ",'channels':['a'],'pipeline':'p'}", "pipeline", ERR_REJECTED},
    {hook_out, "{'direction':'out','url':'http://127.1/','channels':['a']}", "allow_private",
     ERR_REJECTED},
    {hook_out, "{'direction':'out','url':'http://[fd00::1]/','channels':['a']}", "allow_private",
     ERR_REJECTED},
    {model, "{'name':'m','kind':'http','url':'http://u:p@x'}", "secret_env", ERR_REJECTED},
    {model, "{'name':'m','kind':'http','url':'http://x y'}", "url", ERR_REJECTED},
    {model, "{" MODEL ",'secret_env':'sk-123'}", "secret_env", ERR_REJECTED},
    {model, "{" MODEL ",'secret_env':'9A'}", "secret_env", ERR_REJECTED},
    {model, "{" MODEL ",'limits':7}", "limits", ERR_REJECTED},
    {model, "{" MODEL ",'limits':{'rpm':-1}}", "rpm", ERR_REJECTED},
    {model, "{" MODEL ",'limits':{'rps':1}}", "rps", ERR_REJECTED},
    {model, "{" MODEL ",'safe_capacity':7}", "safe_capacity", ERR_REJECTED},
    {model, "{" MODEL ",'safe_capacity':{'rpm':1}}", "rpm", ERR_REJECTED}, /* of no limit */
    {model, "{" MODEL ",'limits':{'rpm':9},'safe_capacity':{'rpm':10}}", "rpm", ERR_REJECTED},
    {model, "{" MODEL ",'limits':{'rpm':9},'safe_capacity':{'rps':1}}", "rps", ERR_REJECTED},
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
    {pipeline, "{'stages':[{'id':'a','kind':'transform','when':'.input |'}]}", "stage a: when",
     ERR_REJECTED},
    {pipeline, "{'stages':[{'id':'a','kind':'transform','when':true}]}", "when", ERR_REJECTED},
    {pipeline, "{'stages':[{'id':'a','kind':'transform','max_output_bytes':0}]}",
     "max_output_bytes", ERR_REJECTED},
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
		if (goods[i].fn == key || goods[i].fn == signing || goods[i].fn == operator)
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

	json_t *s = made(signing, "{'alg':'ES256','id':'k2','public_key':'" PEM "'}");
	registry_key_signing("acme", "k2", name);
	expect_catalog(c, name, registry_catalog_signing(s, NULL));
	ck_assert_int_eq(catalog_signing(c, "acme", "k2")->alg, SIGN_ES256);
	ck_assert_int_eq(verifier_check(catalog_signing(c, "acme", "k2")->verifier, NULL), 0);
	revoked = registry_key_revoked(s, NOW);
	expect_catalog(c, name, registry_catalog_signing(revoked, NULL));
	ck_assert(!catalog_signing(c, "acme", "k2")->active);
	json_decref(revoked);
	json_decref(s);
	s = made(signing, "{'alg':'HS256'}");
	registry_key_signing("acme", "fresh", name);
	expect_catalog(c, name, registry_catalog_signing(s, SECRET));
	ck_assert(catalog_signing(c, "acme", "fresh")->active);
	json_decref(s);

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
	ck_assert(registry_key_known("edge.e-1"));
	ck_assert(registry_key_known("worker.w-1"));
	ck_assert(registry_key_known("signing.acme.k1"));
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

/* fn on old ("" for none) with this request gives want. */
static void edge_step(json_t *(*fn)(const json_t *old, const char *id, const json_t *in,
				    struct error *err),
		      const char *old, const char *in, const char *want)
{
	struct error err = {0};
	json_t *before = *old ? from_text(old) : NULL, *ask = *in ? from_text(in) : NULL;
	json_t *after = fn(before, "e", ask, &err);
	ck_assert_msg(after != NULL, "%s: %s", in, err.msg);
	ck_assert_str_eq(text_of(after), want);
	if (before)
		ck_assert_str_eq(text_of(before), old); /* what is published is not touched */
	json_decref(before);
	json_decref(ask);
	json_decref(after);
}

START_TEST(test_edge)
{
	static const char *const bad[] = {"{'tenant':'a b'}",
					  "{'tenant':7}",
					  "{'deadline_ms':-1}",
					  "{'spread_ms':1.5}",
					  "{'deadline_ms':86400001}",
					  "{'why':'x'}",
					  "[]"};
	const char *plain = "{'id':'e','drained':false,'tenants':{}}";
	const char *one = "{'id':'e','drained':false,'tenants':{'a':{'deadline_ms':5}}}";
	const char *both = "{'id':'e','drained':true,'tenants':{'a':{'deadline_ms':5}},"
			   "'deadline_ms':7,'spread_ms':0}";
	edge_step(registry_edge_drain, "", "{'tenant':'a','deadline_ms':5}", one);
	edge_step(registry_edge_drain, one, "{'deadline_ms':7,'spread_ms':0}", both);
	edge_step(registry_edge_drain, both, "",
		  "{'id':'e','drained':true,'tenants':{'a':{'deadline_ms':5}}}");
	edge_step(registry_edge_drain, one, "{'tenant':'a'}",
		  "{'id':'e','drained':false,'tenants':{'a':{}}}");
	edge_step(registry_edge_undrain, both, "", one);
	edge_step(registry_edge_undrain, both, "{'tenant':'a'}",
		  "{'id':'e','drained':true,'tenants':{},'deadline_ms':7,'spread_ms':0}");
	edge_step(registry_edge_undrain, one, "{'tenant':'a'}", plain);
	edge_step(registry_edge_undrain, "", "{'tenant':'b'}", plain);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct error err = {0};
		json_t *in = from_text(bad[i]);
		ck_assert_msg(!registry_edge_drain(NULL, "e", in, &err), "%s was taken", bad[i]);
		ck_assert_int_eq(err.code, ERR_REJECTED);
		json_decref(in);
	}
	json_t *doc = from_text(plain);
	ck_assert(registry_edge_plain(doc));
	json_decref(doc);
	doc = from_text(one);
	ck_assert(!registry_edge_plain(doc));
	json_decref(doc);
}
END_TEST

/* For PostgreSQL, which the integration tests ask. */
START_TEST(test_pattern_regex)
{
	static const char *const rows[][2] = {
	    {"[]", "^(?:.*)$"},
	    {"['room.*']", "^(?:room[.].*)$"},
	    {"['room.*.chat','room*','*','a-b_c:d']",
	     "^(?:room[.][^.]*[.]chat|room.*|.*|a-b_c:d)$"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		json_t *list = from_text(rows[i][0]);
		struct strbuf text = {0};
		registry_pattern_regex(list, &text);
		ck_assert_str_eq(strbuf_str(&text), rows[i][1]);
		strbuf_done(&text);
		json_decref(list);
	}
}
END_TEST

RUN_TESTS("registry", test_pattern_regex, test_edge, test_good, test_bad, test_again,
	  test_identity_of_the_path, test_deep_program, test_catalog, test_latest_version,
	  test_known_keys, test_merge, test_etag)
