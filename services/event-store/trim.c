#include "services/event-store/trim.h"

#include <stdlib.h>

#include "common/log.h"
#include "common/names.h"
#include "common/strbuf.h"

#define PERIOD_US 10000000

struct store_trim {
	struct bus *bus;
	struct loop *loop;
	struct store_trim_conf conf;
	uint64_t epoch;
	store_trim_hold_fn *hold;
	void *source;
	void (*anew)(void *arg);
	void *arg;
	struct timer timer;
	bool stopped;
	struct store_trim_view view;
	uint64_t position; /* of this look; the next look's `committed` */
	uint64_t lo, hi;   /* the search for the first young one: it is in [lo, hi] */
	uint64_t cut;      /* what is being trimmed */
	struct metric *m_trims, *m_trimmed, *m_failures, *m_lag, *m_bytes, *m_first;
};

uint64_t store_trim_point(const struct store_trim_conf *conf, const struct store_trim_view *v)
{
	uint64_t want = v->young, limit = v->committed + 1;

	if (!v->committed || !v->msgs)
		return 0;
	if (v->bytes > conf->keep_bytes) {
		/* As if all were of the same size; the next look corrects it. */
		double share = (double)(v->bytes - conf->keep_bytes) / (double)v->bytes;
		uint64_t beyond = v->first_seq + (uint64_t)(share * (double)v->msgs);
		want = beyond > want ? beyond : want;
	}
	if (v->oldest_open && v->bytes <= conf->task_max_bytes && v->oldest_open < limit)
		limit = v->oldest_open;
	uint64_t point = want < limit ? want : limit;
	return point > v->first_seq ? point : 0;
}

static void again(struct store_trim *t)
{
	/* Only a look that was made counts as the one before. */
	t->view.committed = t->position;
	if (!t->stopped)
		timer_set(t->loop, &t->timer, t->conf.period_us);
}

static void on_trimmed(void *arg, enum bus_result result)
{
	struct store_trim *t = arg;

	if (result == BUS_OK) {
		metric_add(t->m_trims, 1);
		metric_add(t->m_trimmed, (int64_t)(t->cut - t->view.first_seq));
		log_at(LOG_DEBUG, "stream trimmed", LOG_I("from", t->view.first_seq),
		       LOG_I("to", t->cut), LOG_I("committed", t->view.committed));
	} else {
		metric_add(t->m_failures, 1);
	}
	again(t);
}

static void cut(struct store_trim *t)
{
	t->cut = store_trim_point(&t->conf, &t->view);
	if (t->cut && !t->stopped)
		bus_stream_trim(t->bus, STREAM_EVENTS, t->cut, on_trimmed, t);
	else
		again(t);
}

static void search(struct store_trim *t);

/* A hole in the sequences counts as young: then less is dropped, not more. */
static void on_probe(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct store_trim *t = arg;
	uint64_t mid = t->lo + (t->hi - t->lo) / 2;
	int64_t young_us = loop_wall_us(t->loop) - t->conf.keep_ms * 1000;

	if (result != BUS_OK && result != BUS_NOT_FOUND) {
		again(t);
		return;
	}
	if (result == BUS_OK && msg->time_us && msg->time_us < young_us)
		t->lo = mid + 1;
	else
		t->hi = mid;
	search(t);
}

/* The stream is in the order of time, so halving finds the first young one in some twenty steps. */
static void search(struct store_trim *t)
{
	if (t->lo >= t->hi || t->stopped) {
		t->view.young = t->lo;
		cut(t);
		return;
	}
	bus_get(t->bus, STREAM_EVENTS, t->lo + (t->hi - t->lo) / 2, on_probe, t);
}

static void on_info(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct store_trim *t = arg;

	if (result != BUS_OK) {
		again(t);
		return;
	}
	if (info->created_us && (uint64_t)info->created_us != t->epoch) {
		t->position = 0;
		if (t->anew)
			t->anew(t->arg);
		again(t);
		return;
	}
	t->view.first_seq = info->first_seq;
	t->view.msgs = info->msgs;
	t->view.bytes = info->bytes;
	t->view.young = 0;
	metric_set(t->m_bytes, (int64_t)info->bytes);
	metric_set(t->m_first, (int64_t)info->first_seq);
	metric_set(t->m_lag,
		   info->last_seq > t->position ? (int64_t)(info->last_seq - t->position) : 0);
	t->lo = info->first_seq;
	t->hi = t->view.committed + 1;
	if (!t->view.committed || !info->msgs || t->lo >= t->hi)
		again(t);
	else
		search(t);
}

static void on_hold(void *arg, const struct store_hold *hold)
{
	struct store_trim *t = arg;

	if (!hold->known ||
	    t->stopped) { /* somebody else leads, or PostgreSQL is away: nothing may go */
		t->position = 0;
		again(t);
		return;
	}
	t->position = hold->position;
	t->view.oldest_open = hold->oldest_open;
	bus_stream_info(t->bus, STREAM_EVENTS, NULL, on_info, t);
}

static void on_timer(struct timer *timer, void *arg)
{
	struct store_trim *t = arg;

	(void)timer;
	t->hold(t->source, t->conf.task_max_ms, on_hold, t);
}

struct store_trim *store_trim_start(struct bus *bus, struct loop *loop,
				    const struct store_trim_conf *conf, uint64_t epoch,
				    store_trim_hold_fn *hold, void *source, void (*anew)(void *arg),
				    void *arg, struct metrics *m)
{
	struct store_trim *t = xcalloc(1, sizeof(*t));

	*t = (struct store_trim){.bus = bus,
				 .loop = loop,
				 .conf = *conf,
				 .epoch = epoch,
				 .hold = hold,
				 .source = source,
				 .anew = anew,
				 .arg = arg};
	t->conf.period_us = conf->period_us ? conf->period_us : PERIOD_US;
	t->m_trims =
	    metrics_counter(m, "penstock_store_trims_total", NULL, "Times EVENTS was trimmed");
	t->m_trimmed = metrics_counter(m, "penstock_store_trimmed_messages_total", NULL,
				       "Messages that trimming removed");
	t->m_failures = metrics_counter(m, "penstock_store_trim_failures_total", NULL,
					"Trims that the broker did not confirm");
	t->m_lag =
	    metrics_gauge(m, "penstock_store_lag_messages", NULL,
			  "Messages in EVENTS beyond the committed position, at the last look");
	t->m_bytes = metrics_gauge(m, "penstock_store_stream_bytes", NULL, "Size of EVENTS");
	t->m_first = metrics_gauge(m, "penstock_store_stream_first_seq", NULL,
				   "First sequence that EVENTS still has");
	timer_init(&t->timer, on_timer, t);
	timer_set(loop, &t->timer, t->conf.period_us);
	return t;
}

void store_trim_stop(struct store_trim *t)
{
	if (!t)
		return;
	t->stopped = true;
	timer_cancel(t->loop, &t->timer);
}

void store_trim_free(struct store_trim *t)
{
	free(t);
}
