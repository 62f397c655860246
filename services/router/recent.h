/* What was accepted lately: the id of a keyed event or task → where it is and what it stood for.
 *
 * Answers a repeat, or a conflict, without asking the broker. Least recently used entries go first;
 * the bound is fixed at the start and so is the memory (64 bytes an entry). An entry is a fact
 * about a message that the broker acknowledged, so it is right on whichever router owns the part
 * now. It is a shortcut, never the authority: what is not here is asked of the stream. Pure.
 * Threads: one owner. */
#ifndef PENSTOCK_ROUTER_RECENT_H
#define PENSTOCK_ROUTER_RECENT_H

#include <stddef.h>
#include <stdint.h>

#include "common/ids.h"

struct recent;

struct recent_entry {
	uint64_t digest;
	uint64_t offset;
	uint64_t command; /* recent_command() of the command that made it */
};

/* max entries, from 1. */
struct recent *recent_new(size_t max);
void recent_free(struct recent *recent); /* NULL is fine */
/* A new life of the stream: nothing that was known holds any more. */
void recent_clear(struct recent *recent);
size_t recent_count(const struct recent *recent);

/* A digest of a command's id: enough to know one's own. */
uint64_t recent_command(const char *command);

/* Borrowed until the next call; NULL: not known. Makes it the youngest. */
const struct recent_entry *recent_find(struct recent *recent, const char *id);
/* Replaces what was known of this id; an id that is no UUID is ignored. */
void recent_add(struct recent *recent, const char *id, const struct recent_entry *entry);

#endif
