#include "common/gcra.h"

#define NS_PER_S INT64_C(1000000000)

/* Time that `units` are worth, rounded up; bounded so that sums with a clock cannot overflow. */
static int64_t worth_ns(int64_t units, int64_t rate)
{
	if (units <= 0)
		return 0;
	__int128 ns = ((__int128)units * NS_PER_S + rate - 1) / rate;
	return ns > INT64_MAX / 4 ? INT64_MAX / 4 : (int64_t)ns;
}

int64_t gcra_wait_ns(const struct gcra *g, int64_t rate, int64_t burst, int64_t cost,
		     int64_t now_ns)
{
	if (rate <= 0)
		return 0;
	int64_t room = worth_ns(burst, rate) - worth_ns(cost, rate);
	int64_t debt = g->tat_ns > now_ns ? g->tat_ns - now_ns : 0;
	int64_t wait = debt - (room > 0 ? room : 0);
	return wait > 0 ? wait : 0;
}

int64_t gcra_left(const struct gcra *g, int64_t rate, int64_t burst, int64_t now_ns)
{
	if (rate <= 0)
		return INT64_MAX;
	int64_t debt = g->tat_ns > now_ns ? g->tat_ns - now_ns : 0;
	int64_t room = worth_ns(burst, rate) - debt;
	if (room <= 0)
		return 0;
	/* What is worth room: its own worth is rounded up, so it may be one too many. */
	int64_t units = (int64_t)((__int128)room * rate / NS_PER_S);
	return worth_ns(units, rate) > room ? units - 1 : units;
}

void gcra_take(struct gcra *g, int64_t rate, int64_t cost, int64_t now_ns)
{
	if (rate <= 0)
		return;
	int64_t from = g->tat_ns > now_ns ? g->tat_ns : now_ns;
	int64_t add = worth_ns(cost, rate);
	g->tat_ns = from > INT64_MAX - add ? INT64_MAX : from + add;
}

void gcra_give(struct gcra *g, int64_t rate, int64_t units)
{
	if (rate <= 0 || units <= 0)
		return;
	__int128 ns = (__int128)units * NS_PER_S / rate;
	g->tat_ns = ns > g->tat_ns ? 0 : g->tat_ns - (int64_t)ns;
}
