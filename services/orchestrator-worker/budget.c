#include "services/orchestrator-worker/budget.h"

#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"

struct budget_entry {
	struct budget_entry *next;
	char *tenant;
	struct budget budget;
};

static bool counts(const struct budget *b, size_t i, int64_t second)
{
	return b->window[i].second > second - BUDGET_WINDOW_S;
}

int64_t budget_wait_ms(const struct budget *b, size_t workers, int64_t now_ms)
{
	int64_t second = now_ms / 1000, oldest = INT64_MAX;
	size_t first = 0, again = 0;
	size_t own = (size_t)BUDGET_PER_S * BUDGET_WINDOW_S / (workers > 0 ? workers : 1);
	for (size_t i = 0; i < BUDGET_WINDOW_S; i++) {
		if (!counts(b, i, second))
			continue;
		first += b->window[i].first;
		again += b->window[i].again;
		if (b->window[i].again > 0 && b->window[i].second < oldest)
			oldest = b->window[i].second;
	}
	if (again < first / BUDGET_PART + (own > 0 ? own : 1))
		return 0;
	return (oldest + BUDGET_WINDOW_S) * 1000 - now_ms; /* then those are forgotten */
}

void budget_note(struct budget *b, bool retry, int64_t now_ms)
{
	int64_t second = now_ms / 1000;
	size_t at = (size_t)(second % BUDGET_WINDOW_S);
	if (b->window[at].second != second) {
		b->window[at].second = second;
		b->window[at].first = b->window[at].again = 0;
	}
	if (retry)
		b->window[at].again++;
	else
		b->window[at].first++;
}

bool budget_idle(const struct budget *b, int64_t now_ms)
{
	for (size_t i = 0; i < BUDGET_WINDOW_S; i++)
		if (b->window[i].first + b->window[i].again > 0 && counts(b, i, now_ms / 1000))
			return false;
	return true;
}

/* --- of all tenants ------------------------------------------------------------------------ */

static struct budget_entry **bucket(struct budgets *bs, const char *tenant)
{
	uint32_t h = UINT32_C(2166136261); /* FNV-1a */
	for (const char *p = tenant; *p != '\0'; p++)
		h = (h ^ (unsigned char)*p) * UINT32_C(16777619);
	return &bs->buckets[h % (sizeof(bs->buckets) / sizeof(bs->buckets[0]))];
}

static void entry_free(struct budget_entry *e)
{
	free(e->tenant);
	free(e);
}

static void forget_idle(struct budgets *bs, int64_t now_ms)
{
	for (size_t i = 0; i < sizeof(bs->buckets) / sizeof(bs->buckets[0]); i++) {
		for (struct budget_entry **at = &bs->buckets[i]; *at != NULL;) {
			struct budget_entry *e = *at;
			if (!budget_idle(&e->budget, now_ms)) {
				at = &e->next;
				continue;
			}
			*at = e->next;
			entry_free(e);
			bs->count--;
		}
	}
}

struct budget *budgets_of(struct budgets *bs, const char *tenant, int64_t now_ms)
{
	struct budget_entry **at = bucket(bs, tenant);
	for (struct budget_entry *e = *at; e != NULL; e = e->next)
		if (strcmp(e->tenant, tenant) == 0)
			return &e->budget;
	if (bs->count >= BUDGET_TENANTS_MAX)
		forget_idle(bs, now_ms);
	if (bs->count >= BUDGET_TENANTS_MAX)
		return &bs->rest;
	struct budget_entry *e = xcalloc(1, sizeof(*e));
	e->tenant = xstrdup(tenant);
	e->next = *at;
	*at = e;
	bs->count++;
	return &e->budget;
}

bool budgets_idle(const struct budgets *bs, int64_t now_ms)
{
	for (size_t i = 0; i < sizeof(bs->buckets) / sizeof(bs->buckets[0]); i++)
		for (const struct budget_entry *e = bs->buckets[i]; e != NULL; e = e->next)
			if (!budget_idle(&e->budget, now_ms))
				return false;
	return budget_idle(&bs->rest, now_ms);
}

void budgets_done(struct budgets *bs)
{
	for (size_t i = 0; i < sizeof(bs->buckets) / sizeof(bs->buckets[0]); i++) {
		for (struct budget_entry *e; (e = bs->buckets[i]) != NULL;) {
			bs->buckets[i] = e->next;
			entry_free(e);
		}
	}
	*bs = (struct budgets){0};
}
