/* Inside of bus_fake*.c: the broker in memory.
 *
 * A node is one process's connection. What it sends goes through one lane (a connection keeps its
 * order); what it gets comes through several, by subject, so that subjects overtake each other. A
 * hop is one thing on its way in a lane. All of it on one loop. */
#ifndef PENSTOCK_BUS_FAKE_INT_H
#define PENSTOCK_BUS_FAKE_INT_H

#include "common/bus_fake.h"
#include "common/rng.h"
#include "common/strbuf.h"

#define IN_LANES       8
#define API_TIMEOUT_MS 5000

/* --- a map from texts (bus_fake_map.c) ---------------------------------------------------------
 */

struct fmap_slot {
	const char *key; /* the value's own; NULL: empty */
	void *value;
};
struct fmap {
	struct fmap_slot *slots;
	size_t cap, n;
};

void *fmap_get(const struct fmap *map, const char *key);
/* key must live as long as it is in the map; it must not be there yet. */
void fmap_add(struct fmap *map, const char *key, void *value);
void fmap_del(struct fmap *map, const char *key);
void fmap_done(struct fmap *map);
bool fake_matches(const char *filter, const char *subject);
bool fake_subject_ok(const char *subject, bool wildcards);
static inline bool fake_is_filter(const char *subject)
{
	for (const char *p = subject; *p; p++)
		if ((*p == '*' || *p == '>') && (p == subject || p[-1] == '.') &&
		    (!p[1] || p[1] == '.'))
			return true;
	return false;
}

/* --- messages ----------------------------------------------------------------------------------
 */

struct fmsg {
	unsigned refs;
	uint64_t seq, prev;
	int64_t time_us;
	const char *stream; /* "" or the stream's name, which lives as long as the broker */
	bool del;           /* of a bucket: the key was deleted */
	size_t len;
	const char *subject, *data; /* in buf */
	char buf[];
};

struct fmsg *fmsg_new(const char *subject, const void *data, size_t len);
struct fmsg *fmsg_ref(struct fmsg *m);
void fmsg_unref(struct fmsg *m); /* NULL is fine */
void fmsg_view(const struct fmsg *m, struct bus_msg *out);

/* --- lanes -------------------------------------------------------------------------------------
 */

struct node;
struct hop {
	struct hop *next;
	int64_t at_us;
	void (*fn)(struct hop *hop);
	void (*drop)(struct hop *hop); /* what it holds besides its own members; NULL: nothing */
	struct node *node;
	uint64_t id; /* of the pending request that it belongs to, 0: none */
	struct fmsg *msg;
	char *reply;
	enum bus_result result;
	struct bus_ack ack;
	int64_t number; /* whatever fn needs */
	void *ptr;
};

struct lane {
	struct loop *loop;
	struct hop *head, **tail;
	int64_t last_us;
	struct timer timer;
};

/* --- nodes -------------------------------------------------------------------------------------
 */

enum pend_kind { PEND_ANSWER, PEND_ACK, PEND_DONE, PEND_INFO };

struct fpend {
	uint32_t slot, gen;
	enum pend_kind kind;
	union {
		bus_answer_fn *answer;
		bus_ack_fn *ack;
		bus_done_fn *done;
		bus_info_fn *info;
	} fn;
	void *arg;
	struct node *node;
	enum bus_result fail; /* when the timer fires */
	struct timer timer;
};

struct pend_slot {
	struct fpend *pend;
	uint32_t gen, next_free;
};

struct fconsumer;
struct fwatch;
struct fsub;

struct node {
	struct bus_base base;
	struct fake_broker *broker;
	struct node *next, **prev;
	char *name;
	unsigned number;
	unsigned refs; /* its owner's, one a hop, one a claim */
	bool dead, cut, connected, no_echo;
	struct lane out, in[IN_LANES];
	struct timer state_timer;
	void (*on_state)(void *arg, bool connected);
	void *on_state_arg;
	struct pend_slot *pends;
	uint32_t pends_cap, pends_free;
	struct fsub *subs;
	struct fconsumer *consumers;
	struct fwatch *watches;
	char error_text[128];
};

struct fsub {
	struct bus_base base;
	struct node *node;
	struct fsub *next, **prev;             /* of the node */
	struct fsub *route_next, **route_prev; /* of the subject, in the order of subscribing */
	struct route *route;
	unsigned refs;
	bool closed;
	char *subject, *queue;
	bus_msg_fn *fn;
	void *arg;
};

/* All who subscribed to the same exact subject, or to any with wildcards. */
struct route {
	char *subject;
	struct fsub *head, **tail;
};

struct fstream;

struct fake_broker {
	struct loop *loop;
	struct rng rng;
	struct fake_faults faults;
	bool up;
	unsigned node_count;
	struct node *nodes;
	struct fmap routes;
	struct route wild;
	struct fstream *streams, **streams_tail;
	struct fsub **match; /* scratch */
	size_t match_cap;
};

extern const struct bus_ops fake_ops;

static inline struct node *node_of(struct bus *bus)
{
	return (struct node *)(void *)bus;
}
static inline bool node_reachable(const struct node *node)
{
	return node->broker && node->broker->up && !node->cut && !node->dead;
}

bool fake_chance(struct fake_broker *b, double p);
struct node *node_ref(struct node *node);
void node_unref(struct node *node);
struct hop *hop_new(struct node *node, void (*fn)(struct hop *hop));
void hop_out(struct hop *hop);                      /* node → broker */
void hop_in(struct hop *hop, const char *lane_key); /* broker → node */

/* --- requests (bus_fake_core.c) */
uint64_t pend_add(struct node *node, enum pend_kind kind, void (*fn)(void), void *arg,
		  int timeout_ms);
void pend_fail(struct node *node, uint64_t id, enum bus_result result); /* in the next turn */
void pend_fail_everything(struct node *node, enum bus_result result);
void pend_forget_all(struct node *node);
/* Takes it out of the table: its callback is the caller's to call. False: it ended already. */
bool pend_take(struct node *node, uint64_t id, struct fpend *out);
void fake_forget(struct bus *bus, const void *arg);
int fake_publish(struct bus *bus, const char *subject, const void *data, size_t len, int within_ms,
		 struct error *err);
void fake_request(struct bus *bus, const char *subject, const void *data, size_t len,
		  int timeout_ms, bus_answer_fn *fn, void *arg);
struct bus_sub *fake_subscribe(struct bus *bus, const char *subject, const char *queue,
			       bus_msg_fn *fn, void *arg, struct error *err);
void fake_unsubscribe(struct bus_sub *sub);
void fake_drain(struct bus_sub *sub);
void fake_subs_done(struct node *node);
/* At the broker: to everybody who listens; the number of those. msg is borrowed. from: who is not
 * to hear an echo of it; NULL: nobody. */
size_t fake_route(struct fake_broker *b, const struct node *from, struct fmsg *msg,
		  const char *reply);
/* Answers a request of any kind: loses it as a core message would be. */
void fake_answer(struct node *node, uint64_t id, enum bus_result result, struct fmsg *msg);

/* --- streams (bus_fake_stream.c) */
struct stored {
	struct fmsg *msg;
	struct fsubject *of;
	struct stored *prev, *next; /* of the same subject */
};
struct fsubject {
	char *subject;
	struct stored *first, *last;
	uint64_t count;
};
struct dedupe {
	struct dedupe *next;
	uint64_t seq;
	int64_t at_us;
	char id[];
};
struct fdurable;
struct fstream {
	struct fstream *next;
	struct fake_broker *broker;
	char *name, *subject, *republish;
	bool work_queue, discard_new;
	int64_t max_bytes, max_age_us, max_per_subject, dedupe_us;
	uint64_t last_seq, msgs, bytes;
	int64_t created_us;
	struct stored **list; /* list[off + i] has sequence base + i; NULL: removed */
	size_t off, n, cap;
	uint64_t base;
	struct fmap subjects; /* struct fsubject, kept once made */
	struct fmap ids;      /* struct dedupe */
	struct dedupe *oldest, **newest;
	struct fdurable *durables, **durables_tail;
};

struct fstream *fake_stream_find(const struct fake_broker *b, const char *name);
struct stored *fake_stream_at(const struct fstream *s, uint64_t seq);
/* First message with sequence >= seq that matches; filter NULL: any. */
struct stored *fake_stream_next(const struct fstream *s, const char *filter, uint64_t seq);
void fake_stream_remove(struct fstream *s, uint64_t seq);
void fake_stream_age(struct fstream *s);
void fake_streams_free(struct fake_broker *b);
struct fstream *fake_stream_make(struct fake_broker *b, const struct bus_stream_conf *conf);
/* A core message on a stream's subject: stored as well, nobody is told. */
void fake_stream_take(struct fake_broker *b, struct fmsg *msg);
void fake_store_to(struct node *node, struct fmsg *msg, const char *msg_id, int64_t expect,
		   int timeout_ms, bus_ack_fn *fn, void *arg);
void fake_stream_ensure(struct bus *bus, const struct bus_stream_conf *conf, bus_done_fn *fn,
			void *arg);
void fake_store(struct bus *bus, const char *subject, const struct bus_store_opts *opts,
		const void *data, size_t len, bus_ack_fn *fn, void *arg);
void fake_get(struct bus *bus, const char *stream, uint64_t seq, bus_answer_fn *fn, void *arg);
void fake_get_last(struct bus *bus, const char *stream, const char *subject, bus_answer_fn *fn,
		   void *arg);
void fake_get_next(struct bus *bus, const char *stream, const char *subject, uint64_t seq,
		   bus_answer_fn *fn, void *arg);
void fake_stream_info(struct bus *bus, const char *stream, const char *filter, bus_info_fn *fn,
		      void *arg);
void fake_stream_trim(struct bus *bus, const char *stream, uint64_t seq, bus_done_fn *fn,
		      void *arg);

/* --- consumers (bus_fake_pull.c) */
void fake_durables_stored(struct fstream *s, const struct stored *m);
void fake_durables_free(struct fstream *s);
void fake_consumers_connected(struct node *node);
void fake_consumers_lost(struct node *node);
void fake_consumers_done(struct node *node);
struct bus_consumer *fake_consumer_open(struct bus *bus, const struct bus_consumer_conf *conf,
					bus_deliver_fn *fn, void *arg, struct error *err);
void fake_consumer_want(struct bus_consumer *consumer, unsigned credit);
void fake_consumer_close(struct bus_consumer *consumer);
void fake_consumer_remove(struct bus *bus, const char *stream, const char *durable, bus_done_fn *fn,
			  void *arg);
void fake_claim_ack(struct bus_claim *claim);
void fake_claim_nak(struct bus_claim *claim, int delay_ms);
void fake_claim_progress(struct bus_claim *claim);
void fake_claim_free(struct bus_claim *claim);

/* --- buckets (bus_fake_kv.c) */
void fake_watches_stored(struct fstream *s, const struct stored *m);
void fake_watches_made(struct fstream *s);
void fake_watches_connected(struct node *node);
void fake_watches_done(struct node *node);
void fake_bucket_ensure(struct bus *bus, const struct bus_bucket_conf *conf, bus_done_fn *fn,
			void *arg);
void fake_put(struct bus *bus, const char *bucket, const char *key, const void *data, size_t len,
	      bus_ack_fn *fn, void *arg);
void fake_del(struct bus *bus, const char *bucket, const char *key, bus_ack_fn *fn, void *arg);
struct bus_watch *fake_watch(struct bus *bus, const char *bucket, bus_entry_fn *fn, void *arg,
			     struct error *err);
void fake_watch_free(struct bus_watch *watch);

#endif
