#include "common/members.h"

#include <stdlib.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#include "common/json.h"
#include "common/log.h"
#include "common/names.h"
#include "common/strbuf.h"

#define BEAT_US    ((int64_t)MEMBER_BEAT_MS * 1000)
#define TTL_US     ((int64_t)MEMBER_TTL_MS * 1000)
#define ENTRY_MAX  65536 /* bytes of a member's document */
#define COUNT_MAX  4096  /* members; more is somebody's mistake, and they are not looked at */
#define OFFLINE_US ((int64_t)250000)

struct entry {
	struct entry *next;
	char *key, *service;
	const char *id;
	char *text; /* as it was put, to see whether a beat says anything new */
	size_t len;
	json_t *doc;
	int64_t heard_us;
};

struct members {
	struct bus *bus;
	struct loop *loop;
	struct bus_watch *watch;
	char *service, *id, *key; /* of this process; NULL: only watches */
	json_t *self;
	int64_t started_ms;
	struct entry *list;
	size_t count;
	bool known, offline;
	struct metric *refused;
	uint64_t n_refused;
	void (*changed)(void *arg);
	void *arg;
	json_t *(*describe)(void *arg); /* NULL: self stays as it is */
	void *describe_arg;
	struct timer beat, sweep;
};

static void entry_free(struct entry *e)
{
	free(e->key);
	free(e->service);
	free(e->text);
	json_decref(e->doc);
	free(e);
}

static struct entry *find(const struct members *m, const char *key)
{
	struct entry *e = m->list;

	while (e && strcmp(e->key, key) != 0)
		e = e->next;
	return e;
}

static void told(struct members *m)
{
	if (m->known && m->changed)
		m->changed(m->arg);
}

/* --- this process ---------------------------------------------------------------------------- */

static void put_self(struct members *m)
{
	json_t *doc;
	char *text;
	size_t len;

	if (!m->key || !bus_connected(m->bus))
		return;
	doc = json_pack("{s:s, s:s, s:I}", "service", m->service, "id", m->id, "started",
			(json_int_t)m->started_ms);
	json_object_update_missing(doc, m->self);
	text = json_text(doc, &len);
	bus_put(m->bus, BUCKET_MEMBERS, m->key, text, len, NULL, NULL);
	free(text);
	json_decref(doc);
}

static void on_beat(struct timer *timer, void *arg)
{
	struct members *m = arg;

	if (m->describe)
		members_update(m, m->describe(m->describe_arg));
	else
		put_self(m);
	timer_set(m->loop, timer, BEAT_US);
}

/* --- the others ------------------------------------------------------------------------------ */

/* Removes those whose time is over and looks when the next one's will be. While the broker is away
 * nobody can be heard, so nobody is gone: their time begins anew when it is back. */
static void on_sweep(struct timer *timer, void *arg)
{
	struct members *m = arg;
	int64_t now = loop_now_us(m->loop), next = now + TTL_US;
	bool gone = false;

	if (!bus_connected(m->bus)) {
		m->offline = true;
		timer_set(m->loop, timer, OFFLINE_US);
		return;
	}
	for (struct entry **p = &m->list; *p;) {
		struct entry *e = *p;

		if (m->offline)
			e->heard_us = now;
		if (now - e->heard_us >= TTL_US) {
			*p = e->next;
			m->count--;
			log_at(LOG_INFO, "member is gone", LOG_S("member", e->key));
			entry_free(e);
			gone = true;
			continue;
		}
		if (e->heard_us + TTL_US < next)
			next = e->heard_us + TTL_US;
		p = &e->next;
	}
	m->offline = false;
	timer_set(m->loop, timer, next - now > OFFLINE_US ? OFFLINE_US : next - now);
	if (gone)
		told(m);
}

static void refuse(struct members *m, const char *key, const char *why)
{
	if (m->refused)
		metric_add(m->refused, 1);
	/* The first, then ever more rarely: whoever does this does it every second. */
	if ((m->n_refused & (m->n_refused + 1)) == 0)
		log_at(LOG_WARN, "member's document is refused", LOG_S("member", key),
		       LOG_S("reason", why), LOG_I("n", m->n_refused + 1));
	m->n_refused++;
}

static bool says(const json_t *doc, const char *name, const char *text, size_t len)
{
	const json_t *v = json_object_get(doc, name);

	return json_is_string(v) && json_string_length(v) == len &&
	       memcmp(json_string_value(v), text, len) == 0;
}

/* The document, if it is one of the member that its key names; else NULL. A stray key would own
 * parts that nobody serves. */
static json_t *read_doc(struct members *m, const struct bus_entry *in, const char *dot)
{
	struct error err;
	json_t *doc = json_parse(in->data, in->len, &err);

	if (doc && says(doc, "service", in->key, (size_t)(dot - in->key)) &&
	    says(doc, "id", dot + 1, strlen(dot + 1)))
		return doc;
	json_decref(doc);
	refuse(m, in->key, doc ? "it is not this member's own" : err.msg);
	return NULL;
}

static void on_put(struct members *m, const struct bus_entry *in)
{
	struct entry *e = find(m, in->key);
	const char *dot = strchr(in->key, '.');
	json_t *doc;

	if (e && e->len == in->len && memcmp(e->text, in->data, in->len) == 0) {
		e->heard_us = loop_now_us(m->loop);
		return;
	}
	if (!dot || dot == in->key || !dot[1] || in->len > ENTRY_MAX ||
	    (!e && m->count >= COUNT_MAX)) {
		refuse(m, in->key, "its key, its length, or there are too many");
		return;
	}
	doc = read_doc(m, in, dot);
	if (!doc)
		return;
	if (!e) {
		e = xcalloc(1, sizeof(*e));
		e->key = xstrdup(in->key);
		e->service = xstrndup(in->key, (size_t)(dot - in->key));
		e->id = e->key + (dot - in->key) + 1;
		e->next = m->list;
		m->list = e;
		m->count++;
	}
	free(e->text);
	json_decref(e->doc);
	e->text = xmemdup(in->data, in->len);
	e->len = in->len;
	e->doc = doc;
	e->heard_us = loop_now_us(m->loop);
	told(m);
}

static void on_del(struct members *m, const struct bus_entry *in)
{
	/* No revision: it was not there any more after a gap, which a member that could not beat
	 * while the broker was away has in common with one that left. Its own time decides. */
	if (in->revision == 0)
		return;
	for (struct entry **p = &m->list; *p; p = &(*p)->next) {
		struct entry *e = *p;

		if (strcmp(e->key, in->key) != 0)
			continue;
		*p = e->next;
		m->count--;
		entry_free(e);
		told(m);
		return;
	}
}

static void on_entry(void *arg, const struct bus_entry *in)
{
	struct members *m = arg;

	if (in->op == BUS_ENTRY_PUT) {
		on_put(m, in);
	} else if (in->op == BUS_ENTRY_DEL) {
		on_del(m, in);
	} else {
		bool first = !m->known;

		m->known = true;
		/* The bucket may have been made a moment ago, or our entry have aged out of it. */
		if (m->key && !find(m, m->key))
			put_self(m);
		if (first)
			told(m);
	}
}

struct members *members_start(struct bus *bus, struct loop *loop, const char *self_service,
			      const char *self_id, json_t *self_doc, void (*changed)(void *arg),
			      void *arg, struct error *err)
{
	struct members *m;
	struct strbuf key = {0};

	if (self_service && (strchr(self_service, '.') || !name_valid_channel(self_service) ||
			     !self_id || !name_valid_channel(self_id) || strchr(self_id, ':'))) {
		json_decref(self_doc);
		err_set(err, ERR_REJECTED, "bad name of a member: %s",
			self_id ? self_id : "(none)");
		return NULL;
	}
	m = xcalloc(1, sizeof(*m));
	m->bus = bus;
	m->loop = loop;
	m->self = self_doc;
	m->changed = changed;
	m->arg = arg;
	m->started_ms = loop_wall_us(loop) / 1000;
	if (self_service) {
		strbuf_addf(&key, "%s.%s", self_service, self_id);
		m->service = xstrdup(self_service);
		m->id = xstrdup(self_id);
		m->key = strbuf_detach(&key, NULL);
	}
	timer_init(&m->beat, on_beat, m);
	timer_init(&m->sweep, on_sweep, m);
	m->watch = bus_watch(bus, BUCKET_MEMBERS, on_entry, m, err);
	if (!m->watch) {
		members_stop(m);
		return NULL;
	}
	if (m->key)
		on_beat(&m->beat, m);
	timer_set(loop, &m->sweep, OFFLINE_US);
	return m;
}

void members_stop(struct members *m)
{
	if (!m)
		return;
	timer_cancel(m->loop, &m->beat);
	timer_cancel(m->loop, &m->sweep);
	bus_watch_free(m->watch);
	if (m->key)
		bus_del(m->bus, BUCKET_MEMBERS, m->key, NULL, NULL);
	while (m->list) {
		struct entry *e = m->list;

		m->list = e->next;
		entry_free(e);
	}
	json_decref(m->self);
	free(m->service);
	free(m->id);
	free(m->key);
	free(m);
}

void members_count_into(struct members *m, struct metrics *metrics)
{
	m->refused = metrics_counter(metrics, "penstock_members_refused_total", NULL,
				     "documents in the members' bucket that were no member's");
}

void members_update(struct members *m, json_t *self_doc)
{
	json_decref(m->self);
	m->self = self_doc;
	put_self(m);
}

void members_describe(struct members *m, json_t *(*describe)(void *arg), void *arg)
{
	m->describe = describe;
	m->describe_arg = arg;
}

bool members_known(const struct members *m)
{
	return m->known;
}

static bool is_of(const struct entry *e, const char *service)
{
	return !service || strcmp(e->service, service) == 0;
}

size_t members_count(const struct members *m, const char *service)
{
	size_t n = 0;

	for (const struct entry *e = m->list; e; e = e->next)
		n += is_of(e, service);
	return n;
}

void members_each(const struct members *m, const char *service,
		  void (*fn)(void *arg, const struct member *member), void *arg)
{
	for (const struct entry *e = m->list; e; e = e->next) {
		struct member member = {e->service, e->id, e->doc};

		if (is_of(e, service))
			fn(arg, &member);
	}
}

/* --- rendezvous ------------------------------------------------------------------------------ */

static uint64_t score(const char *id, uint64_t what)
{
	return XXH3_64bits_withSeed(id, strlen(id), what);
}

/* Equal scores are decided by name, so that all watchers say the same, whatever order they know. */
static bool beats(uint64_t score, const char *id, uint64_t best, const char *best_id)
{
	return !best_id || score > best || (score == best && strcmp(id, best_id) < 0);
}

int rendezvous(const char *const *ids, size_t n, const char *what)
{
	uint64_t seed = XXH3_64bits(what, strlen(what)), best = 0;
	int winner = -1;

	for (size_t i = 0; i < n; i++) {
		uint64_t s = score(ids[i], seed);

		if (beats(s, ids[i], best, winner < 0 ? NULL : ids[winner])) {
			best = s;
			winner = (int)i;
		}
	}
	return winner;
}

bool member_leaves(const struct member *member)
{
	const char *state = json_string_value(json_object_get(member->doc, "state"));
	return state && (strcmp(state, "draining") == 0 || strcmp(state, "drained") == 0);
}

const char *members_owner(const struct members *m, const char *service, unsigned part)
{
	char what[16];
	int len = snprintf(what, sizeof(what), "%u", part);
	uint64_t seed = XXH3_64bits(what, (size_t)len), best = 0;
	const char *owner = NULL;

	for (const struct entry *e = m->list; e; e = e->next) {
		uint64_t s;

		if (!is_of(e, service))
			continue;
		s = score(e->id, seed);
		if (beats(s, e->id, best, owner)) {
			best = s;
			owner = e->id;
		}
	}
	return owner;
}
