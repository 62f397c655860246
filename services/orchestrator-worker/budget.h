/* Retry budgets: of a target's calls for a tenant, how many may be retries.
 *
 * In any 10 s at most one tenth of the first attempts, and one a second besides, so that a tenant
 * that calls rarely may retry at all. A target that fails thus gets at most 1.1 times the calls
 * that are really wanted, whatever the stages' own rules say: retries cannot keep it down.
 *
 * Source: "Handling Overload", Site Reliability Engineering, ch. 21 (retry budgets). Pure; threads:
 * one owner. Units: milliseconds of any clock that does not go back. */
#ifndef WORKER_BUDGET_H
#define WORKER_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUDGET_WINDOW_S    10
#define BUDGET_PART        10 /* one of so many first attempts */
#define BUDGET_PER_S       1
#define BUDGET_TENANTS_MAX 4096 /* with calls in the window; the rest share one budget */

/* Zeroed: nothing was called. */
struct budget {
	struct {
		int64_t second;
		unsigned first, again;
	} window[BUDGET_WINDOW_S];
};

/* workers: what is allowed a second is shared by so many. 0: a retry may begin now; else how long
 * to wait before asking again. */
int64_t budget_wait_ms(const struct budget *b, size_t workers, int64_t now_ms);
/* A call begins. */
void budget_note(struct budget *b, bool retry, int64_t now_ms);
bool budget_idle(const struct budget *b, int64_t now_ms); /* nothing in the window */

/* The budgets of one target's tenants. Zeroed: none. */
struct budgets {
	struct budget_entry *buckets[64];
	size_t count;
	struct budget rest;
};

/* Made when it is not there; valid until the next call of this function or budgets_done(). */
struct budget *budgets_of(struct budgets *bs, const char *tenant, int64_t now_ms);
bool budgets_idle(const struct budgets *bs, int64_t now_ms);
void budgets_done(struct budgets *bs);

#endif
