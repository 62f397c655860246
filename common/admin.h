/* Every service's admin port: /livez, /readyz, /metrics. One thread of its own (libmicrohttpd).
 *
 * Ready is said by the service with admin_ready(); the reason for not being ready is the body of
 * the 503. */
#ifndef PENSTOCK_ADMIN_H
#define PENSTOCK_ADMIN_H

#include <stdbool.h>

#include "common/err.h"
#include "common/metrics.h"

struct admin;

/* addr "127.0.0.1"; port 0 chooses one (see admin_port). metrics is borrowed until admin_stop. */
struct admin *admin_start(const char *addr, int port, struct metrics *metrics, struct error *err);
int admin_port(const struct admin *admin);
/* Any thread. reason is copied; ignored when ready. */
void admin_ready(struct admin *admin, bool ready, const char *reason);
void admin_stop(struct admin *admin); /* NULL is fine */

#endif
