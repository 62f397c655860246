#include "services/control-plane/trail.h"

#include <string.h>

static int64_t slot_of(int64_t us)
{
	return us / TRAIL_SLOT_US;
}

void trail_init(struct trail *w, int64_t now_us)
{
	memset(w, 0, sizeof(*w));
	w->last = slot_of(now_us);
}

static void advance(struct trail *w, int64_t now_us)
{
	int64_t to = slot_of(now_us);
	if (to - w->last >= TRAIL_SLOTS) {
		trail_init(w, now_us);
		return;
	}
	while (w->last < to) {
		int64_t *slot = &w->slots[++w->last % TRAIL_SLOTS];
		w->sum -= *slot;
		*slot = 0;
	}
}

int64_t trail_sum(struct trail *w, int64_t now_us)
{
	advance(w, now_us);
	return w->sum;
}

void trail_add(struct trail *w, int64_t at_us, int64_t now_us, int64_t n)
{
	advance(w, now_us);
	int64_t slot = slot_of(at_us);
	if (slot > w->last || w->last - slot >= TRAIL_SLOTS)
		return; /* what was so long ago counts no more */
	w->slots[slot % TRAIL_SLOTS] += n;
	w->sum += n;
}

void trail_assume(struct trail *w, int64_t now_us, int64_t limit)
{
	trail_init(w, now_us);
	int64_t done = 0;
	for (int64_t i = 0; i < TRAIL_SLOTS; i++) {
		/* Spread without losing the fractions: the i-th slot from the oldest. */
		int64_t until = (int64_t)((double)limit * (double)(i + 1) / TRAIL_SLOTS);
		w->slots[(w->last + 1 + i) % TRAIL_SLOTS] = until - done;
		done = until;
	}
	w->sum = done;
}
