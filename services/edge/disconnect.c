#include "services/edge/disconnect.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "services/edge/conn.h"
#include "services/edge/errand.h"

struct order {
	struct errand errand;
	struct id session;
	unsigned code;
	unsigned sockets;
	char tenant[TENANT_MAX + 1];
};

/* A session has two sockets for the moment in which one takes the other's place. */
static void visit(struct errand *e, struct reactor *r)
{
	struct order *o = (struct order *)e;

	for (struct conn *c = r->conns; c; c = c->next) {
		if (!c->principal || c->close_sent || strcmp(c->session.id.text, o->session.text))
			continue;
		memcpy(o->tenant, c->principal->tenant, sizeof(o->tenant));
		o->sockets++;
		conn_close(c, o->code, "disconnected");
	}
}

static void finish(struct errand *e, struct strbuf *answer)
{
	struct order *o = (struct order *)e;

	if (o->sockets)
		log_at(LOG_INFO, "session disconnected", LOG_S("session", o->session.text),
		       LOG_S("tenant", o->tenant), LOG_I("sockets", o->sockets),
		       LOG_I("code", o->code));
	strbuf_addf(answer, "{\"tenant\":\"%s\",\"edge\":\"%s\",\"sockets\":%u}", o->tenant,
		    e->hub->edge->conf->common.instance, o->sockets);
}

static void on_message(void *arg, const struct bus_msg *msg)
{
	struct hub *hub = arg;
	json_t *doc = errand_read(msg);
	const char *session = json_string_value(json_object_get(doc, "session"));

	if (session && id_valid(session)) {
		struct order *o = xcalloc(1, sizeof(*o));

		o->errand = (struct errand){.visit = visit, .finish = finish};
		o->code = json_is_true(json_object_get(doc, "resume")) ? CLOSE_MOVED : CLOSE_KICKED;
		snprintf(o->session.text, sizeof(o->session.text), "%s", session);
		errand_start(hub, &o->errand, msg);
	} else {
		metric_add(hub->edge->stats.malformed, 1);
	}
	json_decref(doc);
}

int disconnect_start(struct hub *hub, struct error *err)
{
	const struct subject s =
	    subject_errand(ERRAND_DISCONNECT, hub->edge->conf->common.instance);

	hub->disconnect_sub = bus_subscribe(hub->bus, s.text, NULL, on_message, hub, err);
	return hub->disconnect_sub ? 0 : -1;
}

void disconnect_stop(struct hub *hub)
{
	bus_unsubscribe(hub->disconnect_sub);
	hub->disconnect_sub = NULL;
}
