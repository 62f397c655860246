#include "services/control-plane/aimd.h"

#define CUT        0.7 /* for 429s and timeouts */
#define CUT_SLOW   0.9 /* for answers that begin late */
#define TROUBLE    10  /* one in so many is enough */
#define STEPS      20  /* from nothing to the limit in so many good rounds */
#define FLOOR      10 /* never below a tenth of the limit: else it would not learn that all is well */
#define SLOW       4.0   /* times the time to first token at ease … */
#define SLOW_MS    250.0 /* … and so much more, at least */
#define BASE_DRIFT 0.02  /* of the difference, a round: a target may have become another one */

void aimd_init(struct aimd *a, int64_t limit, int64_t now_us)
{
	*a = (struct aimd){.limit = limit, .now = (double)limit, .round_us = now_us};
}

void aimd_limit(struct aimd *a, int64_t limit)
{
	if (limit == a->limit)
		return;
	a->limit = limit;
	a->now = (double)limit;
}

static void bound(struct aimd *a)
{
	double least = (double)a->limit / FLOOR;
	if (a->now < least)
		a->now = least;
	if (a->now < 1)
		a->now = 1;
	if (a->now > (double)a->limit)
		a->now = (double)a->limit;
}

static bool is_slow(struct aimd *a)
{
	if (a->first_ms <= 0)
		return false;
	if (a->base_ms <= 0 || a->first_ms < a->base_ms)
		a->base_ms = a->first_ms;
	bool slow = a->first_ms > SLOW * a->base_ms && a->first_ms > a->base_ms + SLOW_MS;
	a->base_ms += BASE_DRIFT * (a->first_ms - a->base_ms);
	return slow;
}

static void end_round(struct aimd *a, int64_t now_us)
{
	bool slow = is_slow(a);
	if (a->troubled > 0 && a->troubled * TROUBLE >= a->good + a->troubled) {
		a->now *= CUT;
		a->cuts++;
	} else if (slow) {
		a->now *= CUT_SLOW;
		a->cuts++;
	} else if (a->good > 0) {
		a->now += a->limit > STEPS ? (double)a->limit / STEPS : 1;
	}
	bound(a);
	a->round_us = now_us;
	a->good = a->troubled = 0;
	a->first_ms = 0;
}

static int64_t grown(uint64_t now, uint64_t *before)
{
	int64_t n = now > *before && now - *before < 1 << 30 ? (int64_t)(now - *before) : 0;
	*before = now;
	return n;
}

void aimd_report(struct aimd *a, struct aimd_seen *seen, const Penstock__LeaseUse *use,
		 int64_t now_us)
{
	a->good += grown(use->good, &seen->good);
	a->troubled += grown(use->troubled, &seen->troubled);
	if ((double)use->first_token_ms > a->first_ms)
		a->first_ms = (double)use->first_token_ms;
	if (now_us - a->round_us >= AIMD_ROUND_US)
		end_round(a, now_us);
}

int64_t aimd_now(const struct aimd *a)
{
	return a->now < 1 ? 1 : (int64_t)a->now;
}
