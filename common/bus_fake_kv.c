/* Buckets of the fake: streams KV_<bucket> with one message a key, and watches on them. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/bus_fake_int.h"

struct fwatch {
	struct bus_base base;
	struct node *node;
	struct fwatch *next, **prev;
	unsigned refs; /* the owner's, one a hop, one during callbacks */
	bool closed;
	char *stream; /* KV_<bucket> */
	size_t skip;  /* length of "$KV.<bucket>." */
	bus_entry_fn *fn;
	void *arg;
	json_t *keys;    /* key: round in which it was last told */
	int64_t round;   /* each start of the telling is one */
	bool active;     /* the broker has begun this round */
	bool told;       /* READY of this round */
	uint64_t newest; /* revision of the last entry of this round, 0: none yet */
	char lane[32];   /* all of a watch in one lane: it keeps its order */
};

static bool bucket_ok(const char *name)
{
	return name && *name && strlen(name) < 48 && !strpbrk(name, " .*>/\\\t\r\n");
}

static bool key_ok(const char *key)
{
	static const char allowed[] =
	    "-/_=.:abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

	return fake_subject_ok(key, false) && strlen(key) < 512 &&
	       strspn(key, allowed) == strlen(key);
}

void fake_bucket_ensure(struct bus *bus, const struct bus_bucket_conf *conf, bus_done_fn *fn,
			void *arg)
{
	struct strbuf name = {0}, subject = {0};
	struct bus_stream_conf stream = {
	    .max_age_ms = conf->ttl_ms, .max_per_subject = 1, .replicas = conf->replicas};

	if (bucket_ok(conf->name))
		strbuf_addf(&name, "KV_%s", conf->name);
	strbuf_addf(&subject, "$KV.%s.>", conf->name);
	stream.name = strbuf_str(&name);
	stream.subject = subject.data;
	fake_stream_ensure(bus, &stream, fn, arg);
	strbuf_done(&name);
	strbuf_done(&subject);
}

static void write_key(struct bus *bus, const char *bucket, const char *key, const void *data,
		      size_t len, bool del, bus_ack_fn *fn, void *arg)
{
	struct strbuf subject = {0};
	struct fmsg *msg;

	if (!bucket_ok(bucket) || !key_ok(key)) {
		struct bus_store_opts opts = {.expect_last_seq = -1};

		fake_store(bus, "", &opts, NULL, 0, fn, arg); /* fails in its own turn */
		return;
	}
	strbuf_addf(&subject, "$KV.%s.%s", bucket, key);
	msg = fmsg_new(subject.data, data, len);
	msg->del = del;
	fake_store_to(node_of(bus), msg, NULL, -1, API_TIMEOUT_MS, fn, arg);
	strbuf_done(&subject);
}

void fake_put(struct bus *bus, const char *bucket, const char *key, const void *data, size_t len,
	      bus_ack_fn *fn, void *arg)
{
	write_key(bus, bucket, key, data, len, false, fn, arg);
}

void fake_del(struct bus *bus, const char *bucket, const char *key, bus_ack_fn *fn, void *arg)
{
	write_key(bus, bucket, key, NULL, 0, true, fn, arg);
}

/* --- watching ----------------------------------------------------------------------------------
 */

static void watch_unref(struct fwatch *w)
{
	if (--w->refs > 0)
		return;
	json_decref(w->keys);
	free(w->stream);
	free(w);
}

static void drop_watch(struct hop *hop)
{
	watch_unref(hop->ptr);
}

static void tell(struct fwatch *w, enum bus_entry_op op, const char *key, const struct fmsg *msg,
		 uint64_t rev)
{
	struct bus_entry entry = {.op = op, .key = key, .revision = rev};

	if (msg && op == BUS_ENTRY_PUT) {
		entry.data = msg->data;
		entry.len = msg->len;
	}
	if (!w->closed)
		w->fn(w->arg, &entry);
}

static void tell_ready(struct fwatch *w)
{
	json_t *gone = json_array(), *round, *k;
	const char *key;
	size_t i;

	json_object_foreach(w->keys, key, round)
	{
		if (json_integer_value(round) != w->round)
			json_array_append_new(gone, json_string(key));
	}
	json_array_foreach(gone, i, k)
	{
		json_object_del(w->keys, json_string_value(k));
		tell(w, BUS_ENTRY_DEL, json_string_value(k), NULL, 0);
	}
	json_decref(gone);
	w->told = true;
	tell(w, BUS_ENTRY_READY, NULL, NULL, w->newest);
}

static void at_entry(struct hop *hop)
{
	struct fwatch *w = hop->ptr;
	const char *key;

	if (w->closed || hop->number != w->round)
		return;
	w->refs++;
	key = hop->msg ? hop->msg->subject + w->skip : NULL;
	if (hop->msg)
		w->newest = hop->msg->seq;
	if (!hop->msg) {
		tell_ready(w);
	} else if (!hop->msg->del) {
		json_object_set_new(w->keys, key, json_integer(w->round));
		tell(w, BUS_ENTRY_PUT, key, hop->msg, w->newest);
	} else if (w->told || json_object_get(w->keys, key)) {
		json_object_del(w->keys, key);
		tell(w, BUS_ENTRY_DEL, key, hop->msg, w->newest);
	}
	watch_unref(w);
}

static void send_entry(struct fwatch *w, struct fmsg *msg)
{
	struct hop *hop = hop_new(w->node, at_entry);

	hop->ptr = w;
	hop->drop = drop_watch;
	w->refs++;
	hop->msg = msg ? fmsg_ref(msg) : NULL;
	hop->number = w->round;
	hop_in(hop, w->lane);
}

static void begin(struct fwatch *w, struct fstream *s)
{
	w->active = true;
	w->round++;
	w->told = false;
	w->newest = 0;
	fake_stream_age(s);
	for (struct stored *m = fake_stream_next(s, NULL, 0); m;
	     m = fake_stream_next(s, NULL, m->msg->seq + 1))
		send_entry(w, m->msg);
	send_entry(w, NULL);
}

static void at_watch(struct hop *hop)
{
	struct fwatch *w = hop->ptr;
	struct fstream *s;

	if (w->closed || w->active)
		return;
	s = fake_stream_find(hop->node->broker, w->stream);
	if (s)
		begin(w, s);
}

static void send_watch(struct fwatch *w)
{
	struct hop *hop = hop_new(w->node, at_watch);

	hop->ptr = w;
	hop->drop = drop_watch;
	w->refs++;
	w->active = false;
	hop_out(hop);
}

/* For each watch on this bucket, of whatever node. */
static void each_watch(struct fstream *s, void (*fn)(struct fwatch *w, void *arg), void *arg)
{
	if (strncmp(s->name, "KV_", 3) != 0)
		return;
	for (struct node *node = s->broker->nodes; node; node = node->next)
		for (struct fwatch *w = node->watches; w; w = w->next)
			if (node_reachable(node) && !strcmp(w->stream, s->name))
				fn(w, arg);
}

static void stored(struct fwatch *w, void *arg)
{
	if (w->active)
		send_entry(w, arg);
}

void fake_watches_stored(struct fstream *s, const struct stored *m)
{
	each_watch(s, stored, m->msg);
}

static void made(struct fwatch *w, void *arg)
{
	if (!w->active)
		begin(w, arg);
}

void fake_watches_made(struct fstream *s)
{
	each_watch(s, made, s);
}

struct bus_watch *fake_watch(struct bus *bus, const char *bucket, bus_entry_fn *fn, void *arg,
			     struct error *err)
{
	struct node *node = node_of(bus);
	struct strbuf name = {0};
	struct fwatch *w;

	if (!bucket_ok(bucket)) {
		err_set(err, ERR_REJECTED, "bad bucket name");
		return NULL;
	}
	w = xcalloc(1, sizeof(*w));
	w->base.ops = &fake_ops;
	w->node = node;
	w->refs = 1;
	strbuf_addf(&name, "KV_%s", bucket);
	w->stream = strbuf_detach(&name, NULL);
	w->skip = strlen("$KV..") + strlen(bucket);
	w->fn = fn;
	w->arg = arg;
	w->keys = json_object();
	snprintf(w->lane, sizeof(w->lane), "watch %u %s", node->number, bucket);
	w->next = node->watches;
	w->prev = &node->watches;
	if (w->next)
		w->next->prev = &w->next;
	node->watches = w;
	send_watch(w);
	return (struct bus_watch *)(void *)w;
}

void fake_watch_free(struct bus_watch *watch)
{
	struct fwatch *w = (struct fwatch *)(void *)watch;

	w->closed = true;
	*w->prev = w->next;
	if (w->next)
		w->next->prev = w->prev;
	watch_unref(w);
}

void fake_watches_connected(struct node *node)
{
	for (struct fwatch *w = node->watches; w; w = w->next)
		send_watch(w);
}

void fake_watches_done(struct node *node)
{
	while (node->watches)
		fake_watch_free((struct bus_watch *)(void *)node->watches);
}
