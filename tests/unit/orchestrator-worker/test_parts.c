/* The pure parts: pipelines, slices, event streams, the OpenAI interface of limits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/pipeline.h"
#include "services/orchestrator-worker/openai.h"
#include "services/orchestrator-worker/slice.h"
#include "services/orchestrator-worker/sse.h"
#include "services/orchestrator-worker/target.h"
#include "tests/unit/common/suite.h"

static struct error err;

static struct pipeline_spec *parse(const char *text)
{
	char *copy = xstrdup(text);
	for (char *p = copy; *p != '\0'; p++)
		if (*p == '\'')
			*p = '"';
	json_t *doc = json_parse(copy, strlen(copy), &err);
	ck_assert_msg(doc != NULL, "%s", copy);
	struct pipeline_spec *spec = pipeline_parse(doc, &err);
	json_decref(doc);
	free(copy);
	return spec;
}

START_TEST(pipeline_good)
{
	struct pipeline_spec *spec =
	    parse("{'name':'x','stages':[{'id':'d','kind':'chat','model':'m','needs':['b','c'],"
		  "'max_tokens':9,'timeout_ms':7,'start_within_ms':5,'deadline_ms':80,'retry':{'"
		  "max_attempts':2,'factor':1.5}},"
		  "{'id':'b','kind':'transform','input':'.input','needs':['a']},"
		  "{'id':'c','kind':'http','needs':['a','a']},{'id':'a','kind':'wait'}],"
		  "'output':'.stages'}");
	ck_assert_msg(spec != NULL, "%s", err.msg);
	ck_assert_uint_eq(spec->n, 4);
	ck_assert_str_eq(spec->output, ".stages");
	ck_assert_uint_eq(spec->leaves, 1);
	ck_assert_uint_eq(spec->stages[0].needs, 6);
	ck_assert_uint_eq(spec->stages[0].above, 14);
	ck_assert_uint_eq(spec->stages[2].needs, 8);
	ck_assert_int_eq(spec->stages[0].retry.max_attempts, 2);
	ck_assert_int_eq(spec->stages[0].start_within_ms, 5);
	ck_assert_int_eq(spec->stages[0].deadline_ms, 80);
	ck_assert_int_eq(spec->stages[1].deadline_ms, 0);
	ck_assert_int_eq(spec->stages[0].retry.initial_ms, 500);
	ck_assert_double_eq(spec->stages[0].retry.factor, 1.5);
	ck_assert_int_eq(spec->stages[1].retry.max_attempts, 4);
	ck_assert_int_eq(spec->stages[1].retry.max_ms, 30000);
	ck_assert_int_eq(pipeline_find(spec, "ca", 1), 2);
	ck_assert_int_eq(pipeline_find(spec, "x", 1), -1);
	pipeline_unref(pipeline_ref(spec));
	pipeline_unref(spec);
}
END_TEST

START_TEST(pipeline_bad)
{
	static const char *const bad[][2] = {
	    {"[]", "stages"},
	    {"{}", "stages"},
	    {"{'stages':[]}", "stages"},
	    {"{'stages':[1]}", "object"},
	    {"{'stages':[{'kind':'wait'}]}", "id"},
	    {"{'stages':[{'id':'a b','kind':'wait'}]}", "id"},
	    {"{'stages':[{'id':'a'}]}", "kind"},
	    {"{'stages':[{'id':'a','kind':'magic'}]}", "unknown kind"},
	    {"{'stages':[{'id':'a','kind':'chat'}]}", "model"},
	    {"{'stages':[{'id':'a','kind':'transform','model':'m'}]}", "model"},
	    {"{'stages':[{'id':'a','kind':'wait','x':1}]}", "x"},
	    {"{'stages':[{'id':'a','kind':'wait'},{'id':'a','kind':'wait'}]}", "two stages"},
	    {"{'stages':[{'id':'a','kind':'wait','needs':['b']}]}", "no stage"},
	    {"{'stages':[{'id':'a','kind':'wait','needs':[1]}]}", "no stage"},
	    {"{'stages':[{'id':'a','kind':'wait','needs':'a'}]}", "array"},
	    {"{'stages':[{'id':'a','kind':'wait','needs':['a']}]}", "circle"},
	    {"{'stages':[{'id':'a','kind':'wait','needs':['b']},"
	     "{'id':'b','kind':'wait','needs':['a']}]}",
	     "circle"},
	    {"{'stages':[{'id':'a','kind':'wait','timeout_ms':0}]}", "timeout_ms"},
	    {"{'stages':[{'id':'a','kind':'wait','retry':{'max_attempts':0}}]}", "max_attempts"},
	    {"{'stages':[{'id':'a','kind':'wait','retry':{'factor':0.5}}]}", "factor"},
	    {"{'stages':[{'id':'a','kind':'wait','retry':{'tries':5}}]}", "tries"},
	    {"{'stages':[{'id':'a','kind':'wait','input':''}]}", "input"},
	    {"{'stages':[{'id':'a','kind':'wait'}],'output':7}", "output"},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err = (struct error){0};
		ck_assert_msg(parse(bad[i][0]) == NULL, "%s", bad[i][0]);
		ck_assert_int_eq(err.code, ERR_REJECTED);
		ck_assert_msg(strstr(err.msg, bad[i][1]) != NULL, "%s: %s", bad[i][0], err.msg);
	}
	struct strbuf many = {0};
	strbuf_adds(&many, "{'stages':[{'id':'s','kind':'wait'}");
	for (int i = 0; i < 64; i++)
		strbuf_addf(&many, ",{'id':'s%d','kind':'wait'}", i);
	strbuf_adds(&many, "]}");
	ck_assert_ptr_null(parse(many.data));
	strbuf_done(&many);
}
END_TEST

START_TEST(slices)
{
	const char *doc = " {\"a\":\"x\\\"}\",\"b\" : [1,{\"c\":\"]\"}],\"n\":-12, \"t\":true,"
			  "\"s\":\"plain\",\"z\":null}";
	size_t len = strlen(doc);
	struct slice b = slice_member(doc, len, "b");
	ck_assert_uint_eq(b.len, 13);
	ck_assert_mem_eq(b.p, "[1,{\"c\":\"]\"}]", 13);
	ck_assert_ptr_null(slice_text(slice_member(doc, len, "a")).p); /* needs unescaping */
	ck_assert_int_eq(slice_int(slice_member(doc, len, "n"), 5), -12);
	ck_assert_int_eq(slice_int(slice_member(doc, len, "t"), 5), 5);
	ck_assert(slice_is(slice_member(doc, len, "t"), "true"));
	ck_assert(slice_is(slice_text(slice_member(doc, len, "s")), "plain"));
	ck_assert(slice_is(slice_member(doc, len, "z"), "null"));
	ck_assert_ptr_null(slice_member(doc, len, "c").p);
	ck_assert_ptr_null(slice_member("[1]", 3, "a").p);
	/* Cut anywhere: never out of bounds (the sanitizer looks). */
	for (size_t i = 0; i <= len; i++) {
		char *cut = xmemdup(doc, i > 0 ? i : 1);
		slice_member(cut, i, "zz");
		slice_member(cut, i, "b");
		free(cut);
	}
}
END_TEST

static struct strbuf events;

static int note(void *arg, const char *data, size_t len)
{
	(void)arg;
	strbuf_addf(&events, "<%s:%zu>", data, len);
	return strcmp(data, "stop") == 0;
}

START_TEST(sse_any_cut)
{
	const char *text = "\xef\xbb\xbf"
			   "data: one\n\n: comment\r\nevent: x\r\ndata:two\r\ndata: three\r\n\r\n"
			   "id: 7\rdata\rdata:  \r\rdataset: no\n\ndata: last\n";
	for (size_t step = 1; step <= strlen(text); step++) {
		struct sse s;
		sse_init(&s, 1000);
		strbuf_reset(&events);
		for (size_t at = 0; at < strlen(text); at += step) {
			size_t n = strlen(text) - at < step ? strlen(text) - at : step;
			ck_assert_int_eq(sse_feed(&s, text + at, n, note, NULL), 0);
		}
		/* An event without its empty line is not one. */
		ck_assert_str_eq(events.data, "<one:3><two\nthree:9><\n :2>");
		sse_done(&s);
	}
	strbuf_done(&events);
}
END_TEST

START_TEST(sse_bounds)
{
	struct sse s;
	sse_init(&s, 10);
	ck_assert_int_eq(sse_feed(&s, "data: 123456789", 15, note, NULL), -1);
	sse_done(&s);
	sse_init(&s, 10);
	ck_assert_int_eq(sse_feed(&s, "data:12345\ndata:12345\n", 22, note, NULL), -1);
	sse_done(&s);
	sse_init(&s, 100);
	ck_assert_int_eq(sse_feed(&s, "data:stop\n\ndata:x\n\n", 19, note, NULL), -1);
	ck_assert_str_eq(events.data, "<stop:4>");
	sse_done(&s);
	strbuf_done(&events);
}
END_TEST

static void request(const char *input, int64_t max_tokens, const char *expected)
{
	struct strbuf b = {0};
	int r = openai_request(input, strlen(input), "gpt", max_tokens, &b, &err);
	ck_assert_int_eq(r, expected != NULL ? 0 : -1);
	if (expected != NULL)
		ck_assert_str_eq(b.data, expected);
	strbuf_done(&b);
}

#define TAIL "\"stream\":true,\"stream_options\":{\"include_usage\":true}}"

START_TEST(openai_requests)
{
	request("\"hi\"", 0,
		"{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"model\":\"gpt\"," TAIL);
	request("[{\"role\":\"system\",\"content\":\"x\"}]", 5,
		"{\"messages\":[{\"role\":\"system\",\"content\":\"x\"}],\"model\":\"gpt\","
		"\"max_tokens\":5," TAIL);
	request("{\"messages\":[1],\"temperature\":2,\"model\":\"other\",\"stream\":false}", 0,
		"{\"messages\":[1],\"temperature\":2,\"model\":\"gpt\",\"stream\":true,"
		"\"stream_options\":{\"include_usage\":true}}");
	request("{\"messages\":[]}", 0, NULL);
	request("[]", 0, NULL);
	request("7", 0, NULL);
	request("null", 0, NULL);
}
END_TEST

static void chunk(struct reply *a, const char *text)
{
	ck_assert_msg(openai_chunk(a, text, strlen(text), &err) == 0, "%s", err.msg);
}

START_TEST(openai_chunks)
{
	struct reply a;
	struct strbuf out = {0};
	reply_init(&a, 12);
	chunk(&a, "{\"model\":\"m-1\",\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}");
	ck_assert_uint_eq(a.text.len, 0);
	chunk(&a, "{\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}");
	chunk(&a, "{\"choices\":[{\"delta\":{\"content\":\"lo \\\"\"},\"finish_reason\":null}]}");
	ck_assert_uint_eq(a.fresh, 3);
	ck_assert(!a.finished);
	chunk(&a, "{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}");
	chunk(&a, "{\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}");
	chunk(&a, "[DONE]");
	ck_assert(a.finished);
	reply_output(&a, &out);
	ck_assert_str_eq(
	    out.data,
	    "{\"text\":\"Hello \\\"\",\"model\":\"m-1\",\"finish_reason\":\"stop\","
	    "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}");
	const char *more = "{\"choices\":[{\"delta\":{\"content\":\"123456\"}}]}";
	ck_assert_int_eq(openai_chunk(&a, more, strlen(more), &err), -1);
	ck_assert_int_eq(err.code, ERR_FATAL);
	ck_assert_int_eq(openai_chunk(&a, "nonsense", 8, &err), -1);
	ck_assert_int_eq(err.code, ERR_REJECTED);
	reply_done(&a);
	strbuf_done(&out);
}
END_TEST

START_TEST(openai_others)
{
	struct reply a;
	struct strbuf out = {0};
	char text[50];
	reply_init(&a, 100);
	const char *whole = "{\"model\":\"m\",\"choices\":[{\"message\":{\"content\":\"hi\"},"
			    "\"finish_reason\":\"length\"}]}";
	ck_assert_int_eq(openai_whole(&a, whole, strlen(whole), &err), 0);
	reply_output(&a, &out);
	ck_assert_str_eq(out.data, "{\"text\":\"hi\",\"model\":\"m\",\"finish_reason\":\"length\","
				   "\"usage\":null}");
	chunk(&a, "{\"error\":{\"message\":\"overloaded\"}}");
	ck_assert(a.failed);
	ck_assert_str_eq(a.error, "overloaded");
	whole = "{\"error\":{\"message\":\"no \xc3\xa4\"}}";
	openai_error_text(whole, strlen(whole), text, 5);
	ck_assert_str_eq(text, "no "); /* not half a character */
	openai_error_text("{\"error\":\"flat\"}", 16, text, sizeof(text));
	ck_assert_str_eq(text, "flat");
	openai_error_text("<html>\n\xff", 8, text, sizeof(text));
	ck_assert_str_eq(text, "<html>");
	openai_error_text("", 0, text, sizeof(text));
	ck_assert_str_eq(text, "");
	reply_done(&a);
	strbuf_done(&out);
}
END_TEST

RUN_TESTS("parts", pipeline_good, pipeline_bad, slices, sse_any_cut, sse_bounds, openai_requests,
	  openai_chunks, openai_others)
