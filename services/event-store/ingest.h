/* From the stream EVENTS into a sink: exactly once, in the order of the stream, without a hole.
 *
 * Whoever leads reads with a private consumer, from the position on that the sink keeps in the same
 * transaction as the rows; nothing is acknowledged to the broker. So the position means that
 * everything up to it is stored, and a task's transitions are folded in their order. A batch that
 * could not be written is kept and written again for ever; with the lead, the database or the
 * broker what is held is let go, and read again from the position.
 *
 * Bounds: at most 2 batches of messages, and about conf.bytes_max, are held; beyond that nothing is
 * asked for and the stream keeps them. Threads: the loop's. Works on a simulated loop with any bus
 * and sink. */
#ifndef PENSTOCK_EVENT_STORE_INGEST_H
#define PENSTOCK_EVENT_STORE_INGEST_H

#include "common/bus.h"
#include "common/loop.h"
#include "common/metrics.h"
#include "services/event-store/sink.h"

struct ingest;

struct ingest_conf {
	uint64_t epoch;
	size_t batch_max;  /* messages in a batch; 0: 2,000 */
	size_t bytes_max;  /* of what is held; 0: 32 MiB */
	int64_t gather_us; /* at most one batch in this time, unless it is full; 0: 20 ms. Up to
			      8 times as long when many messages come */
};

/* Everything is borrowed and must outlive it. changed (may be NULL): standing or position changed.
 */
struct ingest *ingest_start(struct bus *bus, struct loop *loop, struct store_sink *sink,
			    struct metrics *metrics, const struct ingest_conf *conf,
			    void (*changed)(void *arg), void *arg);
enum store_standing ingest_standing(const struct ingest *in);
/* The stream is not the one that was stored (made anew, or it lost its newest messages): nothing is
 * ingested until that changes; logged. */
bool ingest_broken(const struct ingest *in);
/* Broken because EVENTS was made anew, or is gone: its epoch is another one; start again from the
 * topology. */
bool ingest_anew(const struct ingest *in);
/* Committed without a hole; 0 while this process does not lead. */
uint64_t ingest_position(const struct ingest *in);
/* Stops asking for messages, finishes the batch that is being written, lets go of the rest, then
 * calls done (once, perhaps in a later turn). */
void ingest_stop(struct ingest *in, void (*done)(void *arg), void *arg);
/* The broker was away: looks whether the stream is still the one that was stored before going on.
 */
void ingest_recheck(struct ingest *in);
/* Lets go of all that belongs to the bus and the loop, at once, also without ingest_stop. The sink
 * must have no batch in its hands any more (or never touch it again). Before bus_free; NULL is
 * fine. */
void ingest_close(struct ingest *in);
/* After ingest_close and bus_free: no callback can come any more. NULL is fine. */
void ingest_free(struct ingest *in);

#endif
