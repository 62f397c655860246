/* What the conformance tests run on: a bus from some factory, and waiting for what it does.
 *
 * A test never sleeps: it waits until something is so, within a deadline (simulated time for the
 * fake). That something does not happen is shown by a fence: a later round trip on the same
 * connection. */
#ifndef PENSTOCK_CONFORMANCE_WORLD_H
#define PENSTOCK_CONFORMANCE_WORLD_H

#include <check.h>

#include "common/bus.h"
#include "tests/unit/common/nats_server.h"

struct world;

struct factory {
	const char *name;
	void (*init)(struct world *w);
	struct bus *(*open)(struct world *w, const char *name);
	void (*down)(struct world *w); /* the broker dies without a word; what it stored stays */
	void (*up)(struct world *w);
	void (*done)(struct world *w);
};

extern const struct factory fake_factory, nats_factory;
extern const struct factory *factory; /* of the run */
extern const char *nats_url;          /* of the server that most tests share */

struct world {
	struct loop *loop;
	struct bus *bus, *other; /* two nodes */
	struct fake_broker *broker;
	struct nats_server server; /* of its own: only for tests that kill it */
	bool own_server;
	int fences;
	char prefix[32]; /* stream and subject names of this test begin with it: the server is
			    shared */
};

void world_open(struct world *w);
/* With a broker that may be taken down. */
void world_open_own(struct world *w);
void world_close(struct world *w);
/* Runs the loop until *n >= least; fails the test after ten seconds. */
void world_until(struct world *w, const int *n, int least);
/* A round trip to the broker: everything sent before has been handled, what it caused has come. */
void world_fence(struct world *w);
/* "<prefix>.<rest>", in a ring of static storage. */
const char *world_subject(const struct world *w, const char *rest);

/* A stream with subjects "<prefix>.>", named like the prefix. */
void world_stream(struct world *w, struct bus_stream_conf conf);
struct bus_ack world_store(struct world *w, const char *rest, const char *id, int64_t expect,
			   const char *data);

/* What callbacks gather. */
struct note {
	int n;
	struct world *w;
	enum bus_result result;
	char subject[128], data[128], stream[64], reply[128];
	uint64_t seq, prev;
	int64_t time_us;
	unsigned delivered;
	struct bus_ack ack;
	struct bus_stream_info info;
	struct bus_claim *claims[64];
	uint64_t seqs[64];
};
void note_msg(void *arg, const struct bus_msg *msg);
void note_answer(void *arg, enum bus_result result, const struct bus_msg *msg);
void note_done(void *arg, enum bus_result result);
void note_ack(void *arg, const struct bus_ack *ack);
void note_info(void *arg, enum bus_result result, const struct bus_stream_info *info);
void note_claim(void *arg, const struct bus_msg *msg, struct bus_claim *claim);

TCase *core_case(void);
TCase *stream_case(void);
TCase *consumer_case(void);
TCase *bucket_case(void);
TCase *outage_case(void);
TCase *nats_case(void); /* only for nats-server */

#endif
