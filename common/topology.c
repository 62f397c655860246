#include "common/topology.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/members.h"
#include "common/names.h"
#include "common/strbuf.h"

#define DEDUPE_MS      600000
#define DELTAS_MS      900000
#define RECEIPTS_MS    86400000
#define RECEIPTS_BYTES ((int64_t)256 << 20)
/* The first try is before the connection stands, so the next ones are soon. */
#define RETRY_MIN_US 5000
#define RETRY_MAX_US 500000
#define GIB          ((int64_t)1 << 30)
#define BYTES_MIN    ((int64_t)64 << 20)

enum {
	STEP_EVENTS,
	STEP_DELTAS,
	STEP_TASKS,
	STEP_BACKLOG,
	STEP_RECEIPTS,
	STEP_CONFIG,
	STEP_MEMBERS,
	STEP_INFO
};

struct topology {
	struct bus *bus;
	struct loop *loop;
	struct topology_conf conf;
	topology_ready_fn *ready;
	void *arg;
	int step;
	int halvings; /* of the current stream's bytes: the broker had not that much room */
	int failures;
	int64_t retry_us; /* the next wait */
	struct timer retry;
};

static void step(struct topology *t);

static void again(struct topology *t, enum bus_result result)
{
	/* The first ones are normal: the broker starts at the same time. */
	if (++t->failures % 20 == 0)
		log_at(LOG_WARN, "streams are not there yet", LOG_I("step", t->step),
		       LOG_S("result", bus_result_name(result)),
		       LOG_S("error", bus_error_text(t->bus)));
	timer_set(t->loop, &t->retry, t->retry_us);
	t->retry_us = t->retry_us < RETRY_MAX_US / 2 ? 2 * t->retry_us : RETRY_MAX_US;
}

static void on_retry(struct timer *timer, void *arg)
{
	(void)timer;
	step(arg);
}

static void on_done(void *arg, enum bus_result result)
{
	struct topology *t = arg;

	if (result == BUS_OK) {
		t->step++;
		t->halvings = 0;
		t->retry_us = RETRY_MIN_US;
		step(t);
	} else {
		if (result == BUS_FULL) /* not so much room on its disk: less is better than none */
			t->halvings++;
		again(t, result);
	}
}

static void on_info(void *arg, enum bus_result result, const struct bus_stream_info *info)
{
	struct topology *t = arg;

	if (result == BUS_OK) {
		t->step++;
		t->ready(t->arg, (uint64_t)info->created_us);
	} else {
		/* It was just made; if it is gone, begin anew. */
		if (result == BUS_NOT_FOUND)
			t->step = STEP_EVENTS;
		again(t, result);
	}
}

static int64_t room(const struct topology *t, int64_t bytes)
{
	bytes >>= t->halvings < 40 ? t->halvings : 40;
	return bytes < BYTES_MIN ? BYTES_MIN : bytes;
}

static struct bus_stream_conf stream_conf(const struct topology *t)
{
	int64_t events = t->conf.events_max_bytes ? t->conf.events_max_bytes : 8 * GIB;
	int64_t tasks = t->conf.tasks_max_bytes ? t->conf.tasks_max_bytes : 2 * GIB;
	struct bus_stream_conf c = {.replicas = t->conf.replicas,
				    .dedupe_ms = t->conf.dedupe_ms ? t->conf.dedupe_ms : DEDUPE_MS};

	switch (t->step) {
	case STEP_EVENTS:
		c.name = STREAM_EVENTS;
		c.subject = "pen.evt.>";
		c.republish = "pen.live.>";
		c.discard_new = true;
		c.max_bytes = room(t, events);
		break;
	case STEP_DELTAS:
		c.name = STREAM_DELTAS;
		c.subject = "pen.dlt.>";
		c.republish = "pen.live.>";
		c.max_age_ms = DELTAS_MS;
		c.max_bytes = room(t, tasks);
		c.dedupe_ms = 0; /* fenced by attempt and index, no ids */
		break;
	case STEP_TASKS:
	case STEP_BACKLOG:
		c.name = t->step == STEP_TASKS ? STREAM_TASKS : STREAM_BACKLOG;
		c.subject = t->step == STEP_TASKS ? "pen.task.>" : "pen.wait.>";
		c.work_queue = true;
		c.discard_new = true;
		c.max_bytes = room(t, tasks);
		break;
	case STEP_RECEIPTS: /* an aid: the oldest goes, before anything else has no room */
		c.name = STREAM_RECEIPTS;
		c.subject = SUBJECT_RECEIPTS;
		c.work_queue = true;
		c.max_age_ms = RECEIPTS_MS;
		c.max_bytes = room(t, RECEIPTS_BYTES);
		c.dedupe_ms = 0; /* a state that is told twice is the same state */
		break;
	}
	return c;
}

static void step(struct topology *t)
{
	if (t->step <= STEP_RECEIPTS) {
		struct bus_stream_conf c = stream_conf(t);

		bus_stream_ensure(t->bus, &c, on_done, t);
	} else if (t->step == STEP_CONFIG || t->step == STEP_MEMBERS) {
		struct bus_bucket_conf c = {.name = BUCKET_CONFIG, .replicas = t->conf.replicas};

		if (t->step == STEP_MEMBERS) {
			c.name = BUCKET_MEMBERS;
			c.ttl_ms = MEMBER_TTL_MS;
		}
		bus_bucket_ensure(t->bus, &c, on_done, t);
	} else {
		bus_stream_info(t->bus, STREAM_EVENTS, NULL, on_info, t);
	}
}

struct topology *topology_start(struct bus *bus, struct loop *loop,
				const struct topology_conf *conf, topology_ready_fn *ready,
				void *arg)
{
	struct topology *t = xcalloc(1, sizeof(*t));

	t->bus = bus;
	t->loop = loop;
	t->conf = *conf;
	t->ready = ready;
	t->arg = arg;
	t->retry_us = RETRY_MIN_US;
	timer_init(&t->retry, on_retry, t);
	step(t);
	return t;
}

void topology_stop(struct topology *t)
{
	if (!t)
		return;
	timer_cancel(t->loop, &t->retry);
	bus_forget(t->bus, t);
	free(t);
}

void epoch_format(uint64_t epoch, char out[EPOCH_LEN + 1])
{
	snprintf(out, EPOCH_LEN + 1, "%016llx", (unsigned long long)epoch);
}

bool epoch_parse(const char *text, uint64_t *epoch)
{
	if (!text || strlen(text) != EPOCH_LEN || strspn(text, "0123456789abcdef") != EPOCH_LEN)
		return false;
	*epoch = strtoull(text, NULL, 16);
	return true;
}
