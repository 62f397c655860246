/* Which sessions there are: so many of them, in the order of their ids, behind a given one.
 *
 * Sessions are added in any order, a session with two sockets twice; what is left are the first
 * ones, each once. Pure. Threads: one at a time. */
#ifndef PENSTOCK_EDGE_ROLL_H
#define PENSTOCK_EDGE_ROLL_H

#include "common/ids.h"
#include "common/names.h"
#include "common/strbuf.h"

#define ROLL_MAX 201

struct roll_entry {
	char session[ID_LEN + 1], tenant[TENANT_MAX + 1], principal[PRINCIPAL_MAX + 1];
	unsigned sockets, subscriptions;
};

struct roll {
	char after[ID_LEN + 1];      /* "": from the start */
	char tenant[TENANT_MAX + 1]; /* "": everybody's */
	unsigned limit, n;           /* limit <= ROLL_MAX */
	struct roll_entry entries[ROLL_MAX];
};

/* One socket. All copied; a session that has no id (a stream's) is none. */
void roll_add(struct roll *r, const char *session, const char *tenant, const char *principal,
	      unsigned subscriptions);
/* Adds [{session, tenant, principal, sockets, subscriptions}, …]. */
void roll_print(const struct roll *r, struct strbuf *out);

#endif
