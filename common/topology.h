/* The streams and buckets of docs/internals.md: makes what is missing, on every service's start.
 *
 * Keeps trying until all are there, then calls ready once, on the loop. Threads: the bus's loop. */
#ifndef PENSTOCK_TOPOLOGY_H
#define PENSTOCK_TOPOLOGY_H

#include "common/bus.h"

struct topology;

struct topology_conf {
	int replicas;
	int64_t dedupe_ms;        /* of EVENTS, TASKS and BACKLOG; 0: ten minutes */
	int64_t events_max_bytes; /* EVENTS; 0: 8 GiB */
	int64_t tasks_max_bytes;  /* TASKS and BACKLOG each; 0: 2 GiB */
};

/* epoch: the life of EVENTS, its creation time in microseconds; clients see it in hex. */
typedef void topology_ready_fn(void *arg, uint64_t epoch);

struct topology *topology_start(struct bus *bus, struct loop *loop,
				const struct topology_conf *conf, topology_ready_fn *ready,
				void *arg);
void topology_stop(struct topology *topology); /* NULL is fine */

#define EPOCH_LEN 16
void epoch_format(uint64_t epoch, char out[EPOCH_LEN + 1]);
bool epoch_parse(const char *text, uint64_t *epoch);

#endif
