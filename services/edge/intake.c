#include "services/edge/intake.h"

#define WINDOW_US 100000

/* How long the window's share of one rate lasts. */
static int64_t worth_us(uint32_t n, int64_t rate)
{
	return (int64_t)n * 1000000 / rate;
}

bool intake_count(struct intake *in, const struct intake_rates *rates, uint32_t messages,
		  uint32_t bytes, int64_t now_us)
{
	int64_t a, b;
	bool was = in->until_us != 0;

	if (now_us - in->since_us >= WINDOW_US && !was) {
		in->since_us = now_us;
		in->messages = in->bytes = 0;
	}
	in->messages += messages;
	in->bytes += bytes;
	a = worth_us(in->messages, rates->messages);
	b = worth_us(in->bytes, rates->bytes);
	if (a <= WINDOW_US && b <= WINDOW_US)
		return false;
	in->until_us = in->since_us + (a > b ? a : b);
	return !was;
}

bool intake_resume(struct intake *in, int64_t now_us)
{
	if (!in->until_us || now_us < in->until_us)
		return false;
	in->until_us = 0;
	return true;
}
