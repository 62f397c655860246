/* The broker, as a small table of operations: core messages, streams, pull consumers, buckets.
 *
 * Implementations: bus_nats.h (NATS JetStream) and bus_fake.h (in memory, with seeded faults, on a
 * simulated loop). tests/conformance holds what every implementation must do.
 *
 * Threads: a bus belongs to one loop; all calls are made on that loop's thread and all callbacks
 * run there, never from inside the call that caused them. What a callback is given is borrowed for
 * the call. Whatever is passed in is copied before the call returns.
 *
 * Every request ends in exactly one callback: with its answer, or BUS_TIMEOUT, or BUS_UNAVAILABLE.
 * After bus_free() no callback runs any more.
 *
 * BUS_TIMEOUT and BUS_UNAVAILABLE say nothing about whether the other side acted: repeat with the
 * same message id. Units: milliseconds, and microseconds where a name says _us. */
#ifndef PENSTOCK_BUS_H
#define PENSTOCK_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"

enum bus_result {
	BUS_OK,
	BUS_TIMEOUT,     /* no answer in time: outcome unknown */
	BUS_UNAVAILABLE, /* no connection, no responder, or the stream is offline: outcome unknown
			  */
	BUS_NOT_FOUND,   /* no such message, stream, consumer or key */
	BUS_CONFLICT, /* the subject's last sequence is another one: a compare-and-set was refused
		       */
	BUS_FULL,     /* the stream is at its bound and refuses new messages */
	BUS_REJECTED, /* any other refusal; bus_error_text() has the words */
};

const char *bus_result_name(enum bus_result result);

struct bus_msg {
	const char *subject;
	const char *reply; /* where an answer goes, or NULL */
	const void *data;
	size_t len;
	/* What a stream knows about it; all 0 / "" for a plain core message. */
	const char
	    *stream;  /* stream that republished, delivered or returned it, "" for a core message */
	uint64_t seq; /* its stream sequence */
	uint64_t
	    prev; /* republished: sequence of the subject's previous message, 0 for the first */
	int64_t time_us;    /* when it was stored; 0 where the broker did not say */
	unsigned delivered; /* consumer: how many times it was delivered, from 1 */
};

struct bus;
struct bus_sub;
struct bus_consumer;
struct bus_claim;
struct bus_watch;

typedef void bus_msg_fn(void *arg, const struct bus_msg *msg);
typedef void bus_done_fn(void *arg, enum bus_result result);
/* msg is NULL unless result is BUS_OK. */
typedef void bus_answer_fn(void *arg, enum bus_result result, const struct bus_msg *msg);

/* --- life ---------------------------------------------------------------------------------- */

/* Stops everything, runs no further callback, waits for the threads. NULL is fine. */
void bus_free(struct bus *bus);
bool bus_connected(const struct bus *bus);
/* Called on each change of the connection; one listener. Subscriptions, consumers and watches come
 * back by themselves after a reconnect (what was said on core subjects meanwhile is lost). */
void bus_on_state(struct bus *bus, void (*fn)(void *arg, bool connected), void *arg);
/* Sends out what is buffered and waits for the broker to have it, at most timeout_ms; used at a
 * clean stop. */
int bus_flush(struct bus *bus, int timeout_ms, struct error *err) MUST_CHECK;
/* Forgets every answer still due to a callback with this arg (not subscriptions, consumers and
 * watches): it will not be called. For whoever frees what arg points to; costs a walk through what
 * is pending. */
void bus_forget(struct bus *bus, const void *arg);
/* Words of the last BUS_REJECTED, for a log line. */
const char *bus_error_text(const struct bus *bus);

/* --- core ---------------------------------------------------------------------------------- */

/* At most once. -1 only if the message can never be sent (too large, bad subject, closed). */
int bus_publish(struct bus *bus, const char *subject, const void *data, size_t len,
		struct error *err) MUST_CHECK;
/* The same, but it may wait so long for what else is to be sent, and costs a write less then: for
 * what nobody is known to wait for. It is sent before whatever this bus sends afterwards, and with
 * it at the latest. Only from within a turn of the loop. */
int bus_publish_later(struct bus *bus, const char *subject, const void *data, size_t len,
		      int within_ms, struct error *err) MUST_CHECK;
void bus_request(struct bus *bus, const char *subject, const void *data, size_t len, int timeout_ms,
		 bus_answer_fn *fn, void *arg);
/* queue NULL: every subscriber gets it; else one of the group. Wildcards * and > as in NATS.
 * Fails only for a bad subject; the interest is registered with the broker before anything that
 * this bus sends afterwards. */
struct bus_sub *bus_subscribe(struct bus *bus, const char *subject, const char *queue,
			      bus_msg_fn *fn, void *arg, struct error *err);
void bus_unsubscribe(struct bus_sub *sub); /* NULL is fine; no callback after it returns */
/* Takes the interest back at the broker, while what it has sent before still comes, until
 * bus_unsubscribe(). A member of a queue group leaves this way: what the broker gave to this one it
 * gives to no other. NULL is fine. */
void bus_drain(struct bus_sub *sub);

/* --- streams ------------------------------------------------------------------------------- */

struct bus_stream_conf {
	const char *name;
	const char *subject;   /* one filter: "pen.evt.>" */
	const char *republish; /* destination, e.g. "pen.live.>"; NULL: none */
	bool work_queue;  /* a message goes when it is acknowledged; else: kept until trimmed or old
			   */
	bool discard_new; /* at max_bytes refuse (BUS_FULL) instead of dropping the oldest */
	int64_t max_bytes;       /* 0: none */
	int64_t max_age_ms;      /* 0: none */
	int64_t max_per_subject; /* 0: none; buckets use 1 */
	int64_t dedupe_ms;
	int replicas;
};

/* Makes the stream if it is not there; one that is there keeps its messages and takes the bounds of
 * conf. */
void bus_stream_ensure(struct bus *bus, const struct bus_stream_conf *conf, bus_done_fn *fn,
		       void *arg);

struct bus_ack {
	enum bus_result result;
	uint64_t seq;   /* BUS_OK: the message's sequence; a duplicate's: that of the first one */
	bool duplicate; /* the message id was already there: nothing was stored nor republished */
};
typedef void bus_ack_fn(void *arg, const struct bus_ack *ack);

struct bus_store_opts {
	const char *msg_id;      /* NULL: no dedupe */
	int64_t expect_last_seq; /* the subject's last sequence must be this one; 0: subject must be
				    empty; -1: any */
	int timeout_ms;
};
void bus_store(struct bus *bus, const char *subject, const struct bus_store_opts *opts,
	       const void *data, size_t len, bus_ack_fn *fn, void *arg);

/* The message with this sequence; the subject's newest; the first of the subject with sequence >=
 * seq. */
void bus_get(struct bus *bus, const char *stream, uint64_t seq, bus_answer_fn *fn, void *arg);
void bus_get_last(struct bus *bus, const char *stream, const char *subject, bus_answer_fn *fn,
		  void *arg);
void bus_get_next(struct bus *bus, const char *stream, const char *subject, uint64_t seq,
		  bus_answer_fn *fn, void *arg);

struct bus_subject_count {
	const char *subject;
	uint64_t msgs;
};
struct bus_stream_info {
	uint64_t first_seq, last_seq, msgs, bytes;
	int64_t created_us; /* tells one life of a stream from the next: the epoch of its offsets */
	const struct bus_subject_count *subjects; /* only with a filter */
	size_t n_subjects;
};
typedef void bus_info_fn(void *arg, enum bus_result result, const struct bus_stream_info *info);
/* filter NULL: no subjects; else those that match it, at most 100,000. */
void bus_stream_info(struct bus *bus, const char *stream, const char *filter, bus_info_fn *fn,
		     void *arg);
/* Removes everything below seq (seq itself stays). */
void bus_stream_trim(struct bus *bus, const char *stream, uint64_t seq, bus_done_fn *fn, void *arg);

/* --- pull consumers ------------------------------------------------------------------------ */

struct bus_consumer_conf {
	const char *stream;
	const char *durable; /* name; shared by everybody who asks for the same. NULL: private */
	const char *filter;  /* NULL: all of the stream */
	uint64_t from;       /* of a private one: the first sequence */
	int ack_wait_ms;     /* unacknowledged and without progress for so long: delivered again */
	int max_ack_pending; /* 0: the broker's default */
};
/* claim is owned by the callee: end it with one of bus_claim_ack/nak/free. A private consumer's is
 * NULL. */
typedef void bus_deliver_fn(void *arg, const struct bus_msg *msg, struct bus_claim *claim);

/* Makes the durable consumer if needed and keeps trying while the broker is away. Nothing is
 * delivered until bus_consumer_want(). NULL only for a bad conf.
 *
 * A private consumer is its reader's alone and acknowledges nothing: it tells the messages from
 * `from` on, each once, in the order of the stream. What is lost on the way, with a connection or
 * beyond the credit, is read again from there; a loss is noticed with the message behind it. So a
 * sequence that is passed over was removed from the stream. The broker forgets it when it is closed
 * or nobody reads on for a minute. */
struct bus_consumer *bus_consumer_open(struct bus *bus, const struct bus_consumer_conf *conf,
				       bus_deliver_fn *fn, void *arg, struct error *err);
/* How many more messages may be delivered from now on: sets the credit (not adds to it). Each
 * delivery takes one. The implementation keeps a pull request open as long as there is credit. */
void bus_consumer_want(struct bus_consumer *consumer, unsigned credit);
/* Stops delivery; claims stay valid. The durable consumer itself stays on the broker. NULL is fine.
 */
void bus_consumer_close(struct bus_consumer *consumer);
/* Removes a durable consumer from the broker. BUS_NOT_FOUND: there is none. */
void bus_consumer_remove(struct bus *bus, const char *stream, const char *durable, bus_done_fn *fn,
			 void *arg);

void bus_claim_ack(struct bus_claim *claim); /* done; frees the claim */
void bus_claim_nak(struct bus_claim *claim,
		   int delay_ms);                 /* again, not before delay; frees the claim */
void bus_claim_progress(struct bus_claim *claim); /* restarts ack_wait */
void bus_claim_free(
    struct bus_claim *claim); /* says nothing: redelivered after ack_wait; NULL is fine */

/* --- buckets (key-value) ------------------------------------------------------------------- */

struct bus_bucket_conf {
	const char *name;
	int64_t ttl_ms; /* 0: kept for ever. A key that ages out is not announced to watchers */
	int replicas;
};
void bus_bucket_ensure(struct bus *bus, const struct bus_bucket_conf *conf, bus_done_fn *fn,
		       void *arg);
void bus_put(struct bus *bus, const char *bucket, const char *key, const void *data, size_t len,
	     bus_ack_fn *fn, void *arg); /* fn may be NULL */
void bus_del(struct bus *bus, const char *bucket, const char *key, bus_ack_fn *fn, void *arg);

enum bus_entry_op { BUS_ENTRY_PUT, BUS_ENTRY_DEL, BUS_ENTRY_READY };
struct bus_entry {
	enum bus_entry_op op; /* READY: all that was there at the start has been told (no key) */
	const char *key;
	const void *data; /* PUT */
	size_t len;
	/* DEL: 0 if it was only found missing after a gap. READY: of the newest entry of the
	 * bucket, a deletion too; 0: it never had one. */
	uint64_t revision;
};
typedef void bus_entry_fn(void *arg, const struct bus_entry *entry);
/* Tells the newest value of every key, then READY, then each change. Waits for a bucket that is not
 * there yet. After a gap (a lost connection) everything is told again, READY included: PUT of a
 * value that is known is normal, and a key that was deleted meanwhile is told as DEL. Between one
 * READY and the next gap every change is told, a DEL of what is not there too, so revisions rise.
 */
struct bus_watch *bus_watch(struct bus *bus, const char *bucket, bus_entry_fn *fn, void *arg,
			    struct error *err);
void bus_watch_free(struct bus_watch *watch);

/* --- for implementations ------------------------------------------------------------------- */

/* Each object starts with its `struct bus *`; the calls above go through the table. */
struct bus_ops {
	void (*free)(struct bus *);
	bool (*connected)(const struct bus *);
	void (*on_state)(struct bus *, void (*)(void *, bool), void *);
	int (*flush)(struct bus *, int, struct error *);
	void (*forget)(struct bus *, const void *);
	const char *(*error_text)(const struct bus *);
	int (*publish)(struct bus *, const char *, const void *, size_t, int, struct error *);
	void (*request)(struct bus *, const char *, const void *, size_t, int, bus_answer_fn *,
			void *);
	struct bus_sub *(*subscribe)(struct bus *, const char *, const char *, bus_msg_fn *, void *,
				     struct error *);
	void (*unsubscribe)(struct bus_sub *);
	void (*drain)(struct bus_sub *);
	void (*stream_ensure)(struct bus *, const struct bus_stream_conf *, bus_done_fn *, void *);
	void (*store)(struct bus *, const char *, const struct bus_store_opts *, const void *,
		      size_t, bus_ack_fn *, void *);
	void (*get)(struct bus *, const char *, uint64_t, bus_answer_fn *, void *);
	void (*get_last)(struct bus *, const char *, const char *, bus_answer_fn *, void *);
	void (*get_next)(struct bus *, const char *, const char *, uint64_t, bus_answer_fn *,
			 void *);
	void (*stream_info)(struct bus *, const char *, const char *, bus_info_fn *, void *);
	void (*stream_trim)(struct bus *, const char *, uint64_t, bus_done_fn *, void *);
	struct bus_consumer *(*consumer_open)(struct bus *, const struct bus_consumer_conf *,
					      bus_deliver_fn *, void *, struct error *);
	void (*consumer_want)(struct bus_consumer *, unsigned);
	void (*consumer_close)(struct bus_consumer *);
	void (*consumer_remove)(struct bus *, const char *, const char *, bus_done_fn *, void *);
	void (*claim_ack)(struct bus_claim *);
	void (*claim_nak)(struct bus_claim *, int);
	void (*claim_progress)(struct bus_claim *);
	void (*claim_free)(struct bus_claim *);
	void (*bucket_ensure)(struct bus *, const struct bus_bucket_conf *, bus_done_fn *, void *);
	void (*put)(struct bus *, const char *, const char *, const void *, size_t, bus_ack_fn *,
		    void *);
	void (*del)(struct bus *, const char *, const char *, bus_ack_fn *, void *);
	struct bus_watch *(*watch)(struct bus *, const char *, bus_entry_fn *, void *,
				   struct error *);
	void (*watch_free)(struct bus_watch *);
};
/* First member of every struct bus, bus_sub, bus_consumer, bus_claim and bus_watch. */
struct bus_base {
	const struct bus_ops *ops;
};

#endif
