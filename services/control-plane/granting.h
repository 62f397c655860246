/* The grantor of leases at work (lease.h): who of the control-planes it is, and what it says.
 *
 * The owner of part 0 among the live control-planes grants; it needs NATS, not PostgreSQL. One that
 * becomes the grantor, or was cut off from NATS, starts from nothing and learns. Threads: the bus's
 * loop. */
#ifndef PENSTOCK_CONTROL_GRANTING_H
#define PENSTOCK_CONTROL_GRANTING_H

#include "common/bus.h"
#include "common/members.h"
#include "common/metrics.h"

struct granting;

/* All borrowed; id: of this process among the members. */
struct granting *granting_start(struct bus *bus, struct loop *loop, const struct members *members,
				const char *id, struct metrics *metrics, struct error *err);
void granting_stop(struct granting *g); /* NULL is fine */
/* Who is a member has changed; the connection to NATS has come or gone. NULL is fine. */
void granting_members(struct granting *g);
void granting_bus(struct granting *g, bool connected);

#endif
