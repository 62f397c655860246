#include "services/edge/roll.h"

#include <stdio.h>
#include <string.h>

/* The first entry that is not before the session. */
static unsigned place_of(const struct roll *r, const char *session)
{
	unsigned low = 0, high = r->n;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (strcmp(r->entries[mid].session, session) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct roll_entry *make_room(struct roll *r, unsigned at)
{
	struct roll_entry *e = &r->entries[at];

	if (r->n < r->limit)
		r->n++;
	memmove(e + 1, e, (r->n - 1 - at) * sizeof(*e));
	return e;
}

void roll_add(struct roll *r, const char *session, const char *tenant, const char *principal,
	      unsigned subscriptions)
{
	struct roll_entry *e;
	unsigned at;

	if (!*session || strcmp(session, r->after) <= 0 ||
	    (*r->tenant && strcmp(r->tenant, tenant) != 0))
		return;
	at = place_of(r, session);
	if (at == r->limit)
		return;
	if (at < r->n && !strcmp(r->entries[at].session, session)) {
		r->entries[at].sockets++;
		r->entries[at].subscriptions += subscriptions;
		return;
	}
	e = make_room(r, at);
	*e = (struct roll_entry){.sockets = 1, .subscriptions = subscriptions};
	snprintf(e->session, sizeof(e->session), "%s", session);
	snprintf(e->tenant, sizeof(e->tenant), "%s", tenant);
	snprintf(e->principal, sizeof(e->principal), "%s", principal);
}

void roll_print(const struct roll *r, struct strbuf *out)
{
	strbuf_addc(out, '[');
	for (unsigned i = 0; i < r->n; i++) {
		const struct roll_entry *e = &r->entries[i];

		strbuf_addf(out,
			    "%s{\"session\":\"%s\",\"tenant\":\"%s\",\"principal\":", i ? "," : "",
			    e->session, e->tenant);
		strbuf_add_json(out, e->principal);
		strbuf_addf(out, ",\"sockets\":%u,\"subscriptions\":%u}", e->sockets,
			    e->subscriptions);
	}
	strbuf_addc(out, ']');
}
