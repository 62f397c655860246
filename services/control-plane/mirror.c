#include "services/control-plane/mirror.h"

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>

#include "common/ids.h"
#include "common/strbuf.h"

struct mirror {
	struct bus *bus;
	struct bus_watch *watch;
	char *bucket;
	void (*told)(void *arg);
	void *arg;
	pthread_mutex_t lock; /* all below */
	json_t *digests;      /* key → integer */
	bool ready;
};

static json_int_t digest(const void *data, size_t len)
{
	struct digest_part part = {data, len};
	return (json_int_t)digest64(&part, 1);
}

static void on_entry(void *arg, const struct bus_entry *entry)
{
	struct mirror *m = arg;
	pthread_mutex_lock(&m->lock);
	switch (entry->op) {
	case BUS_ENTRY_PUT:
		json_object_set_new_nocheck(m->digests, entry->key,
					    json_integer(digest(entry->data, entry->len)));
		break;
	case BUS_ENTRY_DEL:
		json_object_del(m->digests, entry->key);
		break;
	case BUS_ENTRY_READY:
		m->ready = true;
		break;
	}
	pthread_mutex_unlock(&m->lock);
	if (entry->op == BUS_ENTRY_READY)
		m->told(m->arg);
}

struct mirror *mirror_start(struct bus *bus, const char *bucket, void (*told)(void *arg), void *arg,
			    struct error *err)
{
	struct mirror *m = xcalloc(1, sizeof(*m));
	pthread_mutex_init(&m->lock, NULL);
	m->bus = bus;
	m->bucket = xstrdup(bucket);
	m->told = told;
	m->arg = arg;
	m->digests = json_object();
	m->watch = bus_watch(bus, bucket, on_entry, m, err);
	if (m->watch)
		return m;
	mirror_stop(m);
	return NULL;
}

void mirror_stop(struct mirror *m)
{
	if (!m)
		return;
	if (m->watch)
		bus_watch_free(m->watch);
	json_decref(m->digests);
	pthread_mutex_destroy(&m->lock);
	free(m->bucket);
	free(m);
}

bool mirror_ready(struct mirror *m)
{
	pthread_mutex_lock(&m->lock);
	bool ready = m->ready;
	pthread_mutex_unlock(&m->lock);
	return ready;
}

size_t mirror_size(struct mirror *m)
{
	pthread_mutex_lock(&m->lock);
	size_t n = json_object_size(m->digests);
	pthread_mutex_unlock(&m->lock);
	return n;
}

bool mirror_has(struct mirror *m, const char *key, const char *document, size_t len)
{
	pthread_mutex_lock(&m->lock);
	const json_t *known = json_object_get(m->digests, key);
	bool same = known && json_integer_value(known) == digest(document, len);
	pthread_mutex_unlock(&m->lock);
	return same;
}

char **mirror_keys(struct mirror *m)
{
	pthread_mutex_lock(&m->lock);
	char **keys = xcalloc(json_object_size(m->digests) + 1, sizeof(*keys));
	size_t n = 0;
	const char *key;
	json_t *value;
	json_object_foreach(m->digests, key, value) keys[n++] = xstrdup(key);
	pthread_mutex_unlock(&m->lock);
	return keys;
}
