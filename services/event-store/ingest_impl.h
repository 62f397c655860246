/* What the files of ingest.h share. ingest.c: life and writing; ingest_order.c: taking in, in
 * order; ingest_place.c: taking the lead and finding the place in the stream. */
#ifndef PENSTOCK_EVENT_STORE_INGEST_IMPL_H
#define PENSTOCK_EVENT_STORE_INGEST_IMPL_H

#include "common/ids.h"
#include "common/rng.h"
#include "services/event-store/ingest.h"
#include "services/event-store/queue.h"

#define INGEST_RETRY_FIRST_US 100000
#define INGEST_RETRY_MAX_US   5000000
#define INGEST_QUIET_US       500000

struct ingest {
	struct bus *bus;
	struct loop *loop;
	struct store_sink *sink;
	struct ingest_conf conf;
	void (*changed)(void *arg);
	void *arg;
	struct bus_consumer *consumer;
	enum store_standing standing;
	bool placed;                  /* leading, and the stream told where it begins */
	uint64_t position;            /* committed */
	uint64_t first_seq;           /* while placing */
	char position_id[ID_LEN + 1]; /* its event, as stored; "" not known */
	int ack_wait_ms;
	uint64_t next;              /* the sequence whose turn it is */
	struct store_queue ready;   /* in order, without a hole, up to next - 1 */
	struct store_queue ahead;   /* in order, beyond next */
	struct store_batch writing; /* n > 0: the sink has it */
	size_t held_bytes, typical; /* of all three; of a message, decaying maximum */
	uint64_t known;             /* the stream reached to here when this process took the lead */
	int64_t heard_us;           /* when the consumer delivered something of late */
	bool placing;               /* the checks of place() are under way */
	uint64_t fetching;          /* a bus_get for this sequence is under way; 0: none */
	int64_t
	    missing_since_us;  /* next is not found although it should be there; 0: it is not so */
	bool anew;             /* it was made anew, or is gone */
	bool broken;           /* the stream is not what was stored: nothing is ingested */
	int failures;          /* writes in a row */
	int64_t wrote_us;      /* when the last write began */
	int64_t gather_us;     /* how long after it the next one gathers, by what comes of late */
	int64_t not_before_us; /* back-off */
	struct timer flush, again, quiet;
	struct loop_hook hook;
	struct rng rng;
	bool stopping;
	void (*stopped)(void *arg);
	void *stopped_arg;
	struct metric *m_messages, *m_batches, *m_failures, *m_repeats, *m_fetched, *m_poison;
	struct metric *m_held, *m_held_bytes, *m_position, *m_leading, *m_lag_s;
	struct histogram *m_commit;
};

/* ingest.c */
void ingest_tell(struct ingest *in);
void ingest_ask(struct ingest *in);
void ingest_maybe_write(struct ingest *in);
enum ingest_fate { INGEST_ACK, INGEST_GIVE_BACK };
/* Ends an item: its claim, its bytes. */
void ingest_settle(struct ingest *in, struct store_item *item, enum ingest_fate fate);
/* All that waits, to be delivered to somebody else. */
void ingest_give_back(struct ingest *in);

/* ingest_order.c */
bus_deliver_fn ingest_deliver;
/* What waited for its turn and has it now; fetches what is missing before the rest. */
void ingest_promote(struct ingest *in);
void ingest_fill_hole(struct ingest *in);
/* The lead was taken: what the one before had in its hands is not waited for. */
void ingest_watch_quiet(struct ingest *in);
void ingest_on_quiet(struct timer *timer, void *arg);

/* ingest_place.c */
/* Looks where in the stream to go on, and whether it is still the stream that was stored. */
void ingest_place(struct ingest *in);
void ingest_on_standing(void *arg, enum store_standing standing, uint64_t position,
			const char *event_id);

#endif
