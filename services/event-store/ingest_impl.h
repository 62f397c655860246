/* What the files of ingest.h share. ingest.c: life and writing; ingest_read.c: taking in;
 * ingest_place.c: taking the lead and finding the place in the stream. */
#ifndef PENSTOCK_EVENT_STORE_INGEST_IMPL_H
#define PENSTOCK_EVENT_STORE_INGEST_IMPL_H

#include "common/ids.h"
#include "common/rng.h"
#include "services/event-store/ingest.h"
#include "services/event-store/queue.h"

#define INGEST_RETRY_FIRST_US 100000
#define INGEST_RETRY_MAX_US   5000000
#define INGEST_WATCH_US       2000000

struct ingest {
	struct bus *bus;
	struct loop *loop;
	struct store_sink *sink;
	struct ingest_conf conf;
	void (*changed)(void *arg);
	void *arg;
	struct bus_consumer *consumer; /* while placed */
	enum store_standing standing;
	bool placed;                  /* leading, and the stream told where it begins */
	uint64_t position;            /* committed */
	uint64_t first_seq;           /* while placing */
	char position_id[ID_LEN + 1]; /* its event, as stored; "" not known */
	uint64_t next;                /* what is to come is not below it */
	struct store_queue ready;     /* in order, up to next - 1 */
	struct store_batch writing;   /* n > 0: the sink has it */
	size_t held_bytes, typical;   /* of both; of a message, decaying maximum */
	uint64_t watched;             /* next, when the watch looked last */
	uint64_t overdue;      /* next, when the watch found it in the stream; 0: it did not */
	bool looking;          /* the watch asks the stream */
	bool placing;          /* the checks of place() are under way */
	bool anew;             /* it was made anew, or is gone */
	bool broken;           /* the stream is not what was stored: nothing is ingested */
	int failures;          /* writes in a row */
	int64_t wrote_us;      /* when the last write began */
	int64_t gather_us;     /* how long after it the next one gathers, by what comes of late */
	int64_t not_before_us; /* back-off */
	struct timer flush, again, watch;
	struct loop_hook hook;
	struct rng rng;
	bool stopping, closed;
	void (*stopped)(void *arg);
	void *stopped_arg;
	struct metric *m_messages, *m_batches, *m_failures, *m_rereads, *m_poison;
	struct metric *m_held, *m_held_bytes, *m_position, *m_leading, *m_lag_s;
	struct histogram *m_commit;
};

/* ingest.c */
void ingest_tell(struct ingest *in);
void ingest_ask(struct ingest *in);
void ingest_maybe_write(struct ingest *in);
/* Ends the first n that are ready. */
void ingest_let_go(struct ingest *in, size_t n);

/* ingest_read.c */
/* Reads the stream from next on, and looks from time to time whether it has what does not come. */
void ingest_read(struct ingest *in);
void ingest_read_end(struct ingest *in);
void ingest_on_watch(struct timer *timer, void *arg);

/* ingest_place.c */
/* Looks where in the stream to go on, and whether it is still the stream that was stored. */
void ingest_place(struct ingest *in);
/* Lets go of the place, and of all that is held and not being written. */
void ingest_unplace(struct ingest *in);
void ingest_on_standing(void *arg, enum store_standing standing, uint64_t position,
			const char *event_id);

#endif
