#include "tests/conformance/entries.h"

#include <stdio.h>
#include <string.h>

static size_t find(struct entries *e, const char *key)
{
	size_t i = 0;

	while (i < e->n && strcmp(e->list[i].key, key) != 0)
		i++;
	return i;
}

void entries_fn(void *arg, const struct bus_entry *entry)
{
	struct entries *e = arg;
	size_t i;

	if (entry->op == BUS_ENTRY_READY) {
		e->ready++;
		e->newest = entry->revision;
		return;
	}
	e->revision = entry->revision;
	if (entry->op == BUS_ENTRY_PUT)
		e->puts++;
	else
		e->dels++;
	i = find(e, entry->key);
	if (i == 32)
		return;
	if (i == e->n)
		snprintf(e->list[e->n++].key, sizeof(e->list[0].key), "%s", entry->key);
	snprintf(e->list[i].value, sizeof(e->list[i].value), "%.*s",
		 entry->op == BUS_ENTRY_PUT ? (int)entry->len : 0,
		 entry->data ? (const char *)entry->data : "");
}

const char *entries_value(const struct entries *e, const char *key)
{
	size_t i = find((struct entries *)e, key);

	return i < e->n ? e->list[i].value : "";
}

void entries_bucket(struct world *w, int64_t ttl_ms)
{
	struct bus_bucket_conf conf = {.name = w->prefix, .ttl_ms = ttl_ms, .replicas = 1};
	struct note note = {0};

	bus_bucket_ensure(w->bus, &conf, note_done, &note);
	world_until(w, &note.n, 1);
	ck_assert_msg(note.result == BUS_OK, "%s", bus_error_text(w->bus));
}

void entries_put(struct world *w, const char *key, const char *value)
{
	struct note note = {0};

	bus_put(w->bus, w->prefix, key, value, strlen(value), note_ack, &note);
	world_until(w, &note.n, 1);
	ck_assert_int_eq(note.result, BUS_OK);
}

struct bus_watch *entries_watch(struct world *w, struct bus *bus, struct entries *e)
{
	struct error err = {0};
	struct bus_watch *watch = bus_watch(bus, w->prefix, entries_fn, e, &err);

	ck_assert_msg(watch, "%s", err.msg);
	return watch;
}
