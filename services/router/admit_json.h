/* Is this text one JSON value? A strict check without a parse tree: what an edge has already
 * validated costs a scan here, not an allocation per member.
 *
 * RFC 8259 grammar, UTF-8 per RFC 3629, no NUL in strings, lone surrogates refused, nesting
 * bounded. Unlike json_parse() it does not look for repeated members: telling them apart needs the
 * tree. Pure. */
#ifndef PENSTOCK_ROUTER_ADMIT_JSON_H
#define PENSTOCK_ROUTER_ADMIT_JSON_H

#include <stdbool.h>
#include <stddef.h>

/* One less than json_parse() takes, as a task's input travels inside the object of task.accepted.
 */
#define ADMIT_JSON_DEPTH 63

bool admit_json_valid(const void *data, size_t len);
/* Valid UTF-8 without control characters; for names that end up in JSON documents. */
bool admit_text_valid(const char *text, size_t max);

#endif
