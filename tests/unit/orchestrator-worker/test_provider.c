/* Providers: requests, streams and whole answers, and that all give one form of answer. */
#include <string.h>

#include "services/orchestrator-worker/provider.h"
#include "tests/unit/common/suite.h"

static struct reply r;
static struct strbuf out;
static struct error err;

static void setup(void)
{
	reply_init(&r, 1000);
	strbuf_reset(&out);
}

static void teardown(void)
{
	reply_done(&r);
	strbuf_done(&out);
}

static const char *request(const struct provider *p, const char *input, int64_t max_tokens)
{
	strbuf_reset(&out);
	int bad = p->request(input, strlen(input), "m-1", max_tokens, &out, &err);
	return bad ? NULL : strbuf_str(&out);
}

static void event(const struct provider *p, const char *text)
{
	ck_assert_msg(p->event(&r, text, strlen(text), &err) == 0, "%s", err.msg);
}

static const char *output(const struct provider *p)
{
	strbuf_reset(&out);
	p->output(&r, &out);
	return out.data;
}

START_TEST(who_speaks)
{
	ck_assert_ptr_eq(provider_of("openai", KIND_CHAT), &openai_provider);
	ck_assert_ptr_eq(provider_of("openai", KIND_EMBED), &openai_embed_provider);
	ck_assert_ptr_eq(provider_of("anthropic", KIND_CHAT), &anthropic_provider);
	ck_assert_ptr_null(provider_of("anthropic", KIND_EMBED));
	ck_assert_ptr_null(provider_of("http", KIND_CHAT));
}
END_TEST

START_TEST(anthropic_requests)
{
	ck_assert_str_eq(request(&anthropic_provider, "\"hi\"", 0),
			 "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"model\":\"m-1\","
			 "\"max_tokens\":4096,\"stream\":true}");
	ck_assert_str_eq(
	    request(&anthropic_provider,
		    "{\"messages\":[{\"role\":\"system\",\"content\":\"be brief\"},"
		    "{\"role\":\"user\",\"content\":\"hi\"},"
		    "{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"now\"}]}],"
		    "\"temperature\":0,\"tools\":[{\"name\":\"f\"}],\"max_tokens\":9}",
		    0),
	    "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"temperature\":0,"
	    "\"tools\":[{\"name\":\"f\"}],\"max_tokens\":9,\"system\":\"be brief\\n\\nnow\","
	    "\"model\":\"m-1\",\"stream\":true}");
	ck_assert_ptr_nonnull(
	    strstr(request(&anthropic_provider, "\"hi\"", 7), "\"max_tokens\":7"));
	ck_assert_ptr_null(request(&anthropic_provider, "7", 0));
}
END_TEST

/* As in the API reference's example, with thinking that is passed over. */
START_TEST(anthropic_stream)
{
	const struct provider *p = &anthropic_provider;
	event(p, "{\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\","
		 "\"model\":\"m-1x\",\"content\":[],\"usage\":{\"input_tokens\":10,"
		 "\"cache_read_input_tokens\":5,\"output_tokens\":1}}}");
	ck_assert_int_eq(r.usage.prompt_tokens, 15);
	event(p, "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":"
		 "\"thinking\",\"thinking\":\"\"}}");
	event(p, "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":"
		 "\"thinking_delta\",\"thinking\":\"hm\"}}");
	event(p, "{\"type\":\"ping\"}");
	event(p,
	      "{\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"text\","
	      "\"text\":\"\"}}");
	event(p, "{\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\","
		 "\"text\":\"Hel\"}}");
	event(p, "{\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\","
		 "\"text\":\"lo\"}}");
	ck_assert_str_eq(r.text.data + r.fresh, "lo");
	event(p, "{\"type\":\"content_block_start\",\"index\":2,\"content_block\":{\"type\":"
		 "\"tool_use\",\"id\":\"t1\",\"name\":\"look\",\"input\":{}}}");
	event(p, "{\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":"
		 "\"input_json_delta\",\"partial_json\":\"{\\\"a\\\"\"}}");
	event(p, "{\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":"
		 "\"input_json_delta\",\"partial_json\":\":1}\"}}");
	event(p, "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{"
		 "\"output_tokens\":20}}");
	ck_assert(!r.finished);
	event(p, "{\"type\":\"message_stop\"}");
	ck_assert(r.finished);
	ck_assert_str_eq(
	    output(p), "{\"text\":\"Hello\",\"model\":\"m-1x\",\"finish_reason\":\"tool_calls\","
		       "\"usage\":{\"prompt_tokens\":15,\"completion_tokens\":20,"
		       "\"total_tokens\":35},\"tool_calls\":[{\"id\":\"t1\",\"type\":\"function\","
		       "\"function\":{\"name\":\"look\",\"arguments\":\"{\\\"a\\\":1}\"}}]}");
}
END_TEST

START_TEST(anthropic_whole)
{
	static const char whole[] =
	    "{\"type\":\"message\",\"model\":\"m\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
	    "{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{\"x\":[1]}}],"
	    "\"stop_reason\":\"max_tokens\",\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}";
	ck_assert_int_eq(anthropic_provider.whole(&r, whole, strlen(whole), &err), 0);
	ck_assert_str_eq(r.finish_reason, "length");
	ck_assert_str_eq(r.tools[0].arguments.data, "{\"x\":[1]}");
	ck_assert_int_eq(r.usage.total_tokens, 3);
}
END_TEST

START_TEST(anthropic_errors)
{
	event(&anthropic_provider, "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\","
				   "\"message\":\"Overloaded\"}}");
	ck_assert(r.failed);
	ck_assert_str_eq(r.error, "Overloaded");
	ck_assert_int_eq(anthropic_provider.event(&r, "[]", 2, &err), -1);
	ck_assert_int_eq(err.code, ERR_REJECTED);
	event(&anthropic_provider, "{\"type\":7}");
	event(&anthropic_provider, "{\"type\":\"content_block_delta\",\"delta\":3}");
}
END_TEST

/* The calls of several functions, in pieces that come mixed. */
START_TEST(openai_tools)
{
	const struct provider *p = &openai_provider;
	event(
	    p,
	    "{\"choices\":[{\"delta\":{\"content\":null,\"tool_calls\":[{\"index\":0,\"id\":\"c0\","
	    "\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"}}]}}]}");
	event(p,
	      "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"c1\",\"function\":"
	      "{\"name\":\"g\",\"arguments\":\"{}\"}},{\"index\":0,\"function\":{\"arguments\":"
	      "\"{\\\"q\\\":\"}}]}}]}");
	event(p, "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{"
		 "\"arguments\":\"2}\"}}]},\"finish_reason\":\"tool_calls\"}]}");
	ck_assert_str_eq(output(p),
			 "{\"text\":\"\",\"model\":\"\",\"finish_reason\":\"tool_calls\",\"usage\":"
			 "null,\"tool_calls\":[{\"id\":\"c0\",\"type\":\"function\",\"function\":{"
			 "\"name\":\"f\",\"arguments\":\"{\\\"q\\\":2}\"}},{\"id\":\"c1\",\"type\":"
			 "\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]}");
}
END_TEST

START_TEST(tools_are_bounded)
{
	static const char *const bad[] = {
	    "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":1}]}}]}",
	    "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":-1}]}}]}",
	    "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":9999999999}]}}]}"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_int_eq(openai_provider.event(&r, bad[i], strlen(bad[i]), &err), -1);
		ck_assert_int_eq(err.code, ERR_REJECTED);
	}
	static const char piece[] = "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,"
				    "\"function\":{\"arguments\":\"0123456789\"}}]}}]}";
	int bad_at = 0;
	while (openai_provider.event(&r, piece, strlen(piece), &err) == 0)
		bad_at++;
	ck_assert_int_eq(bad_at, 100);
	ck_assert_int_eq(err.code, ERR_FATAL);
}
END_TEST

START_TEST(embeddings)
{
	const struct provider *p = &openai_embed_provider;
	ck_assert_str_eq(request(p, "\"one\"", 5),
			 "{\"input\":\"one\",\"model\":\"m-1\",\"encoding_format\":\"float\"}");
	ck_assert_str_eq(
	    request(p, "[\"a\",\"b\"]", 0),
	    "{\"input\":[\"a\",\"b\"],\"model\":\"m-1\",\"encoding_format\":\"float\"}");
	ck_assert_str_eq(request(p, "{\"input\":\"x\",\"dimensions\":2,\"model\":\"other\"}", 0),
			 "{\"input\":\"x\",\"dimensions\":2,\"model\":\"m-1\","
			 "\"encoding_format\":\"float\"}");
	ck_assert_ptr_null(request(p, "{}", 0));
	ck_assert_ptr_null(request(p, "[]", 0));
	static const char whole[] =
	    "{\"data\":[{\"index\":1,\"embedding\":[0.5,1]},{\"index\":0,\"embedding\":[2]}],"
	    "\"model\":\"e\",\"usage\":{\"prompt_tokens\":4,\"total_tokens\":4}}";
	ck_assert_int_eq(p->whole(&r, whole, strlen(whole), &err), 0);
	ck_assert(r.finished);
	ck_assert_str_eq(output(p), "{\"embeddings\":[[2],[0.5,1]],\"model\":\"e\",\"usage\":{"
				    "\"prompt_tokens\":4,\"total_tokens\":4}}");
}
END_TEST

#define ONE_TWICE "{\"data\":[{\"index\":0,\"embedding\":[1]},{\"index\":0,\"embedding\":[1]}]}"

START_TEST(embeddings_that_are_none)
{
	static const char *const bad[] = {"[]",
					  "{}",
					  "{\"data\":[]}",
					  "{\"data\":[{\"index\":0}]}",
					  "{\"data\":[{\"index\":1,\"embedding\":[1]}]}",
					  ONE_TWICE};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		teardown();
		setup();
		ck_assert_msg(openai_embed_provider.whole(&r, bad[i], strlen(bad[i]), &err) == -1,
			      "%s", bad[i]);
		ck_assert_int_eq(err.code, ERR_REJECTED);
	}
}
END_TEST

RUN_TESTS_WITH("provider", setup, teardown, who_speaks, anthropic_requests, anthropic_stream,
	       anthropic_whole, anthropic_errors, openai_tools, tools_are_bounded, embeddings,
	       embeddings_that_are_none)
