/* Words of the command line, tables and timelines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/json.h"
#include "tests/unit/common/remove.h"
#include "tests/unit/common/suite.h"
#include "tools/penstock/cli.h"

static json_t *from_text(const char *text)
{
	struct error err = {0};
	char *copy = xstrdup(text);
	for (char *p = copy; *p; p++)
		if (*p == '\'')
			*p = '"';
	json_t *value = json_parse(copy, strlen(copy), &err);
	ck_assert_msg(value != NULL, "%s: %s", text, err.msg);
	free(copy);
	return value;
}

/* Splits at blanks, in place; the number of words. */
static int words(char *line, char **argv)
{
	int n = 0;
	char *save = NULL;
	for (char *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	return n;
}

START_TEST(test_globals)
{
	static const struct {
		const char *line;
		int at; /* -1: wrong */
		bool json;
		const char *key, *control;
	} cases[] = {
	    {"penstock tenant list", 1, false, NULL, NULL},
	    {"penstock -o json tenant list", 3, true, NULL, NULL},
	    {"penstock -o table --key pk_1 publish", 5, false, "pk_1", NULL},
	    {"penstock --key a --key b --control http://x members", 7, false, "b", "http://x"},
	    {"penstock publish c t 1 --key k", 1, false, NULL, NULL},
	    {"penstock -o xml members", -1, false, NULL, NULL},
	    {"penstock --key", -1, false, NULL, NULL},
	    {"penstock --colour yes members", -1, false, NULL, NULL},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char line[200], *argv[20];
		struct cli cli = {0};
		strcpy(line, cases[i].line);
		int argc = words(line, argv);
		ck_assert_msg(cli_globals(&cli, argc, argv) == cases[i].at, "%s", cases[i].line);
		if (cases[i].at >= 0) {
			ck_assert(cli.json == cases[i].json);
			ck_assert_pstr_eq(cli.key, cases[i].key);
			ck_assert_pstr_eq(cli.control, cases[i].control);
		}
		free(cli.control);
		free(cli.edge);
		free(cli.admin_key);
		free(cli.key);
	}
}
END_TEST

START_TEST(test_find_and_fit)
{
	static const struct {
		const char *line;
		const char *args; /* of the command that is meant; NULL: none */
		bool fits;
	} cases[] = {
	    {"trace abc", "ID", true},
	    {"trace", "ID", false},
	    {"trace a b", "ID", false},
	    {"trace --all", "ID", false},
	    {"tenant", NULL, false},
	    {"tenant destroy", NULL, false},
	    {"nothing", NULL, false},
	    {"tenant list", "", true},
	    {"tenant list x", "", false},
	    {"tenant limits t a=1 b=2 c=3", "TENANT [NAME=VALUE …]", true},
	    {"key revoke t", "TENANT KEY-ID", false},
	    {"key revoke t k", "TENANT KEY-ID", true},
	    {"audit --last 3", "[--last N]", true},
	    {"members", "", true},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char line[200], *argv[20];
		int used = 0;
		strcpy(line, cases[i].line);
		int argc = words(line, argv);
		const struct cli_command *c = cli_find(argc, argv, &used);
		ck_assert_pstr_eq(c ? c->args : NULL, cases[i].args);
		if (c)
			ck_assert_msg(cli_fits(c, argc - used, argv + used) == cases[i].fits, "%s",
				      cases[i].line);
	}
}
END_TEST

/* The table itself: each command can be found, says what it does, and its bounds agree. */
START_TEST(test_table_of_commands)
{
	for (const struct cli_command *c = cli_commands; c->group; c++) {
		char *argv[] = {(char *)c->group, (char *)c->verb};
		int used = 0;
		ck_assert_ptr_eq(cli_find(c->verb ? 2 : 1, argv, &used), c);
		ck_assert_int_eq(used, c->verb ? 2 : 1);
		ck_assert_ptr_nonnull(c->fn);
		ck_assert(*c->help);
		ck_assert(c->max_args < 0 || c->min_args <= c->max_args);
	}
}
END_TEST

START_TEST(test_options)
{
	static const struct {
		const char *line;
		int left; /* -1: wrong */
		const char *key, *follow;
		const char *message;
	} cases[] = {
	    {"a b", 2, NULL, NULL, NULL},
	    {"a --key k b", 2, "k", NULL, NULL},
	    {"--key=k a", 1, "k", NULL, NULL},
	    {"--key= a", 1, "", NULL, NULL},
	    {"--follow a --key --follow", 1, "--follow", "yes", NULL},
	    {"- a", 2, NULL, NULL, NULL},
	    {"a --key", -1, NULL, NULL, "--key"},
	    {"a --keys k", -1, NULL, NULL, "--keys"},
	    {"a --ke k", -1, NULL, NULL, "--ke"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char line[200], *argv[20];
		struct cli_option o[] = {{"--key", false, NULL}, {"--follow", true, NULL}};
		struct error err = {0};
		strcpy(line, cases[i].line);
		int argc = words(line, argv);
		int rc = cli_options(&argc, argv, o, 2, &err);
		ck_assert_msg((rc == 0) == (cases[i].left >= 0), "%s", cases[i].line);
		if (rc != 0) {
			ck_assert_msg(strstr(err.msg, cases[i].message) != NULL, "%s", err.msg);
			continue;
		}
		ck_assert_int_eq(argc, cases[i].left);
		ck_assert_pstr_eq(o[0].value, cases[i].key);
		ck_assert_pstr_eq(o[1].value, cases[i].follow);
	}
}
END_TEST

START_TEST(test_int)
{
	static const char *const bad[] = {"", "x", "1x", "0", "11", "1.0", "99999999999999999999"};
	struct error err;
	long v = 0;
	ck_assert_int_eq(cli_int("7", 1, 10, &v, &err), 0);
	ck_assert_int_eq((int)v, 7);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		ck_assert_msg(cli_int(bad[i], 1, 10, &v, &err) == -1, "%s", bad[i]);
}
END_TEST

static void expect_value(json_t *value, const char *want)
{
	char *text;
	ck_assert_ptr_nonnull(value);
	text = json_text(value, NULL);
	ck_assert_str_eq(text, want);
	free(text);
	json_decref(value);
}

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

START_TEST(test_values)
{
	char dir[] = "/tmp/penstock-cli-XXXXXX";
	struct error err = {0};
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(chdir(dir), 0);
	write_file("a.json", "{\"x\": 1}");
	write_file("b.txt", "Grüße\n");
	write_file("bad.json", "{");
	write_file("bad.txt", "\xff");
	expect_value(cli_value("{\"a\":[1,2]}", &err), "{\"a\":[1,2]}");
	expect_value(cli_value("7", &err), "7");
	expect_value(cli_value("@a.json", &err), "{\"x\":1}");
	expect_value(cli_value("@b.txt", &err), "{\"document\":\"Grüße\\n\"}");
	expect_value(cli_document("a.json", &err), "{\"x\":1}");
	expect_value(cli_document("true", &err), "true");
	expect_value(cli_document("{}", &err), "{}");
	static const char *const bad[] = {"a.json", "", "{", "@bad.json", "@bad.txt", "@none", "@"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		err = (struct error){0};
		ck_assert_msg(cli_value(bad[i], &err) == NULL, "%s", bad[i]);
		ck_assert_msg(*err.msg, "%s", bad[i]);
	}
	ck_assert_ptr_null(cli_document("none.json", &err));
	ck_assert_int_eq(remove_folder(dir), 0);
}
END_TEST

/* What is given wins over the environment, that over the file, that over the default. */
START_TEST(test_settings)
{
	char dir[] = "/tmp/penstock-cli-XXXXXX";
	struct cli cli = {.key = xstrdup("given")};
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(chdir(dir), 0);
	ck_assert_int_eq(mkdir(".run", 0700), 0);
	write_file(".run/env", "PENSTOCK_KEY=file\nPENSTOCK_ADMIN_KEY=file\nPENSTOCK_EDGE_URLS=no\n"
			       "PENSTOCK_EDGE_URL=http://file\n");
	unsetenv("PENSTOCK_CONTROL_URL");
	unsetenv("PENSTOCK_EDGE_URL");
	setenv("PENSTOCK_KEY", "environment", 1);
	setenv("PENSTOCK_ADMIN_KEY", "environment", 1);
	cli_settings(&cli);
	ck_assert_str_eq(cli.key, "given");
	ck_assert_str_eq(cli.admin_key, "environment");
	ck_assert_str_eq(cli.edge, "http://file");
	ck_assert_str_eq(cli.control, "http://127.0.0.1:7081");
	free(cli.control);
	free(cli.edge);
	free(cli.admin_key);
	free(cli.key);
	ck_assert_int_eq(remove_folder(dir), 0);
}
END_TEST

START_TEST(test_table)
{
	static const struct cli_column columns[] = {
	    {"NAME", "name"}, {"RPM", "limits.rpm"}, {"LIST", "list"}};
	json_t *items = from_text("[{'name':'Müller','limits':{'rpm':5},'list':[1,2]},"
				  "{'name':'a\\u001b[31m','list':null},"
				  "{'name':'','limits':7}]");
	struct strbuf out = {0};
	cli_table(&out, items, columns, 3);
	ck_assert_str_eq(strbuf_str(&out), "NAME    RPM  LIST\n"
					   "Müller  5    [1,2]\n"
					   "a [31m  -    -\n"
					   "-       -    -\n");
	strbuf_reset(&out);
	json_t *none = json_array();
	cli_table(&out, none, columns, 3);
	ck_assert_str_eq(strbuf_str(&out), "NAME  RPM  LIST\n");
	json_decref(none);
	json_decref(items);
	strbuf_done(&out);
}
END_TEST

START_TEST(test_object)
{
	json_t *object = from_text("{'id':'a','longer':true,'none':null,'o':{'x':1}}");
	struct strbuf out = {0};
	cli_object(&out, object);
	ck_assert_str_eq(strbuf_str(&out), "id      a\n"
					   "longer  true\n"
					   "none    -\n"
					   "o       {\"x\":1}\n");
	json_decref(object);
	strbuf_done(&out);
}
END_TEST

START_TEST(test_segment)
{
	struct strbuf out = {0};
	cli_segment(&out, "a.b-c_d~E9");
	cli_segment(&out, "/?#%ü :");
	ck_assert_str_eq(strbuf_str(&out), "a.b-c_d~E9%2F%3F%23%25%C3%BC%20%3A");
	strbuf_done(&out);
}
END_TEST

static const char timeline[] =
    "{'id':'t1','kind':'task','tenant':'acme','trace':'0af7','started_at':1000,'truncated':false,"
    "'events':["
    "{'offset':5,'event_id':'e1','channel':'task.t1','type':'task.accepted','ms':0.0,"
    " 'session':'s1','router':'r1','principal':'k1','data':{'pipeline':'demo'}},"
    "{'offset':6,'event_id':'e2','channel':'task.t1','type':'task.stage.started','ms':1.5,"
    " 'data':{'stage':'draft','kind':'chat','attempt':2,'worker':'w1','model':'m1'}},"
    "{'offset':8,'event_id':'e3','channel':'task.t1','type':'task.stage.failed','ms':81.5,"
    " 'summary':{'stage':'draft','attempt':2,'reason':'timeout\\u001b'}},"
    "{'offset':9,'event_id':'e4','channel':'room.1','type':'chat.message','ms':100.0}],"
    "'task':{'pipeline':'demo','version':3,'worker':'w1','state':'failed',"
    " 'usage':{'prompt_tokens':10,'completion_tokens':20,'total_tokens':30}},"
    "'attempts':[{'stage':'draft','kind':'chat','attempt':2,'worker':'w1','model':'m1',"
    " 'state':'failed','start_ms':1.5,'end_ms':81.5,'latency_ms':75,'first_token_ms':12,"
    " 'usage':{'prompt_tokens':10,'completion_tokens':20,'total_tokens':30},'reason':'"
    "timeout\\u001b'}]}";

START_TEST(test_timeline)
{
	static const char *const wanted[] = {
	    "task t1\n",
	    "tenant   acme\n",
	    "trace    0af7\n",
	    "session  s1\n",
	    "by       k1\n",
	    "router   r1\n",
	    "pipeline demo version 3\n",
	    "worker   w1\n",
	    "state    failed\n",
	    "       0.0         5  task.accepted         demo",
	    "       1.5         6  task.stage.started    draft (attempt 2)  chat  m1  w1",
	    "      81.5         8  task.stage.failed     draft (attempt 2)  timeout ",
	    "     100.0         9  chat.message          room.1",
	    "     80.0 ms  model 75 ms, first token 12 ms  10 + 20 tokens  timeout \n",
	    "30 tokens (10 + 20) in 100.0 ms\n",
	    " e4\n",
	};
	json_t *doc = from_text(timeline);
	struct strbuf out = {0};
	cli_timeline(&out, doc, false);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
		ck_assert_msg(strstr(strbuf_str(&out), wanted[i]) != NULL, "\"%s\" is not in\n%s",
			      wanted[i], strbuf_str(&out));
	ck_assert_ptr_null(strchr(strbuf_str(&out), '\033')); /* not even from the data */
	strbuf_reset(&out);
	cli_timeline(&out, doc, true);
	ck_assert_ptr_nonnull(strchr(strbuf_str(&out), '\033'));
	json_decref(doc);
	strbuf_done(&out);
}
END_TEST

/* Whatever a newer or a broken event-store says must not take the command down. */
START_TEST(test_timeline_odd)
{
	static const char *const odd[] = {
	    "{}",
	    "[]",
	    "null",
	    "{'events':[]}",
	    "{'events':7,'attempts':{},'task':[]}",
	    "{'events':[1,null,{}],'attempts':[{},null,7]}",
	    "{'events':[{'data':[1],'summary':'x','ms':'y','type':3}],'task':[{'pipeline':1}]}",
	    "{'events':[{'data':{'stage':7,'attempt':'x'}}]}",
	    "{'attempts':[{'start_ms':-5,'end_ms':1e300},{'start_ms':9}]}",
	};
	for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
		json_t *doc = from_text(odd[i]);
		struct strbuf out = {0};
		cli_timeline(&out, doc, false);
		ck_assert_int_gt((int)out.len, 0);
		strbuf_done(&out);
		json_decref(doc);
	}
}
END_TEST

RUN_TESTS("cli", test_globals, test_find_and_fit, test_table_of_commands, test_options, test_int,
	  test_values, test_settings, test_table, test_object, test_segment, test_timeline,
	  test_timeline_odd)
