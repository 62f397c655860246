#include "services/control-plane/bridge.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/json.h"
#include "common/names.h"

/* The loop turns: a call that only reads or writes memory there takes no longer than a turn. */
#define TURN_MS 5000

struct bridge {
	struct loop *loop;
	struct bus *bus;
	struct members *members;
};

/* Shared by the waiter and the loop; the second of them to let go frees it. */
struct call {
	struct loop_post post;
	struct bridge *bridge;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	atomic_int refs;
	bool done;
	void (*start)(struct call *call); /* on the loop's thread; ends with finish() */
	/* Copies of what was asked. */
	char *name;
	void *data;
	size_t len;
	int number, timeout_ms;
	/* What came back. */
	enum bus_result result;
	struct strbuf answer;
	json_t *members;
	/* A batch. */
	struct item *items;
	size_t n, waiting;
};

struct item {
	struct call *call;
	char *key, *document;
	bool acknowledged;
	uint64_t revision;
	/* Of a question to many: what this one said. */
	struct strbuf said;
	enum bus_result result;
};

static void let_go(struct call *call)
{
	if (atomic_fetch_sub(&call->refs, 1) > 1)
		return;
	for (size_t i = 0; i < call->n; i++) {
		free(call->items[i].key);
		free(call->items[i].document);
		strbuf_done(&call->items[i].said);
	}
	free(call->items);
	json_decref(call->members);
	strbuf_done(&call->answer);
	free(call->name);
	free(call->data);
	pthread_cond_destroy(&call->cond);
	pthread_mutex_destroy(&call->lock);
	free(call);
}

static void finish(struct call *call)
{
	pthread_mutex_lock(&call->lock);
	call->done = true;
	pthread_cond_signal(&call->cond);
	pthread_mutex_unlock(&call->lock);
	let_go(call);
}

static void on_loop(struct loop_post *post)
{
	struct call *call = (struct call *)post; /* post is its first member */
	call->start(call);
}

static struct call *call_new(struct bridge *b, void (*start)(struct call *call))
{
	struct call *call = xcalloc(1, sizeof(*call));
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&call->cond, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&call->lock, NULL);
	atomic_init(&call->refs, 2);
	call->post.fn = on_loop;
	call->bridge = b;
	call->start = start;
	call->result = BUS_TIMEOUT;
	return call;
}

/* True if the loop has finished it in time. The waiter keeps its reference in both cases. */
static bool run(struct call *call, int timeout_ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	loop_post(call->bridge->loop, &call->post);
	pthread_mutex_lock(&call->lock);
	while (!call->done && !pthread_cond_timedwait(&call->cond, &call->lock, &until))
		;
	bool done = call->done;
	pthread_mutex_unlock(&call->lock);
	return done;
}

struct bridge *bridge_new(struct loop *loop, struct bus *bus)
{
	struct bridge *b = xcalloc(1, sizeof(*b));
	b->loop = loop;
	b->bus = bus;
	return b;
}

void bridge_free(struct bridge *b)
{
	free(b);
}

void bridge_set_members(struct bridge *b, struct members *members)
{
	b->members = members;
}

/* --- a core request ---------------------------------------------------------------------- */

static void on_answer(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct call *call = arg;
	call->result = result;
	if (result == BUS_OK)
		strbuf_add(&call->answer, msg->data, msg->len);
	finish(call);
}

static void start_request(struct call *call)
{
	bus_request(call->bridge->bus, call->name, call->data, call->len, call->timeout_ms,
		    on_answer, call);
}

enum bus_result bridge_request(struct bridge *b, const char *subject, const void *data, size_t len,
			       int timeout_ms, struct strbuf *answer)
{
	struct call *call = call_new(b, start_request);
	call->name = xstrdup(subject);
	call->data = xmemdup(data, len);
	call->len = len;
	call->timeout_ms = timeout_ms;
	enum bus_result result = BUS_TIMEOUT;
	if (run(call, timeout_ms + TURN_MS)) {
		result = call->result;
		if (result == BUS_OK)
			strbuf_add(answer, call->answer.data, call->answer.len);
	}
	let_go(call);
	return result;
}

/* --- members ----------------------------------------------------------------------------- */

static void add_member(void *arg, const struct member *member)
{
	json_t *doc = json_object();
	json_object_set_new(doc, "id", json_string(member->id));
	json_object_set_new(doc, "service", json_string(member->service));
	json_object_update_missing(doc, (json_t *)member->doc);
	json_array_append_new(arg, doc);
}

static int by_service_and_id(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	int order = strcmp(json_string_value(json_object_get(x, "service")),
			   json_string_value(json_object_get(y, "service")));
	return order ? order
		     : strcmp(json_string_value(json_object_get(x, "id")),
			      json_string_value(json_object_get(y, "id")));
}

static json_t *sorted(json_t *list)
{
	size_t n = json_array_size(list);
	json_t **items = xcalloc(n + 1, sizeof(json_t *)), *out = json_array();
	for (size_t i = 0; i < n; i++)
		items[i] = json_array_get(list, i);
	qsort(items, n, sizeof(json_t *), by_service_and_id);
	for (size_t i = 0; i < n; i++)
		json_array_append(out, items[i]);
	free(items);
	json_decref(list);
	return out;
}

static void start_members(struct call *call)
{
	struct members *members = call->bridge->members;
	if (members && members_known(members)) {
		json_t *list = json_array();
		members_each(members, call->name, add_member, list);
		/* A deep copy: the loop's thread goes on counting references of its own documents.
		 */
		call->members = json_deep_copy(list);
		json_decref(list);
	}
	finish(call);
}

json_t *bridge_members(struct bridge *b, const char *service)
{
	struct call *call = call_new(b, start_members);
	call->name = service ? xstrdup(service) : NULL;
	json_t *list = NULL;
	if (run(call, TURN_MS) && call->members) {
		/* Taken over whole: the loop's thread may be the one that frees the call. */
		list = call->members;
		call->members = NULL;
	}
	let_go(call);
	return list ? sorted(list) : NULL;
}

/* --- a question to all of a service ------------------------------------------------------- */

static void on_one_answer(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct item *item = arg;
	item->result = result;
	if (result == BUS_OK)
		strbuf_add(&item->said, msg->data, msg->len);
	if (--item->call->waiting == 0)
		finish(item->call);
}

static void add_item(void *arg, const struct member *member)
{
	struct call *call = arg;
	call->items[call->n++] = (struct item){.call = call, .key = xstrdup(member->id)};
}

static void start_errand(struct call *call)
{
	struct members *members = call->bridge->members;
	if (members && members_known(members)) {
		call->result = BUS_OK;
		call->items = xcalloc(members_count(members, "edge") + 1, sizeof(*call->items));
		members_each(members, "edge", add_item, call);
	} else {
		call->result = BUS_UNAVAILABLE;
	}
	call->waiting = call->n;
	if (!call->n) {
		finish(call);
		return;
	}
	for (size_t i = 0; i < call->n; i++) {
		const struct subject s = subject_errand(call->name, call->items[i].key);
		bus_request(call->bridge->bus, s.text, call->data, call->len, call->timeout_ms,
			    on_one_answer, &call->items[i]);
	}
}

json_t *bridge_errand(struct bridge *b, const char *errand, const void *data, size_t len,
		      int timeout_ms, json_t **silent)
{
	struct call *call = call_new(b, start_errand);
	call->name = xstrdup(errand);
	call->data = xmemdup(data, len);
	call->len = len;
	call->timeout_ms = timeout_ms;
	json_t *answers = NULL;
	*silent = NULL;
	if (run(call, timeout_ms + TURN_MS) && call->result == BUS_OK) {
		answers = json_array();
		*silent = json_array();
		for (size_t i = 0; i < call->n; i++) {
			struct item *item = &call->items[i];
			json_t *said = item->result == BUS_OK
					   ? json_parse(item->said.data, item->said.len, NULL)
					   : NULL;
			if (json_is_object(said))
				json_array_append(answers, said);
			else
				json_array_append_new(*silent, json_string(item->key));
			json_decref(said);
		}
	}
	let_go(call);
	return answers;
}

/* --- the bucket -------------------------------------------------------------------------- */

static void on_put(void *arg, const struct bus_ack *ack)
{
	struct item *item = arg;
	struct call *call = item->call;
	/* Deleting what is not there is what was wanted. */
	item->acknowledged =
	    ack->result == BUS_OK || (!item->document && ack->result == BUS_NOT_FOUND);
	item->revision = ack->result == BUS_OK ? ack->seq : 0;
	if (--call->waiting == 0)
		finish(call);
}

static void start_put(struct call *call)
{
	call->waiting = call->n;
	for (size_t i = 0; i < call->n; i++) {
		struct item *item = &call->items[i];
		if (item->document)
			bus_put(call->bridge->bus, call->name, item->key, item->document,
				strlen(item->document), on_put, item);
		else
			bus_del(call->bridge->bus, call->name, item->key, on_put, item);
	}
}

size_t bridge_put(struct bridge *b, const char *bucket, const struct bridge_entry *entries,
		  size_t n, int timeout_ms, uint64_t *revisions)
{
	if (n == 0)
		return 0;
	struct call *call = call_new(b, start_put);
	call->name = xstrdup(bucket);
	call->items = xcalloc(n, sizeof(*call->items));
	call->n = n;
	for (size_t i = 0; i < n; i++)
		call->items[i] = (struct item){
		    .call = call,
		    .key = xstrdup(entries[i].key),
		    .document = entries[i].document ? xstrdup(entries[i].document) : NULL};
	size_t good = 0;
	if (run(call, timeout_ms))
		for (; good < n && call->items[good].acknowledged; good++)
			if (revisions)
				revisions[good] = call->items[good].revision;
	let_go(call);
	return good;
}

static void on_ensured(void *arg, enum bus_result result)
{
	struct call *call = arg;
	call->result = result;
	finish(call);
}

static void start_ensure(struct call *call)
{
	struct bus_bucket_conf conf = {.name = call->name, .replicas = call->number};
	bus_bucket_ensure(call->bridge->bus, &conf, on_ensured, call);
}

enum bus_result bridge_ensure(struct bridge *b, const char *bucket, int replicas, int timeout_ms)
{
	struct call *call = call_new(b, start_ensure);
	call->name = xstrdup(bucket);
	call->number = replicas;
	enum bus_result result = run(call, timeout_ms) ? call->result : BUS_TIMEOUT;
	let_go(call);
	return result;
}
