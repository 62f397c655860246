#include "services/router/window.h"

#include <assert.h>

#define RETRY_MIN_MS     500
#define RETRY_UNKNOWN_MS 1000
#define RETRY_MAX_MS     60000
#define MEAN_OF          8 /* tickets, about */

struct window_size window_size(int64_t slots, int64_t weight, int64_t weights,
			       int64_t tasks_running, int64_t slot_tokens)
{
	if (weight < 1)
		weight = 1;
	if (weights < weight)
		weights = weight;
	int64_t share = (int64_t)((__int128)2 * slots * weight / weights);
	if (share < 1)
		share = 1;
	__int128 tokens = (__int128)share * slot_tokens;
	struct window_size size = {share, tokens < INT64_MAX ? (int64_t)tokens : INT64_MAX};
	if (size.tasks > tasks_running)
		size.tasks = tasks_running < 1 ? 1 : tasks_running;
	return size;
}

int64_t window_taken(const struct window *w)
{
	return w->ready + w->sending + w->moving;
}

int64_t window_queued(const struct window *w)
{
	return w->waiting + w->parking;
}

static int64_t tokens_taken(const struct window *w)
{
	return w->ready_tokens + w->going_tokens;
}

enum window_place window_place(const struct window *w, struct window_size size,
			       int64_t tasks_queued)
{
	bool behind = !w->known || w->waiting > 0 || w->parking > 0;
	if (!behind && window_taken(w) < size.tasks && tokens_taken(w) < size.tokens)
		return WINDOW_READY;
	/* Unknown counts are no reason to refuse: the look at the streams is under way. */
	if (w->known && window_queued(w) >= tasks_queued)
		return WINDOW_FULL;
	return WINDOW_BACKLOG;
}

static int64_t bounded(int64_t tokens)
{
	return tokens < 0 ? 0 : tokens < WINDOW_TOKENS_MAX ? tokens : WINDOW_TOKENS_MAX;
}

static void take_from(int64_t *count, int64_t n)
{
	*count = *count > n ? *count - n : 0;
}

static void saw(struct window *w, int64_t tokens)
{
	if (w->mean_tokens == 0)
		w->mean_tokens = tokens;
	else
		w->mean_tokens += (tokens - w->mean_tokens) / MEAN_OF;
}

void window_send(struct window *w, enum window_place place, int64_t tokens)
{
	assert(place != WINDOW_FULL);
	tokens = bounded(tokens);
	saw(w, tokens);
	if (place == WINDOW_READY) {
		w->sending++;
		w->going_tokens += tokens;
	} else {
		w->parking++;
		take_from(&w->refused, 1); /* whoever was refused and found a place waits no more */
	}
}

static void became_ready(struct window *w, int64_t tokens)
{
	w->ready++;
	w->new_ready++;
	w->ready_tokens += tokens;
}

void window_sent(struct window *w, enum window_place place, int64_t tokens, bool stored)
{
	assert(place != WINDOW_FULL);
	tokens = bounded(tokens);
	take_from(place == WINDOW_READY ? &w->sending : &w->parking, 1);
	if (place == WINDOW_READY)
		take_from(&w->going_tokens, tokens);
	if (!stored)
		return;
	if (place == WINDOW_READY) {
		became_ready(w, tokens);
	} else {
		w->waiting++;
		w->new_waiting++;
	}
}

int64_t window_credit(const struct window *w, struct window_size size)
{
	int64_t credit = size.tasks - window_taken(w);
	int64_t left = w->waiting - w->moving;
	int64_t room = size.tokens - tokens_taken(w);
	if (credit > left)
		credit = left;
	/* What comes is not known yet. Beyond its room at most the difference to the mean. */
	if (w->mean_tokens > 0 && credit > room / w->mean_tokens)
		credit = room > 0 && room < w->mean_tokens ? 1 : room / w->mean_tokens;
	return credit > 0 && w->known && room > 0 ? credit : 0;
}

void window_move(struct window *w, int64_t tokens)
{
	tokens = bounded(tokens);
	saw(w, tokens);
	w->moving++;
	w->going_tokens += tokens;
	/* Delivered although not counted: it is there after all. */
	if (w->waiting < w->moving)
		w->waiting = w->moving;
}

void window_moved(struct window *w, int64_t tokens, bool moved, bool duplicate)
{
	tokens = bounded(tokens);
	take_from(&w->moving, 1);
	take_from(&w->going_tokens, tokens);
	if (!moved)
		return;
	take_from(&w->waiting, 1);
	w->left++;
	if (!duplicate)
		became_ready(w, tokens);
}

/* Nobody is left, so nothing is: what errors there were in the tokens end here. */
static void settle(struct window *w)
{
	if (w->ready == 0)
		w->ready_tokens = 0;
}

void window_end(struct window *w, int64_t tokens)
{
	take_from(&w->ready, 1);
	take_from(&w->ready_tokens, bounded(tokens));
	settle(w);
}

void window_ask(struct window *w, int64_t now_us)
{
	w->new_ready = 0;
	w->new_waiting = 0;
	if (w->asked_us > 0) {
		w->period_us = now_us - w->asked_us;
		w->period_left = w->left;
	}
	w->asked_us = now_us;
	w->left = 0;
}

void window_told(struct window *w, int64_t tasks, int64_t backlog)
{
	int64_t before = w->ready;
	w->known = true;
	w->ready = tasks + w->new_ready;
	w->waiting = backlog + w->new_waiting;
	if (w->waiting < w->moving)
		w->waiting = w->moving;
	if (w->waiting == 0)
		w->refused = 0;
	if (w->ready < before) /* ends that were lost: of those that were there, on the average */
		w->ready_tokens = (int64_t)((__int128)w->ready_tokens * w->ready / before);
	else
		w->ready_tokens += (w->ready - before) * w->mean_tokens;
	settle(w);
}

int64_t window_retry_ms(struct window *w)
{
	int64_t ms = RETRY_UNKNOWN_MS;
	w->refused++;
	if (w->period_us > 0 && w->period_left > 0)
		ms = (int64_t)((__int128)w->period_us * w->refused / w->period_left / 1000);
	else if (w->period_us > 0)
		ms = RETRY_UNKNOWN_MS * (w->refused < 10 ? w->refused : 10);
	return ms < RETRY_MIN_MS ? RETRY_MIN_MS : ms > RETRY_MAX_MS ? RETRY_MAX_MS : ms;
}

bool window_busy(const struct window *w)
{
	return w->ready > 0 || w->sending > 0 || w->waiting > 0 || w->parking > 0 || w->moving > 0;
}
