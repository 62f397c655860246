#include "tools/modelsim/stats.h"

#include <stdlib.h>
#include <string.h>

static void minute_expire(struct minute *m, int64_t now_us)
{
	while (m->len > 0 && m->ring[m->head].at_us <= now_us - MINUTE_US) {
		m->sum -= m->ring[m->head].n;
		m->head = (m->head + 1) & (m->cap - 1);
		m->len--;
	}
}

static void minute_grow(struct minute *m)
{
	size_t cap = m->cap ? m->cap * 2 : 64;
	struct minute_entry *ring = xcalloc(cap, sizeof(*ring));

	for (size_t i = 0; i < m->len; i++)
		ring[i] = m->ring[(m->head + i) & (m->cap - 1)];
	free(m->ring);
	m->ring = ring;
	m->cap = cap;
	m->head = 0;
}

void minute_add(struct minute *m, int64_t now_us, int64_t n)
{
	minute_expire(m, now_us);
	if (m->len == m->cap && m->cap < MINUTE_MAX)
		minute_grow(m);
	if (m->len == m->cap) {
		m->sum -= m->ring[m->head].n;
		m->head = (m->head + 1) & (m->cap - 1);
		m->len--;
	}
	m->ring[(m->head + m->len++) & (m->cap - 1)] = (struct minute_entry){now_us, n};
	m->sum += n;
	if (m->sum > m->peak)
		m->peak = m->sum;
}

int64_t minute_sum(struct minute *m, int64_t now_us)
{
	minute_expire(m, now_us);
	return m->sum;
}

int64_t minute_wait_us(struct minute *m, int64_t now_us, int64_t n, int64_t limit)
{
	int64_t sum = minute_sum(m, now_us);

	for (size_t i = 0; i < m->len; i++) {
		const struct minute_entry *e = &m->ring[(m->head + i) & (m->cap - 1)];

		sum -= e->n;
		if (sum + n <= limit)
			return e->at_us + MINUTE_US - now_us;
	}
	return MINUTE_US;
}

void minute_done(struct minute *m)
{
	free(m->ring);
	*m = (struct minute){0};
}

void stats_init(struct stats *s)
{
	*s = (struct stats){.keys = json_object()};
}

void stats_done(struct stats *s)
{
	minute_done(&s->asked);
	minute_done(&s->allowed);
	minute_done(&s->tokens);
	json_decref(s->keys);
}

void stats_reset(struct stats *s)
{
	int64_t concurrent = s->concurrent;

	stats_done(s);
	stats_init(s);
	s->concurrent = s->concurrent_peak = concurrent;
}

void stats_key(struct stats *s, const char *key)
{
	json_t *seen = json_object_get(s->keys, key);

	if (seen) {
		if (json_integer_value(seen) == 1)
			s->keys_repeated++;
		json_integer_set(seen, json_integer_value(seen) + 1);
	} else if (json_object_size(s->keys) < STATS_KEYS_MAX) {
		json_object_set_new(s->keys, key, json_integer(1));
	} else {
		s->keys_dropped++;
	}
}

static void write_keys(const struct stats *s, bool all, struct strbuf *out)
{
	const char *key;
	json_t *count;
	bool first = true;

	strbuf_adds(out, ",\"idempotency_keys\":{");
	json_object_foreach(s->keys, key, count)
	{
		if (!all && json_integer_value(count) == 1)
			continue;
		if (!first)
			strbuf_addc(out, ',');
		first = false;
		strbuf_add_json(out, key);
		strbuf_addf(out, ":%lld", (long long)json_integer_value(count));
	}
	strbuf_adds(out, "}}");
}

void stats_write(struct stats *s, int64_t now_us, bool all_keys, struct strbuf *out)
{
	const struct {
		const char *name;
		int64_t value;
	} rows[] = {{"requests", s->requests},
		    {"admitted", s->admitted},
		    {"limited", s->limited},
		    {"rejected", s->rejected},
		    {"failed", s->failed},
		    {"hung", s->hung},
		    {"cut", s->cut},
		    {"completed", s->completed},
		    {"cancelled", s->cancelled},
		    {"streams", s->streams},
		    {"prompt_tokens", s->prompt_tokens},
		    {"completion_tokens", s->completion_tokens},
		    {"total_tokens", s->prompt_tokens + s->completion_tokens},
		    {"bytes_in", s->bytes_in},
		    {"bytes_out", s->bytes_out},
		    {"concurrent", s->concurrent},
		    {"concurrent_peak", s->concurrent_peak},
		    {"rpm_now", minute_sum(&s->asked, now_us)},
		    {"rpm_peak", s->asked.peak},
		    {"rpm_admitted_peak", s->allowed.peak},
		    {"tpm_now", minute_sum(&s->tokens, now_us)},
		    {"tpm_peak", s->tokens.peak},
		    {"keys_distinct", (int64_t)json_object_size(s->keys)},
		    {"keys_repeated", s->keys_repeated},
		    {"keys_dropped", s->keys_dropped}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		strbuf_addf(out, "%c\"%s\":%lld", i == 0 ? '{' : ',', rows[i].name,
			    (long long)rows[i].value);
	write_keys(s, all_keys, out);
}
