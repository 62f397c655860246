/* Members of a JSON object as pieces of its text, found without building a tree.
 *
 * For documents that somebody has already checked (events in the log): a stage's output goes from
 * the log into the next stage's input without being parsed on the way. Malformed text never reads
 * out of bounds; what is found in it is unspecified. Pure; threads: any; pieces borrow from the
 * text. */
#ifndef WORKER_SLICE_H
#define WORKER_SLICE_H

#include <stdint.h>

#include "common/slice.h"

/* The value of the top-level member, quotes included for a string. Names with escapes are not
 * found. */
struct slice slice_member(const char *text, size_t len, const char *name);
/* A string's characters without its quotes, if it needs no unescaping; else absent. */
struct slice slice_text(struct slice value);
/* A whole number; dflt for anything else. */
int64_t slice_int(struct slice value, int64_t dflt);

#endif
