/* What any provider may say, line by line: whatever it is, the answer is JSON and within its bound.
 * And any input of embed, chat, publish and wait. The first byte chooses. */
/* links: services/orchestrator-worker */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "services/orchestrator-worker/provider.h"
#include "services/orchestrator-worker/publish.h"

#define MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void must_be_json(const struct strbuf *b)
{
	struct error err;
	json_t *doc = json_parse(strbuf_str(b), b->len, &err);
	must(doc != NULL);
	json_decref(doc);
}

static void answers(const struct provider *p, const char *text, size_t len, bool whole)
{
	struct reply r;
	struct error err;
	struct strbuf out = {0};
	bool good = true;
	reply_init(&r, MAX);
	while (len > 0 && good && !r.failed) {
		const char *end = whole ? NULL : memchr(text, '\n', len);
		size_t n = end != NULL ? (size_t)(end - text) : len;
		if (whole || p->event == NULL)
			good = p->whole(&r, text, n, &err) == 0;
		else
			good = p->event(&r, text, n, &err) == 0;
		must(r.text.len + r.tools_bytes <= MAX && r.fresh <= r.text.len);
		if (whole || p->event == NULL)
			break;
		text += end != NULL ? n + 1 : n;
		len -= end != NULL ? n + 1 : n;
	}
	if (good && !r.failed && (p->event != NULL || r.vectors != NULL)) {
		p->output(&r, &out);
		must_be_json(&out);
	}
	strbuf_done(&out);
	reply_done(&r);
}

static void inputs(const struct provider *p, const char *text, size_t len)
{
	struct strbuf out = {0};
	struct error err;
	if (p->request(text, len, "m", (int64_t)len % 3, &out, &err) == 0)
		must_be_json(&out);
	strbuf_done(&out);
}

static void others(const char *text, size_t len)
{
	struct strbuf out = {0};
	struct error err;
	struct publish_answer a;
	struct exec_call call = {
	    .tenant = "t", .task = "k", .stage = "s", .input = text, .len = len, .trace = ""};
	int64_t until;
	if (publish_command(&call, &out, &err) == 0)
		must(out.len > 0);
	strbuf_done(&out);
	publish_answer(&a, text, len);
	publish_answer_done(&a);
	if (saga_wait_until(text, len, 1000, &until, &err) == 0)
		must(until >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct provider *const all[] = {&openai_provider, &openai_embed_provider,
						     &anthropic_provider};
	if (len < 2)
		return 0;
	const struct provider *p = all[data[0] % 3];
	char *text = xmemdup(data + 1, len - 1); /* as long as it is, so that no read goes beyond */
	switch (data[0] / 3 % 4) {
	case 0:
		answers(p, text, len - 1, false);
		break;
	case 1:
		answers(p, text, len - 1, true);
		break;
	case 2:
		inputs(p, text, len - 1);
		break;
	default:
		others(text, len - 1);
		break;
	}
	free(text);
	return 0;
}
