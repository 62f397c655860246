/* What an edge needs around it, with a real nats-server: the streams, a tenant with a key, and a
 * router that stores whatever it is told and says so, and leases what it is asked for.
 *
 * Channels that begin with "eph" are ephemeral, and so are events of the type "pulse", which may go
 * the direct road. Threads: one of its own; start and stop by the
 * test's. */
#ifndef PENSTOCK_TEST_PLANE_H
#define PENSTOCK_TEST_PLANE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/rng.h"

#define PLANE_TOKEN    "pk_k1_s3cret"
#define PLANE_CHANNELS 3 /* "room.0" … are counted */

struct plane {
	char url[64];
	pthread_t thread;
	struct loop *loop;
	struct bus *bus;
	struct topology *topology;
	struct rng rng;
	int put; /* documents that the bucket took */
	_Atomic bool ready;
	_Atomic int64_t stored[PLANE_CHANNELS];
};

void plane_start(struct plane *p, int nats_port); /* returns when it is ready */
void plane_stop(struct plane *p);

#endif
