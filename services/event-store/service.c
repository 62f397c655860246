#include "services/event-store/service.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "common/admin.h"
#include "common/bus_nats.h"
#include "common/log.h"
#include "common/members.h"
#include "common/topology.h"
#include "services/event-store/hooks.h"
#include "services/event-store/ingest.h"
#include "services/event-store/query.h"
#include "services/event-store/receipts.h"
#include "services/event-store/release.h"
#include "services/event-store/sink_pg.h"
#include "services/event-store/trim.h"

/* Together below the ten seconds that a stop may take. */
#define STOP_BATCH_US    4000000
#define STOP_QUERIES_MS  1000
#define STOP_RECEIPTS_MS 1000
#define STOP_RELEASE_MS  500
#define STOP_HOOKS_MS    500
#define STOP_SINK_MS     2000
#define STOP_FLUSH_MS    1000

struct service {
	const struct store_config *config;
	struct loop *loop;
	struct metrics *metrics;
	struct admin *admin;
	struct bus *bus;
	struct topology *topology;
	struct members *members;
	struct store_pg *pg;
	struct ingest *ingest;
	struct store_query *query;
	struct store_receipts *receipts;
	struct store_release *release;
	struct store_hooks *hooks;
	struct store_trim *trim;
	struct timer stop_timer;
	bool stopping;
	enum store_end end;
	struct error failure; /* of starting the parts */
};

static void on_stopped(void *arg)
{
	struct service *s = arg;
	loop_stop(s->loop);
}

static void stop(struct service *s, enum store_end end)
{
	if (s->stopping)
		return;
	s->stopping = true;
	s->end = end;
	admin_ready(s->admin, false, "stopping");
	timer_set(s->loop, &s->stop_timer, STOP_BATCH_US);
	if (s->ingest)
		ingest_stop(s->ingest, on_stopped, s);
	else
		loop_stop(s->loop);
}

static void on_stop_timer(struct timer *timer, void *arg)
{
	struct service *s = arg;

	(void)timer;
	log_at(LOG_WARN, "the last batch is given up; it will be read again");
	loop_stop(s->loop);
}

static void on_signal(int signo, void *arg)
{
	log_at(LOG_INFO, "stopping", LOG_I("signal", signo));
	stop(arg, STORE_END_STOPPED);
}

static const char *not_ready(const struct service *s)
{
	if (!bus_connected(s->bus))
		return "no connection to NATS";
	if (!s->ingest)
		return "the streams are not there yet";
	if (ingest_broken(s->ingest))
		return "EVENTS is not the stream that was stored";
	if (ingest_standing(s->ingest) == STORE_AWAY)
		return "no connection to PostgreSQL";
	return NULL;
}

static void review(void *arg)
{
	struct service *s = arg;

	if (s->stopping)
		return;
	store_hooks_poke(s->hooks);
	const char *why = not_ready(s);
	admin_ready(s->admin, !why, why);
	if (s->ingest && ingest_anew(s->ingest)) {
		log_at(LOG_WARN, "EVENTS is another stream now; starting again with it");
		stop(s, STORE_END_ANEW);
	}
}

static void on_state(void *arg, bool connected)
{
	struct service *s = arg;

	if (connected && s->ingest)
		ingest_recheck(s->ingest);
	review(s);
}

/* Nothing is trimmed on the word of a database that does not fit the stream. */
static void ask_hold(void *source, int64_t task_max_ms,
		     void (*fn)(void *arg, const struct store_hold *hold), void *arg)
{
	struct service *s = source;

	if (ingest_broken(s->ingest))
		task_max_ms = -1;
	store_pg_ask_hold(s->pg, task_max_ms, fn, arg);
}

static void on_anew(void *arg)
{
	struct service *s = arg;
	ingest_recheck(s->ingest);
}

static int start_parts(struct service *s, uint64_t epoch, struct error *err)
{
	const struct store_config *c = s->config;
	struct store_pg_conf pg = {.dsn = c->pg_dsn, .retention_days = (int)c->retention_days};
	struct ingest_conf ingest = {.epoch = epoch,
				     .batch_max = (size_t)c->batch,
				     .bytes_max = (size_t)c->held_bytes,
				     .gather_us = c->gather_ms * 1000};
	struct store_query_conf query = {.dsn = c->pg_dsn,
					 .epoch = epoch,
					 .parts = (unsigned)c->common.parts,
					 .threads = (int)c->query_threads,
					 .queue_max = (size_t)c->query_queue};
	struct store_trim_conf trim = {.period_us = c->trim_ms * 1000,
				       .keep_ms = c->keep_ms,
				       .keep_bytes = (uint64_t)c->keep_bytes,
				       .task_max_ms = c->task_max_ms,
				       .task_max_bytes = (uint64_t)c->task_max_bytes};

	s->pg = store_pg_new(s->loop, &pg, s->metrics);
	s->ingest =
	    ingest_start(s->bus, s->loop, store_pg_sink(s->pg), s->metrics, &ingest, review, s);
	s->query = store_query_start(s->bus, s->loop, &query, s->metrics, err);
	if (!s->query)
		return -1;
	s->receipts = store_receipts_start(
	    s->bus, s->loop,
	    &(struct store_receipts_conf){.dsn = c->pg_dsn, .retention_days = (int)c->receipt_days},
	    s->metrics, err);
	if (!s->receipts)
		return -1;
	s->release =
	    store_release_start(s->bus, s->loop,
				&(struct store_release_conf){.dsn = c->pg_dsn,
							     .epoch = epoch,
							     .parts = (unsigned)c->common.parts,
							     .per_s = c->release_per_s},
				s->metrics);
	s->hooks = store_hooks_start(
	    s->bus, s->loop,
	    &(struct store_hooks_conf){.dsn = c->pg_dsn, .parts = (unsigned)c->common.parts},
	    s->metrics);
	s->trim =
	    store_trim_start(s->bus, s->loop, &trim, epoch, ask_hold, s, on_anew, s, s->metrics);
	s->members =
	    members_start(s->bus, s->loop, "store", c->common.instance, NULL, NULL, NULL, err);
	if (!s->members)
		return -1;
	members_count_into(s->members, s->metrics);
	return 0;
}

static void on_topology(void *arg, uint64_t epoch)
{
	struct service *s = arg;
	char text[EPOCH_LEN + 1];

	if (s->stopping)
		return;
	epoch_format(epoch, text);
	log_at(LOG_INFO, "the streams are there", LOG_S("epoch", text));
	if (start_parts(s, epoch, &s->failure))
		loop_stop(s->loop);
	else
		review(s);
}

static int open_all(struct service *s, struct error *err)
{
	const struct env_common *c = &s->config->common;
	struct bus_nats_conf bus = {.url = c->nats_url, .name = c->instance};
	struct topology_conf topology = {.replicas = (int)c->replicas, .dedupe_ms = c->dedupe_ms};

	s->loop = loop_new(err);
	if (!s->loop || loop_signal(s->loop, SIGTERM, on_signal, s, err) ||
	    loop_signal(s->loop, SIGINT, on_signal, s, err))
		return -1;
	bus.metrics = s->metrics = metrics_new();
	s->admin = admin_start(c->admin_addr, (int)c->admin_port, s->metrics, err);
	if (!s->admin)
		return -1;
	log_at(LOG_INFO, "started", LOG_I("admin_port", admin_port(s->admin)));
	s->bus = bus_nats_open(s->loop, &bus, err);
	if (!s->bus)
		return -1;
	timer_init(&s->stop_timer, on_stop_timer, s);
	bus_on_state(s->bus, on_state, s);
	s->topology = topology_start(s->bus, s->loop, &topology, on_topology, s);
	review(s);
	return 0;
}

/* Takes NULL everywhere: whatever was started is ended. The order: who writes to the bus before the
 * bus, who is called back by the bus after it. */
static void close_all(struct service *s)
{
	struct error ignored;

	if (s->loop)
		timer_cancel(s->loop, &s->stop_timer);
	store_trim_stop(s->trim);
	store_query_stop(s->query, STOP_QUERIES_MS);
	store_receipts_stop(s->receipts, STOP_RECEIPTS_MS);
	store_release_stop(s->release, STOP_RELEASE_MS);
	store_hooks_stop(s->hooks, STOP_HOOKS_MS);
	store_pg_free(s->pg, STOP_SINK_MS);
	ingest_close(s->ingest);
	members_stop(s->members);
	topology_stop(s->topology);
	if (s->bus && bus_connected(s->bus) && bus_flush(s->bus, STOP_FLUSH_MS, &ignored))
		log_at(LOG_WARN, "the last acknowledgements may be lost",
		       LOG_S("error", ignored.msg));
	bus_free(s->bus);
	store_trim_free(s->trim);
	store_query_free(s->query);
	store_receipts_free(s->receipts);
	store_release_free(s->release);
	store_hooks_free(s->hooks);
	ingest_free(s->ingest);
	admin_stop(s->admin);
	loop_free(s->loop);
	bus_nats_shutdown();
	metrics_free(s->metrics);
}

int store_service_run(const struct store_config *config, enum store_end *end, struct error *err)
{
	struct service s = {.config = config};
	int rc = open_all(&s, err);

	if (!rc) {
		loop_run(s.loop);
		if (s.failure.code) {
			*err = s.failure;
			rc = -1;
		}
	}
	*end = s.end;
	close_all(&s);
	if (!rc)
		log_at(LOG_INFO, "stopped");
	return rc;
}
