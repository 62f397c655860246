#include "services/orchestrator-worker/jqbox_helper.h"

#include <errno.h>
#include <jq.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/strbuf.h"
#include "services/orchestrator-worker/jqbox.h"

#define FLUSH_BYTES   65536
#define FLUSH_ANSWERS 16

struct program {
	struct program *newer, *older; /* in order of use */
	struct program *same;          /* next in its bucket */
	uint64_t hash;
	size_t len;
	jq_state *jq; /* NULL: it does not compile */
	char *error;  /* then: why */
	char text[];
};

#define BUCKETS 1024

struct helper {
	int fd;
	struct jqbox_page *page;
	const struct jqbox_limits *limits;
	struct program *buckets[BUCKETS];
	struct program *newest, *oldest;
	size_t count;
	struct strbuf in, out, error;
	size_t answers; /* in out */
};

static struct jqbox_page *nomem_page; /* the handler's argument must outlive everything */

static void on_nomem(void *arg)
{
	(void)arg;
	atomic_store(&nomem_page->nomem, 1);
	_exit(1);
}

static int64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* FNV-1a: the programs come from the operators, so nobody is after our buckets. */
static uint64_t hash_of(const char *text, size_t len)
{
	uint64_t h = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)text[i]) * UINT64_C(1099511628211);
	return h;
}

static void unlink_use(struct helper *h, struct program *p)
{
	*(p->newer != NULL ? &p->newer->older : &h->newest) = p->older;
	*(p->older != NULL ? &p->older->newer : &h->oldest) = p->newer;
}

static void link_newest(struct helper *h, struct program *p)
{
	p->newer = NULL;
	p->older = h->newest;
	*(h->newest != NULL ? &h->newest->newer : &h->oldest) = p;
	h->newest = p;
}

static void drop_oldest(struct helper *h)
{
	struct program *p = h->oldest;
	unlink_use(h, p);
	struct program **at = &h->buckets[p->hash % BUCKETS];
	while (*at != p)
		at = &(*at)->same;
	*at = p->same;
	h->count--;
	if (p->jq != NULL)
		jq_teardown(&p->jq);
	free(p->error);
	free(p);
}

/* jq's complaints of a compilation: the first one says what is wrong. */
static void on_complaint(void *arg, jv msg)
{
	struct helper *h = arg;
	jv text = jq_format_error(msg);
	if (h->error.len == 0)
		strbuf_adds(&h->error, jv_string_value(text));
	jv_free(text);
}

/* `input` and `inputs`: there is only the one document. Without a callback libjq 1.6 crashes. */
static jv no_input(jq_state *jq, void *arg)
{
	(void)jq;
	(void)arg;
	return jv_invalid();
}

static void compile(struct helper *h, struct program *p)
{
	strbuf_reset(&h->error);
	p->jq = jq_init();
	if (p->jq == NULL)
		on_nomem(NULL);
	jq_set_nomem_handler(p->jq, on_nomem, NULL);
	jq_set_error_cb(p->jq, on_complaint, h);
	jq_set_input_cb(p->jq, no_input, NULL);
	/* No module is ever found: there is no file to be opened either. */
	jq_set_attr(p->jq, jv_string("JQ_LIBRARY_PATH"), jv_array());
	jq_set_attr(p->jq, jv_string("JQ_ORIGIN"), jv_string("/"));
	jq_set_attr(p->jq, jv_string("PROGRAM_ORIGIN"), jv_string("/"));
	if (jq_compile(p->jq, p->text))
		return;
	jq_teardown(&p->jq);
	p->jq = NULL;
	p->error = xstrdup(h->error.len > 0 ? h->error.data : "does not compile");
}

static struct program *find(struct helper *h, const char *text, size_t len)
{
	uint64_t hash = hash_of(text, len);
	struct program *p = h->buckets[hash % BUCKETS];
	while (p != NULL && (p->hash != hash || p->len != len || memcmp(p->text, text, len) != 0))
		p = p->same;
	if (p != NULL) {
		unlink_use(h, p);
		link_newest(h, p);
		return p;
	}
	if (h->count >= h->limits->programs)
		drop_oldest(h);
	p = xcalloc(1, sizeof(*p) + len + 1);
	p->hash = hash;
	p->len = len;
	memcpy(p->text, text, len);
	p->same = h->buckets[hash % BUCKETS];
	h->buckets[hash % BUCKETS] = p;
	link_newest(h, p);
	h->count++;
	compile(h, p);
	return p;
}

static void flush(struct helper *h)
{
	size_t at = 0;
	while (at < h->out.len) {
		ssize_t n = write(h->fd, h->out.data + at, h->out.len - at);
		if (n > 0)
			at += (size_t)n;
		else if (n < 0 && errno != EINTR)
			_exit(0); /* the box is gone */
	}
	strbuf_reset(&h->out);
	h->answers = 0;
}

static void answer(struct helper *h, uint64_t id, enum jqbox_code code, const char *text,
		   size_t len, int64_t start_us)
{
	struct jqbox_answer a = {
	    .id = id, .code = code, .len = (uint32_t)len, .run_us = now_us() - start_us};
	strbuf_add(&h->out, &a, sizeof(a));
	strbuf_add(&h->out, text, len);
	if (++h->answers >= FLUSH_ANSWERS || h->out.len >= FLUSH_BYTES)
		flush(h);
}

/* Words for a person, cut between two characters of UTF-8. */
static void answer_words(struct helper *h, uint64_t id, enum jqbox_code code, const char *text,
			 int64_t start_us)
{
	size_t len = strlen(text);
	if (len > 400) {
		len = 400;
		while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
			len--;
	}
	answer(h, id, code, text, len, start_us);
}

/* Takes value, which is no valid one: the end of the results, or an error. */
static void answer_invalid(struct helper *h, uint64_t id, jq_state *jq, jv value, int64_t start_us)
{
	if (jq_halted(jq)) {
		jv_free(value);
		answer_words(h, id, JQBOX_ERROR, "the program halted", start_us);
		return;
	}
	if (!jv_invalid_has_msg(jv_copy(value))) {
		jv_free(value);
		answer_words(h, id, JQBOX_ERROR, "the program gave no result", start_us);
		return;
	}
	jv msg = jv_invalid_get_msg(value);
	if (jv_get_kind(msg) != JV_KIND_STRING)
		msg = jv_dump_string(msg, 0);
	answer_words(h, id, JQBOX_ERROR, jv_string_value(msg), start_us);
	jv_free(msg);
}

static void answer_value(struct helper *h, uint64_t id, jv value, int64_t start_us)
{
	jv text = jv_dump_string(value, 0);
	size_t len = (size_t)jv_string_length_bytes(jv_copy(text));
	if (len > h->limits->output_max)
		answer_words(h, id, JQBOX_TOO_LARGE, "the result is too large", start_us);
	else
		answer(h, id, JQBOX_OK, jv_string_value(text), len, start_us);
	jv_free(text);
}

static void run(struct helper *h, uint64_t id, struct program *p, jv input, int64_t start_us)
{
	jq_start(p->jq, input, 0);
	jv value = jq_next(p->jq);
	if (!jv_is_valid(value)) {
		answer_invalid(h, id, p->jq, value, start_us);
		return;
	}
	jv more = jq_next(p->jq);
	if (jv_is_valid(more)) {
		jv_free(value);
		answer_words(h, id, JQBOX_ERROR, "the program gave more than one result", start_us);
	} else if (jv_invalid_has_msg(jv_copy(more)) || jq_halted(p->jq)) {
		jv_free(value);
		answer_invalid(h, id, p->jq, jv_copy(more), start_us);
	} else {
		answer_value(h, id, value, start_us);
	}
	jv_free(more);
}

static void serve(struct helper *h, const struct jqbox_ask *ask, const char *program,
		  const char *input)
{
	int64_t start = now_us();
	atomic_store(&h->page->running, ask->id);
	struct program *p = find(h, program, ask->program_len);
	if (p->jq == NULL) {
		answer_words(h, ask->id, JQBOX_SYNTAX, p->error, start);
		return;
	}
	jv value = jv_parse_sized(input, (int)ask->input_len);
	if (!jv_is_valid(value)) {
		jv_free(value);
		answer_words(h, ask->id, JQBOX_ERROR, "the input is no JSON", start);
		return;
	}
	run(h, ask->id, p, value, start);
}

/* Serves the complete requests at the front of in; returns the bytes that they took. */
static size_t serve_all(struct helper *h)
{
	size_t at = 0;
	struct jqbox_ask ask;
	while (h->in.len - at >= sizeof(ask)) {
		memcpy(&ask, h->in.data + at, sizeof(ask));
		size_t whole = sizeof(ask) + ask.program_len + ask.input_len;
		if (h->in.len - at < whole)
			break;
		const char *program = h->in.data + at + sizeof(ask);
		if (ask.id >= atomic_load(&h->page->skip))
			serve(h, &ask, program, program + ask.program_len);
		at += whole;
	}
	return at;
}

void jqbox_helper(int fd, struct jqbox_page *page, const struct jqbox_limits *limits)
{
	struct helper *h = xcalloc(1, sizeof(*h));
	*h = (struct helper){.fd = fd, .page = page, .limits = limits};
	nomem_page = page;
	atomic_store(&page->pid, getpid());
	for (;;) {
		strbuf_reserve(&h->in, 65536);
		ssize_t n = read(fd, h->in.data + h->in.len, h->in.cap - h->in.len - 1);
		if (n == 0)
			_exit(0);
		if (n < 0 && errno != EINTR)
			_exit(0);
		if (n < 0)
			continue;
		h->in.len += (size_t)n;
		strbuf_consume(&h->in, serve_all(h));
		atomic_store(&page->running, 0);
		if (h->out.len > 0)
			flush(h);
	}
}
