#include "services/router/gcra.h"

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

void gcra_take(struct gcra *g, int64_t rate, int64_t cost, int64_t now_ns)
{
	if (rate <= 0)
		return;
	int64_t from = g->tat_ns > now_ns ? g->tat_ns : now_ns;
	int64_t add = worth_ns(cost, rate);
	g->tat_ns = from > INT64_MAX - add ? INT64_MAX : from + add;
}
