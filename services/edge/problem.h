/* Errors over HTTP: application/problem+json (RFC 9457) with the protocol's code, which is also the
 * end of its type: urn:penstock:problem:<code>. Pure; threads: any. */
#ifndef PENSTOCK_EDGE_PROBLEM_H
#define PENSTOCK_EDGE_PROBLEM_H

#include "services/edge/frames.h"

/* The status that a code of the protocol has over HTTP. */
unsigned problem_status(const char *code);
/* The document. trace: a traceparent; its trace id is shown. */
void problem_add(struct strbuf *b, unsigned status, const struct frame_error *e, const char *trace);

#endif
