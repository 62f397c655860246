/* The numbers of versions: counted from 1, never used twice. Threads: any. */
#ifndef PENSTOCK_CONTROL_VERSION_H
#define PENSTOCK_CONTROL_VERSION_H

#include "services/control-plane/api.h"

/* 404 for a segment of the path that is no number of a version. */
int version_parse(struct call *call, const char *text, unsigned *version) MUST_CHECK;
/* 409 if the number was used before (last: the highest one ever), also by a version that was
 * deleted. */
int version_free(struct call *call, unsigned last, unsigned version) MUST_CHECK;

#endif
