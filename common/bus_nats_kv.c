/* Buckets: streams KV_<bucket> with the subjects $KV.<bucket>.<key>, as ADR-8 lays them down. A
 * watch is an ephemeral push consumer without acknowledgements; any doubt (a hole in its sequence,
 * silence, a new connection) ends it, and a new one tells everything again. */
#include <stdlib.h>
#include <string.h>

#include "common/bus_nats_int.h"
#include "common/json.h"
#include "common/log.h"

#define BEAT_US      2000000
#define SILENT_BEATS 3
#define RETRY_US     500000

struct nwatch {
	struct bus_base base;
	struct nbus *bus; /* NULL: freed by its owner */
	struct nwatch *next, **prev;
	int refs; /* the owner's, one while the answer to CREATE is due, one during callbacks */
	char *bucket;
	size_t skip; /* length of "$KV.<bucket>." */
	bus_entry_fn *fn;
	void *arg;
	struct nsub *sub;
	json_t *keys;      /* key: round in which it was last told */
	json_int_t round;  /* each start of the telling is one */
	bool told;         /* READY of this round */
	uint64_t last_seq; /* consumer sequence of the last delivery */
	uint64_t expected; /* deliveries until READY, 0: not known yet */
	uint64_t newest;   /* revision of the last entry of this round, 0: none yet */
	int64_t heard_us;
	struct timer timer;
};

static bool bucket_ok(const char *name)
{
	return stream_name_ok(name) && strlen(name) < 48;
}

static bool key_ok(const char *key)
{
	return key && *key && strlen(key) < 512 && subject_ok(key, false) &&
	       strspn(key,
		      "-/_=.:abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") ==
		   strlen(key);
}

void nbus_bucket_ensure(struct bus *base, const struct bus_bucket_conf *conf, bus_done_fn *fn,
			void *arg)
{
	struct strbuf name = {0}, subject = {0};
	int64_t window = 120000000000;
	json_t *config;

	if (conf->ttl_ms > 0 && conf->ttl_ms * 1000000 < window)
		window = conf->ttl_ms * 1000000;
	strbuf_addf(&name, "KV_%s", bucket_ok(conf->name) ? conf->name : ".");
	strbuf_addf(&subject, "$KV.%s.>", conf->name);
	config =
	    json_pack("{s:s, s:[s], s:s, s:s, s:s, s:i, s:i, s:I, s:I, s:i, s:b, s:b, s:b}", "name",
		      name.data, "subjects", subject.data, "retention", "limits", "storage", "file",
		      "discard", "new", "max_bytes", -1, "max_msgs_per_subject", 1, "max_age",
		      (json_int_t)(conf->ttl_ms * 1000000), "duplicate_window", (json_int_t)window,
		      "num_replicas", conf->replicas ? conf->replicas : 1, "allow_direct", 1,
		      "allow_rollup_hdrs", 1, "deny_delete", 1);
	ensure_config(nbus_of(base), config, fn, arg);
	strbuf_done(&name);
	strbuf_done(&subject);
}

static void write_key(struct bus *base, const char *bucket, const char *key, const void *data,
		      size_t len, bool del, bus_ack_fn *fn, void *arg)
{
	struct strbuf subject = {0};

	if (bucket_ok(bucket) && key_ok(key))
		strbuf_addf(&subject, "$KV.%s.%s", bucket, key);
	struct call c = {
	    .subject = strbuf_str(&subject),
	    .data = data,
	    .len = len,
	    .expect_last_seq = -1,
	    .del = del,
	    .timeout_ms = API_TIMEOUT_MS,
	    .reply = ack_reply,
	    .fn = (generic_fn *)fn,
	    .arg = arg,
	    .owner = arg,
	};
	nbus_call(nbus_of(base), &c);
	strbuf_done(&subject);
}

void nbus_put(struct bus *bus, const char *bucket, const char *key, const void *data, size_t len,
	      bus_ack_fn *fn, void *arg)
{
	write_key(bus, bucket, key, data, len, false, fn, arg);
}

void nbus_del(struct bus *bus, const char *bucket, const char *key, bus_ack_fn *fn, void *arg)
{
	write_key(bus, bucket, key, NULL, 0, true, fn, arg);
}

/* --- watching -------------------------------------------------------------------------------- */

static void watch_unref(struct nwatch *w)
{
	if (--w->refs > 0)
		return;
	json_decref(w->keys);
	free(w->bucket);
	free(w);
}

static void watch_drop(void *arg)
{
	watch_unref(arg);
}

static void tell(struct nwatch *w, enum bus_entry_op op, const char *key, natsMsg *msg,
		 uint64_t rev)
{
	struct bus_entry entry = {
	    .op = op,
	    .key = key,
	    .data = msg && op == BUS_ENTRY_PUT ? natsMsg_GetData(msg) : NULL,
	    .len = msg && op == BUS_ENTRY_PUT ? (size_t)natsMsg_GetDataLength(msg) : 0,
	    .revision = rev,
	};

	w->fn(w->arg, &entry);
}

/* All of this round was told: what an earlier one told and this one did not is gone. */
static void tell_ready(struct nwatch *w)
{
	json_t *gone = json_array();
	const char *key;
	json_t *round, *k;
	size_t i;

	w->told = true;
	json_object_foreach(w->keys, key, round)
	{
		if (json_integer_value(round) != w->round)
			json_array_append_new(gone, json_string(key));
	}
	json_array_foreach(gone, i, k)
	{
		json_object_del(w->keys, json_string_value(k));
		if (w->bus)
			tell(w, BUS_ENTRY_DEL, json_string_value(k), NULL, 0);
	}
	json_decref(gone);
	if (w->bus)
		tell(w, BUS_ENTRY_READY, NULL, NULL, w->newest);
}

static void watch_start(struct nwatch *w);

static void restart(struct nwatch *w, int64_t delay_us)
{
	nsub_close(w->sub);
	w->sub = NULL;
	timer_set(w->bus->loop, &w->timer, delay_us);
}

static void on_entry(struct nwatch *w, natsMsg *msg, const struct ack_info *info)
{
	const char *subject = natsMsg_GetSubject(msg), *key, *op;
	bool del = natsMsgHeader_Get(msg, "KV-Operation", &op) == NATS_OK;
	bool known;

	if (info->consumer_seq != w->last_seq + 1) {
		restart(w, 0);
		return;
	}
	w->last_seq = info->consumer_seq;
	w->newest = info->seq;
	if (w->expected == 0)
		w->expected = info->consumer_seq + info->pending;
	key = strlen(subject) > w->skip ? subject + w->skip : "";
	known = json_object_get(w->keys, key) != NULL;
	if (!del) {
		json_object_set_new(w->keys, key, json_integer(w->round));
		tell(w, BUS_ENTRY_PUT, key, msg, info->seq);
	} else if (known || w->told) {
		json_object_del(w->keys, key);
		tell(w, BUS_ENTRY_DEL, key, msg, info->seq);
	}
	if (w->bus && w->sub && !w->told && (info->pending == 0 || w->last_seq >= w->expected))
		tell_ready(w);
}

static void on_control(struct nwatch *w, natsMsg *msg)
{
	const char *reply = natsMsg_GetReply(msg), *stalled;
	uint64_t last;

	if (reply) { /* flow control: say that we are here */
		nbus_send(w->bus, reply, "", 0);
		return;
	}
	if (natsMsgHeader_Get(msg, "Nats-Consumer-Stalled", &stalled) == NATS_OK)
		nbus_send(w->bus, stalled, "", 0);
	if (header_u64(msg, "Nats-Last-Consumer", &last) && last != w->last_seq)
		restart(w, 0);
	else if (!w->told) /* idle, so nothing is to come: what was pending has aged out */
		tell_ready(w);
}

static void raw_watch(struct nbus *bus, void *arg, natsMsg *msg)
{
	struct nwatch *w = arg;
	struct ack_info info;

	w->heard_us = loop_now_us(bus->loop);
	w->refs++;
	if (ack_parse(natsMsg_GetReply(msg), &info))
		on_entry(w, msg, &info);
	else if (msg_status(msg) == 100)
		on_control(w, msg);
	else
		restart(w, RETRY_US);
	watch_unref(w);
}

static void on_created(struct nbus *bus, void *arg, generic_fn *fn, enum bus_result result,
		       natsMsg *msg)
{
	struct nwatch *w = arg;
	json_t *root = NULL;

	(void)fn;
	if (result == BUS_OK)
		result = api_result(bus, msg, &root, NULL);
	if (!w->bus || !w->sub) {
		;
	} else if (result != BUS_OK) {
		if (result == BUS_REJECTED)
			log_at(LOG_WARN, "cannot watch", LOG_S("bucket", w->bucket),
			       LOG_S("error", bus->error_text));
		restart(w, RETRY_US);
	} else if (json_integer_value(json_object_get(root, "num_pending")) == 0 &&
		   w->last_seq == 0 && !w->told) {
		tell_ready(w);
	}
	json_decref(root);
	watch_unref(w);
}

static void watch_start(struct nwatch *w)
{
	struct nbus *bus = w->bus;
	struct strbuf inbox = {0}, filter = {0}, subject = {0};
	json_t *root;
	char *body;

	if (!bus->connected)
		return;
	strbuf_addf(&inbox, "%s.w.%llu", bus->inbox, (unsigned long long)++bus->names);
	strbuf_addf(&filter, "$KV.%s.>", w->bucket);
	strbuf_addf(&subject, "$JS.API.CONSUMER.CREATE.KV_%s", w->bucket);
	w->sub = nsub_open(bus, inbox.data, NULL, false, raw_watch, w);
	w->round++;
	w->told = false;
	w->last_seq = w->expected = w->newest = 0;
	w->heard_us = loop_now_us(bus->loop);
	root =
	    json_pack("{s:s+, s:{s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:b, s:i}}", "stream_name",
		      "KV_", w->bucket, "config", "deliver_subject", inbox.data, "deliver_policy",
		      "last_per_subject", "ack_policy", "none", "replay_policy", "instant",
		      "filter_subject", filter.data, "idle_heartbeat", (json_int_t)BEAT_US * 1000,
		      "flow_control", 1, "mem_storage", 1, "num_replicas", 1);
	body = json_dumps(root, JSON_COMPACT);
	w->refs++;
	nbus_call_api(bus, subject.data, body, on_created, NULL, w, NULL, watch_drop);
	timer_set(bus->loop, &w->timer, BEAT_US);
	json_decref(root);
	free(body);
	strbuf_done(&inbox);
	strbuf_done(&filter);
	strbuf_done(&subject);
}

static void on_watch_timer(struct timer *timer, void *arg)
{
	struct nwatch *w = arg;

	if (!w->sub)
		watch_start(w);
	else if (loop_now_us(w->bus->loop) - w->heard_us > SILENT_BEATS * BEAT_US)
		restart(w, 0);
	else
		timer_set(w->bus->loop, timer, BEAT_US);
}

struct bus_watch *nbus_watch(struct bus *base, const char *bucket, bus_entry_fn *fn, void *arg,
			     struct error *err)
{
	struct nbus *bus = nbus_of(base);
	struct nwatch *w;

	if (!bucket_ok(bucket)) {
		err_set(err, ERR_REJECTED, "bad bucket name");
		return NULL;
	}
	w = xcalloc(1, sizeof(*w));
	w->base.ops = &nbus_ops;
	w->bus = bus;
	w->refs = 1;
	w->bucket = xstrdup(bucket);
	w->skip = strlen("$KV..") + strlen(bucket);
	w->fn = fn;
	w->arg = arg;
	w->keys = json_object();
	timer_init(&w->timer, on_watch_timer, w);
	w->next = bus->watches;
	w->prev = &bus->watches;
	if (w->next)
		w->next->prev = &w->next;
	bus->watches = w;
	watch_start(w);
	return (struct bus_watch *)(void *)w;
}

void nbus_watch_free(struct bus_watch *watch)
{
	struct nwatch *w = (struct nwatch *)(void *)watch;

	timer_cancel(w->bus->loop, &w->timer);
	nsub_close(w->sub);
	w->sub = NULL;
	*w->prev = w->next;
	if (w->next)
		w->next->prev = w->prev;
	w->bus = NULL;
	watch_unref(w);
}

void watches_connected(struct nbus *bus)
{
	for (struct nwatch *w = bus->watches; w; w = w->next) {
		if (w->sub)
			nsub_close(w->sub);
		w->sub = NULL;
		watch_start(w);
	}
}

void watches_lost(struct nbus *bus)
{
	for (struct nwatch *w = bus->watches; w; w = w->next) {
		nsub_close(w->sub);
		w->sub = NULL;
		timer_cancel(bus->loop, &w->timer);
	}
}

void watches_free(struct nbus *bus)
{
	for (struct nwatch *w = bus->watches, *next; w; w = next) {
		next = w->next;
		nbus_watch_free((struct bus_watch *)(void *)w);
	}
}
