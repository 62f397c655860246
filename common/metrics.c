#include "common/metrics.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Upper bounds in microseconds; the last bucket is +Inf. */
static const int64_t bound_us[] = {
    100,    250,    500,    1000,    2500,    5000,    10000,    25000,    50000,
    100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 25000000, 60000000,
};
#define BOUNDS (sizeof(bound_us) / sizeof(*bound_us))

/* Counters of different threads on one cache line would slow each other down. */
#define LINE 64

struct histogram {
	_Atomic int64_t bucket[BOUNDS + 1]; /* not cumulative: one addition an observation */
	_Atomic int64_t sum_us;
};

enum kind { COUNTER, GAUGE, HISTOGRAM };

struct series {
	struct series *next;
	char *labels; /* "" for none */
	void *value;  /* struct metric or struct histogram */
};

struct family {
	struct family *next;
	char *name, *help;
	enum kind kind;
	struct series *first, **last;
};

struct metrics {
	pthread_mutex_t lock; /* of the lists; values are atomic */
	struct family *first, **last;
};

struct metrics *metrics_new(void)
{
	struct metrics *m = xcalloc(1, sizeof(*m));

	pthread_mutex_init(&m->lock, NULL);
	m->last = &m->first;
	return m;
}

static void free_family(struct family *f)
{
	struct series *s, *next;

	for (s = f->first; s; s = next) {
		next = s->next;
		free(s->labels);
		free(s->value);
		free(s);
	}
	free(f->name);
	free(f->help);
	free(f);
}

void metrics_free(struct metrics *m)
{
	struct family *f, *next;

	if (!m)
		return;
	for (f = m->first; f; f = next) {
		next = f->next;
		free_family(f);
	}
	pthread_mutex_destroy(&m->lock);
	free(m);
}

/* One name of two kinds would make the text unreadable for a scraper: a bug. */
static struct family *get_family(struct metrics *m, enum kind kind, const char *name,
				 const char *help)
{
	struct family *f;

	for (f = m->first; f; f = f->next) {
		if (strcmp(f->name, name) != 0)
			continue;
		if (f->kind != kind)
			abort();
		return f;
	}
	f = xcalloc(1, sizeof(*f));
	f->name = xstrdup(name);
	f->help = xstrdup(help ? help : "");
	f->kind = kind;
	f->last = &f->first;
	*m->last = f;
	m->last = &f->next;
	return f;
}

static void *zeroed_lines(size_t size)
{
	size_t whole = (size + LINE - 1) / LINE * LINE;
	void *p = aligned_alloc(LINE, whole);

	if (!p)
		abort();
	return memset(p, 0, whole);
}

/* Asking for the same name and labels again gives the same one. */
static void *get_value(struct metrics *m, enum kind kind, const char *name, const char *labels,
		       const char *help, size_t size)
{
	struct family *f;
	struct series *s;

	labels = labels ? labels : "";
	pthread_mutex_lock(&m->lock);
	f = get_family(m, kind, name, help);
	for (s = f->first; s && strcmp(s->labels, labels) != 0; s = s->next)
		;
	if (!s) {
		s = xcalloc(1, sizeof(*s));
		s->labels = xstrdup(labels);
		s->value = zeroed_lines(size);
		*f->last = s;
		f->last = &s->next;
	}
	pthread_mutex_unlock(&m->lock);
	return s->value;
}

struct metric *metrics_counter(struct metrics *m, const char *name, const char *labels,
			       const char *help)
{
	return get_value(m, COUNTER, name, labels, help, sizeof(struct metric));
}

struct metric *metrics_gauge(struct metrics *m, const char *name, const char *labels,
			     const char *help)
{
	return get_value(m, GAUGE, name, labels, help, sizeof(struct metric));
}

struct histogram *metrics_histogram(struct metrics *m, const char *name, const char *labels,
				    const char *help)
{
	return get_value(m, HISTOGRAM, name, labels, help, sizeof(struct histogram));
}

void histogram_observe_us(struct histogram *h, int64_t us)
{
	size_t i = 0;

	if (us < 0)
		us = 0; /* a wall clock that was set back */
	while (i < BOUNDS && us > bound_us[i])
		i++;
	atomic_fetch_add_explicit(&h->bucket[i], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->sum_us, us, memory_order_relaxed);
}

/* Microseconds as seconds, exactly: "0.00025", "60". */
static void add_seconds(struct strbuf *out, int64_t us)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%lld.%06lld", (long long)(us / 1000000),
			 (long long)(us % 1000000));

	while (text[n - 1] == '0')
		n--;
	if (text[n - 1] == '.')
		n--;
	strbuf_add(out, text, (size_t)n);
}

static void add_series(struct strbuf *out, const char *name, const char *suffix, const char *labels)
{
	strbuf_adds(out, name);
	strbuf_adds(out, suffix);
	if (*labels)
		strbuf_addf(out, "{%s}", labels);
	strbuf_addc(out, ' ');
}

static void add_histogram(struct strbuf *out, const char *name, const char *labels,
			  struct histogram *h)
{
	int64_t count = 0;

	for (size_t i = 0; i <= BOUNDS; i++) {
		count += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
		strbuf_addf(out, "%s_bucket{%s%sle=\"", name, labels, *labels ? "," : "");
		if (i < BOUNDS)
			add_seconds(out, bound_us[i]);
		else
			strbuf_adds(out, "+Inf");
		strbuf_addf(out, "\"} %lld\n", (long long)count);
	}
	add_series(out, name, "_sum", labels);
	add_seconds(out, atomic_load_explicit(&h->sum_us, memory_order_relaxed));
	strbuf_addc(out, '\n');
	/* Not a counter of its own: the format demands that it equals the +Inf bucket. */
	add_series(out, name, "_count", labels);
	strbuf_addf(out, "%lld\n", (long long)count);
}

static void add_family(struct strbuf *out, struct family *f)
{
	static const char *const kind_name[] = {"counter", "gauge", "histogram"};

	strbuf_addf(out, "# HELP %s ", f->name);
	for (const char *p = f->help; *p; p++) {
		if (*p == '\n')
			strbuf_adds(out, "\\n");
		else if (*p == '\\')
			strbuf_adds(out, "\\\\");
		else
			strbuf_addc(out, *p);
	}
	strbuf_addf(out, "\n# TYPE %s %s\n", f->name, kind_name[f->kind]);
	for (struct series *s = f->first; s; s = s->next) {
		if (f->kind == HISTOGRAM) {
			add_histogram(out, f->name, s->labels, s->value);
			continue;
		}
		add_series(out, f->name, "", s->labels);
		strbuf_addf(out, "%lld\n", (long long)metric_get(s->value));
	}
}

void metrics_text(struct metrics *m, struct strbuf *out)
{
	pthread_mutex_lock(&m->lock);
	for (struct family *f = m->first; f; f = f->next)
		add_family(out, f);
	pthread_mutex_unlock(&m->lock);
}
