/* Inside of bus_nats_*.c: the connection, its pending requests, its subscriptions.
 *
 * Threads: everything belongs to the loop's thread, but struct core, which cnats' delivery thread
 * and the dialling thread share with it under core->mu. */
#ifndef PENSTOCK_BUS_NATS_INT_H
#define PENSTOCK_BUS_NATS_INT_H

#include <jansson.h>
#include <nats/nats.h>
#include <pthread.h>

#include "common/bus_nats.h"
#include "common/metrics.h"
#include "common/rng.h"
#include "common/strbuf.h"

#define API_TIMEOUT_MS 5000
#define PENDING_MAX    65536
#define UNSENT_MAX     (64 << 20)
#define WHEEL_SLOTS    256
#define WHEEL_TICK_US  16384
#define NIL            UINT32_MAX
#define DIRECT_MAX     16
#define LINES_MAX      6 /* of these: more than there are streams that one process asks */

struct nbus;
struct nconn;

struct inbound {
	uint32_t slot, gen; /* which subscription */
	natsMsg *msg;
};

/* Lives until the last of the bus and cnats' subscriptions is gone. */
struct core {
	pthread_mutex_t mu;
	pthread_cond_t cond; /* wakes the dialling thread, and bus_free() */
	int refs;
	int taps;    /* subscriptions that cnats may still call us for */
	bool closed; /* the bus is gone: messages are dropped */
	int wake_fd;
	struct inbound *items;
	size_t n, cap;
	struct nconn *fresh; /* just connected, not yet taken by the loop */
	/* The loop's thread only: */
	struct nbus *bus; /* NULL once it is freed */
};

struct nconn {
	natsConnection *nc;
	int fd; /* a dup: cnats closes its own whenever it likes, and this one stays ours to
		   unregister */
	struct loop_io io;
	struct nbus *bus;  /* NULL until the loop has taken it */
	struct core *core; /* likewise; set once */
	struct loop *loop; /* the bus's; valid with core */
	/* cnats drains a subscription in a thread of its own, which may write and close as well. */
	_Atomic bool dead, want_write;
	bool blocked;
	bool io_added;
};

typedef void generic_fn(void);
/* msg is NULL unless result is BUS_OK. The last thing that it does may be calling the user's fn. */
typedef void reply_fn(struct nbus *bus, void *arg, generic_fn *fn, enum bus_result result,
		      natsMsg *msg);

struct pending {
	uint32_t gen;
	uint32_t next, prev; /* in its list; free list by next */
	uint32_t list;       /* wheel slot, or one of those that failed */
	bool used;
	unsigned line;          /* that its answer comes by: see nbus.lines; 0: the common inbox */
	enum bus_result result; /* of the failed */
	int64_t deadline_us;
	reply_fn *reply;
	generic_fn *fn;
	void *arg;
	const void *owner; /* arg of the user's callback, for bus_forget() */
	void (*drop)(
	    void *arg); /* frees arg when the bus goes away unanswered; NULL: nothing to free */
};

/* msg NULL, of a direct subscription: a request that named it for the answer had no responder. */
typedef void raw_fn(struct nbus *bus, void *arg, natsMsg *msg);

struct nsub {
	struct bus_base base;
	struct nbus *bus;
	uint32_t slot, gen;
	char *subject, *queue;
	natsSubscription *ns; /* NULL while not connected */
	raw_fn *raw;
	bool direct;    /* its messages are taken by the loop itself: see bus_nats.c */
	bool draining;  /* nothing new is wanted */
	bus_msg_fn *fn; /* of bus_subscribe() */
	void *arg;
};

struct sub_slot {
	struct nsub *sub;
	uint32_t gen, next_free;
};

struct nconsumer;
struct nclaim;
struct nwatch;

struct nbus {
	struct bus_base base;
	struct loop *loop;
	struct core *core;
	char *url, *name, *inbox;
	size_t inbox_len; /* without the last token */
	bool no_echo;
	struct rng rng;
	struct nconn *conn; /* NULL while dialling */
	bool connected;
	bool dialling;
	pthread_t dialler;
	int64_t dial_delay_ms;
	struct loop_io wake;
	struct loop_hook hook;
	struct timer write_timer, lost_timer, alive_timer;
	bool heard;
	int silent;
	uint64_t echo_sent, echo_seen; /* highest ones, see bus_flush() */
	int deferred;    /* bytes that may wait for the write timer, if these are all there are */
	size_t gathered; /* bytes given to cnats since the last write that their number caused */
	void (*on_state)(void *arg, bool connected);
	void *on_state_arg;
	char error_text[256];

	struct pending *pend;
	uint32_t pend_cap, pend_free, pend_used;
	uint32_t lists[WHEEL_SLOTS + 2]; /* the wheel's, and those of bus_nats_req.c */
	int64_t tick;                    /* next one to be looked at, in WHEEL_TICK_US */
	struct timer wheel_timer, failed_timer;

	struct sub_slot *subs;
	uint32_t subs_cap, subs_free;
	struct nsub *inbox_sub, *acks_sub;
	/* Where direct answers come, a line for what has the same responder: one that is missing
	 * tells by which line, but not which request. Line 1 is acks_sub, for those that have none
	 * of their own; line 2 + i is lines[i]. */
	struct {
		char *name;
		struct nsub *sub;
	} lines[LINES_MAX];
	unsigned n_lines;
	struct nsub *direct[DIRECT_MAX];
	size_t n_direct;
	struct inbound *got; /* of the direct ones, read and not yet delivered */
	size_t n_got, got_cap;
	uint64_t names; /* of inboxes beside the common one */
	struct nconsumer *consumers, *dirty;
	struct nclaim *late_acks; /* of the time without a connection */
	size_t n_late_acks;
	struct nwatch *watches;
	struct inbound *spare;
	size_t spare_cap;

	struct {
		struct metric *connects, *pending, *refused, *dropped;
	} m;
};

extern const struct bus_ops nbus_ops;

static inline struct nbus *nbus_of(struct bus *bus)
{
	return (struct nbus *)(void *)bus;
}

void core_retain(struct core *core);
void core_release(struct core *core);
/* In place of cnats' own: whether somebody else frees this message. */
bool natsGC_collect(void *item);

/* --- bus_nats.c */
bool subject_ok(const char *subject, bool wildcards);
/* A subscription with a handler of its own; comes back after each reconnect. direct: its messages
 * need not keep their order with those of other subscriptions, and there are few such. */
struct nsub *nsub_open(struct nbus *bus, const char *subject, const char *queue, bool direct,
		       raw_fn *raw, void *arg);
void nsub_close(struct nsub *sub);
/* Nothing new is wanted; what is on its way still comes, for a while. */
void nsub_drain(struct nsub *sub);
/* At most once; false: not sent. */
/* False: not connected, or too much is unsent (counted). */
bool nbus_sendable(struct nbus *bus, size_t len);
bool nbus_send(struct nbus *bus, const char *subject, const void *data, size_t len);

/* --- bus_nats_req.c: requests */
void pend_init(struct nbus *bus);
void pend_done(struct nbus *bus);
void pend_fail_all(struct nbus *bus, enum bus_result result);
/* A request of this line had no responder: its stream is not there, and so all that wait for an
 * answer by it end as unavailable. Their outcome is unknown. */
void pend_fail_line(struct nbus *bus, unsigned line);
void pend_answer(struct nbus *bus, const char *token, natsMsg *msg);

#define LINE_COMMON 1
#define LINE_FIRST  2
struct nsub *line_open(struct nbus *bus, unsigned line);

struct call {
	const char *subject;
	const void *data;
	size_t len;
	const char *msg_id;      /* headers; NULL: none */
	int64_t expect_last_seq; /* -1: none */
	bool del;                /* KV-Operation: DEL */
	/* Its answer takes the short way, by the line of this name: of the subject's beginning that
	 * says who responds. NULL: by the common inbox. */
	const char *line;
	size_t line_len;
	int timeout_ms;
	reply_fn *reply;
	generic_fn *fn;
	void *arg;
	const void *owner;
	void (*drop)(void *arg);
};
void nbus_forget(struct bus *bus, const void *owner);
void nbus_call(struct nbus *bus, const struct call *call);
void nbus_call_api(struct nbus *bus, const char *subject, const char *body, reply_fn *reply,
		   generic_fn *fn, void *arg, const void *owner, void (*drop)(void *arg));
/* Of a call that is only done or not: tells fn, a bus_done_fn. */
reply_fn nbus_done_reply;
void nbus_request(struct bus *bus, const char *subject, const void *data, size_t len,
		  int timeout_ms, bus_answer_fn *fn, void *arg);

/* --- bus_nats_msg.c: reading what the server says */
bool header_u64(natsMsg *msg, const char *name, uint64_t *out);
int msg_status(natsMsg *msg); /* "Status" header as a number, 0: none */
void msg_core(natsMsg *msg, struct bus_msg *out);
/* Of a message with a $JS.ACK reply: false if it has none. stream needs its own storage. */
struct ack_info {
	char stream[64];
	uint64_t delivered, seq, consumer_seq, pending;
	int64_t time_us;
};
bool ack_parse(const char *reply, struct ack_info *out);
int64_t rfc3339_us(const char *text); /* 0: not understood */
/* BUS_OK, or what the error in the JSON answer means (its words go to bus->error_text). root (may
 * be NULL) gets the document, to be freed by the caller, in both cases; err_code may be NULL. */
enum bus_result api_result(struct nbus *bus, natsMsg *msg, json_t **root, int *err_code);
void puback_parse(struct nbus *bus, enum bus_result result, natsMsg *msg, struct bus_ack *ack);

/* --- bus_nats_js.c: streams */
void nbus_stream_ensure(struct bus *bus, const struct bus_stream_conf *conf, bus_done_fn *fn,
			void *arg);
void nbus_store(struct bus *bus, const char *subject, const struct bus_store_opts *opts,
		const void *data, size_t len, bus_ack_fn *fn, void *arg);
void nbus_get(struct bus *bus, const char *stream, uint64_t seq, bus_answer_fn *fn, void *arg);
void nbus_get_last(struct bus *bus, const char *stream, const char *subject, bus_answer_fn *fn,
		   void *arg);
void nbus_get_next(struct bus *bus, const char *stream, const char *subject, uint64_t seq,
		   bus_answer_fn *fn, void *arg);
void nbus_stream_info(struct bus *bus, const char *stream, const char *filter, bus_info_fn *fn,
		      void *arg);
void nbus_stream_trim(struct bus *bus, const char *stream, uint64_t seq, bus_done_fn *fn,
		      void *arg);
bool stream_name_ok(const char *name);
void ack_reply(struct nbus *bus, void *arg, generic_fn *fn, enum bus_result result, natsMsg *msg);
/* The state machine of nbus_stream_ensure(), for any stream configuration (stolen: a JSON object).
 */
void ensure_config(struct nbus *bus, json_t *config, bus_done_fn *fn, void *arg);

/* --- bus_nats_pull.c: consumers and claims */
struct bus_consumer *nbus_consumer_open(struct bus *bus, const struct bus_consumer_conf *conf,
					bus_deliver_fn *fn, void *arg, struct error *err);
void nbus_consumer_want(struct bus_consumer *consumer, unsigned credit);
void nbus_consumer_close(struct bus_consumer *consumer);
void nbus_consumer_remove(struct bus *bus, const char *stream, const char *durable, bus_done_fn *fn,
			  void *arg);
void nbus_claim_ack(struct bus_claim *claim);
void nbus_claim_nak(struct bus_claim *claim, int delay_ms);
void nbus_claim_progress(struct bus_claim *claim);
void nbus_claim_free(struct bus_claim *claim);
void consumers_connected(struct nbus *bus);
void consumers_turn_end(struct nbus *bus); /* sends the pull requests that the turn made due */
void consumers_lost(struct nbus *bus);
void consumers_free(struct nbus *bus);

/* --- bus_nats_kv.c: buckets */
void nbus_bucket_ensure(struct bus *bus, const struct bus_bucket_conf *conf, bus_done_fn *fn,
			void *arg);
void nbus_put(struct bus *bus, const char *bucket, const char *key, const void *data, size_t len,
	      bus_ack_fn *fn, void *arg);
void nbus_del(struct bus *bus, const char *bucket, const char *key, bus_ack_fn *fn, void *arg);
struct bus_watch *nbus_watch(struct bus *bus, const char *bucket, bus_entry_fn *fn, void *arg,
			     struct error *err);
void nbus_watch_free(struct bus_watch *watch);
void watches_connected(struct nbus *bus);
void watches_lost(struct nbus *bus);
void watches_free(struct nbus *bus);

#endif
