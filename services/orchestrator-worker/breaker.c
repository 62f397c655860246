#include "services/orchestrator-worker/breaker.h"

#include <assert.h>
#include <string.h>

static void move(struct breaker *b, enum breaker_state to)
{
	b->state = to;
	b->generation++;
	b->probes = b->answered = 0;
	if (to == BREAKER_CLOSED) {
		memset(b->window, 0, sizeof(b->window));
		b->open_ms = 0;
	}
}

static void open(struct breaker *b, int64_t now_ms)
{
	b->open_ms = b->open_ms == 0 ? BREAKER_OPEN_MS : 2 * b->open_ms;
	if (b->open_ms > BREAKER_OPEN_MAX_MS)
		b->open_ms = BREAKER_OPEN_MAX_MS;
	b->until_ms = now_ms + b->open_ms;
	move(b, BREAKER_OPEN);
}

int64_t breaker_wait_ms(const struct breaker *b, int64_t now_ms)
{
	switch (b->state) {
	case BREAKER_CLOSED:
		break;
	case BREAKER_OPEN:
		return b->until_ms > now_ms ? b->until_ms - now_ms : 0;
	case BREAKER_PROBING:
		return b->probes + b->answered < BREAKER_PROBES ? 0 : BREAKER_PROBE_WAIT_MS;
	}
	return 0;
}

unsigned breaker_begin(struct breaker *b, int64_t now_ms)
{
	assert(breaker_wait_ms(b, now_ms) == 0);
	if (b->state == BREAKER_OPEN)
		move(b, BREAKER_PROBING);
	if (b->state == BREAKER_PROBING)
		b->probes++;
	return b->generation;
}

static bool end_probe(struct breaker *b, enum breaker_end end, int64_t now_ms)
{
	b->probes--; /* in its place another one may go */
	if (end == BREAKER_FAILED) {
		open(b, now_ms);
		return true;
	}
	if (end == BREAKER_ANSWERED && ++b->answered == BREAKER_PROBES) {
		move(b, BREAKER_CLOSED);
		return true;
	}
	return false;
}

bool breaker_end(struct breaker *b, unsigned generation, enum breaker_end end, int64_t now_ms)
{
	if (generation != b->generation)
		return false;
	if (b->state == BREAKER_PROBING)
		return end_probe(b, end, now_ms);
	if (end == BREAKER_NOTHING)
		return false;
	int64_t second = now_ms / 1000;
	size_t at = (size_t)(second % BREAKER_WINDOW_S);
	if (b->window[at].second != second) {
		b->window[at].second = second;
		b->window[at].calls = b->window[at].failed = 0;
	}
	b->window[at].calls++;
	b->window[at].failed += end == BREAKER_FAILED;
	unsigned calls = 0, failed = 0;
	for (size_t i = 0; i < BREAKER_WINDOW_S; i++) {
		if (b->window[i].second <= second - BREAKER_WINDOW_S)
			continue;
		calls += b->window[i].calls;
		failed += b->window[i].failed;
	}
	if (calls < BREAKER_CALLS_MIN || failed * BREAKER_FAILED_PART < calls)
		return false;
	open(b, now_ms);
	return true;
}
