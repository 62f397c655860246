/* The other forms of an event's frame: protobuf, deflated, both; or a server-sent event. Made by
 * the first reactor that has a subscriber who wants it, from the JSON frame, and shared from then
 * on; when two reactors make one at the same time, the second takes the first one's. A channel
 * where everybody wants JSON never comes here. Threads: any, each with a deflater of its own. */
#ifndef PENSTOCK_EDGE_FORMS_H
#define PENSTOCK_EDGE_FORMS_H

#include "services/edge/deflate.h"
#include "services/edge/outq.h"

/* Sees to it that the frame has this form (see outq_form()). */
void frame_form(struct frame *f, unsigned form, struct deflater *d);
/* The same for FORM_EVENT. epoch: of the log that its offset is of. */
void frame_event(struct frame *f, const char *epoch);

#endif
