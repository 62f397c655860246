#include "services/router/window.h"

#include <assert.h>

int64_t window_size(int64_t slots, int64_t weight, int64_t weights, int64_t tasks_running)
{
	if (weight < 1)
		weight = 1;
	if (weights < weight)
		weights = weight;
	int64_t size = (int64_t)((__int128)2 * slots * weight / weights);
	if (size > tasks_running)
		size = tasks_running;
	return size < 1 ? 1 : size;
}

static int64_t places_taken(const struct window *w)
{
	return w->ready + w->sending + w->moving;
}

enum window_place window_place(const struct window *w, int64_t size, int64_t tasks_queued)
{
	bool behind = !w->known || w->waiting > 0 || w->parking > 0;
	if (!behind && places_taken(w) < size)
		return WINDOW_READY;
	/* Unknown counts are no reason to refuse: the look at the streams is under way. */
	if (w->known && w->waiting + w->parking >= tasks_queued)
		return WINDOW_FULL;
	return WINDOW_BACKLOG;
}

void window_send(struct window *w, enum window_place place)
{
	assert(place != WINDOW_FULL);
	if (place == WINDOW_READY)
		w->sending++;
	else
		w->parking++;
}

void window_sent(struct window *w, enum window_place place, bool stored)
{
	assert(place != WINDOW_FULL);
	int64_t *going = place == WINDOW_READY ? &w->sending : &w->parking;
	if (*going > 0)
		(*going)--;
	if (!stored)
		return;
	if (place == WINDOW_READY) {
		w->ready++;
		w->new_ready++;
	} else {
		w->waiting++;
		w->new_waiting++;
	}
}

int64_t window_credit(const struct window *w, int64_t size)
{
	int64_t places = size - places_taken(w);
	int64_t left = w->waiting - w->moving;
	int64_t credit = places < left ? places : left;
	return credit > 0 && w->known ? credit : 0;
}

void window_move(struct window *w)
{
	w->moving++;
	/* Delivered although not counted: it is there after all. */
	if (w->waiting < w->moving)
		w->waiting = w->moving;
}

void window_moved(struct window *w, bool moved, bool duplicate)
{
	if (w->moving > 0)
		w->moving--;
	if (!moved)
		return;
	if (w->waiting > 0)
		w->waiting--;
	if (!duplicate) {
		w->ready++;
		w->new_ready++;
	}
}

void window_end(struct window *w)
{
	if (w->ready > 0)
		w->ready--;
}

void window_ask(struct window *w)
{
	w->new_ready = 0;
	w->new_waiting = 0;
}

void window_told(struct window *w, int64_t tasks, int64_t backlog)
{
	w->known = true;
	w->ready = tasks + w->new_ready;
	w->waiting = backlog + w->new_waiting;
	if (w->waiting < w->moving)
		w->waiting = w->moving;
}

bool window_busy(const struct window *w)
{
	return w->ready > 0 || w->sending > 0 || w->waiting > 0 || w->parking > 0 || w->moving > 0;
}
