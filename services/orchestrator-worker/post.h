/* Makes the requests of outgoing webhooks that the event-store hands out (proto/hook.proto): one
 * request, one answer, nothing kept. What is asked and not answered, as by a worker that dies, is
 * handed out again.
 *
 * Whoever asks has signed and counts; here is only the network, and the guard before it: what may
 * not go to private addresses goes through a client that cannot (http.h). Bound: POSTS_MAX at once,
 * beyond that the answer is `busy`. Threads: the loop's. */
#ifndef WORKER_POST_H
#define WORKER_POST_H

#include "common/bus.h"
#include "common/metrics.h"
#include "services/orchestrator-worker/http.h"

#define POSTS_MAX 512

struct posts;

/* All is borrowed. NULL on failure. */
struct posts *posts_start(struct bus *bus, struct loop *loop, struct http_client *open,
			  struct http_client *guarded, struct metrics *metrics, struct error *err);
/* Takes no new ones; those that run go on. NULL is fine. */
void posts_drain(struct posts *p);
/* Takes new ones again. */
int posts_undrain(struct posts *p, struct error *err) MUST_CHECK;
/* Leaves what runs. Before bus_free and the clients' end. NULL is fine. */
void posts_free(struct posts *p);

#endif
