#include "services/edge/disconnect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "common/names.h"
#include "services/edge/conn.h"

#define BODY_MAX  512
#define REPLY_MAX 128 /* an inbox of the bus */

/* To a reactor, and back to the hub if there was such a session. */
struct order {
	struct loop_post post;
	struct reactor *reactor;
	struct id session;
	unsigned code;
	int sockets;
	char tenant[TENANT_MAX + 1];
	char reply[REPLY_MAX + 1];
};

static void on_closed(struct loop_post *post)
{
	struct order *o = (struct order *)post;
	struct hub *hub = o->reactor->edge->hub;
	const char *edge = hub->edge->conf->common.instance;
	struct error err;
	char text[BODY_MAX];
	int len = snprintf(text, sizeof(text), "{\"tenant\":\"%s\",\"edge\":\"%s\",\"sockets\":%d}",
			   o->tenant, edge, o->sockets);

	log_at(LOG_INFO, "session disconnected", LOG_S("session", o->session.text),
	       LOG_S("tenant", o->tenant), LOG_I("sockets", o->sockets), LOG_I("code", o->code));
	if (hub->bus && *o->reply && len < (int)sizeof(text) &&
	    bus_publish(hub->bus, o->reply, text, (size_t)len, &err))
		log_at(LOG_WARN, "disconnect not answered", LOG_S("reason", err.msg));
	free(o);
}

/* A session has two sockets for the moment in which one takes the other's place. */
static void on_order(struct loop_post *post)
{
	struct order *o = (struct order *)post;
	struct reactor *r = o->reactor;

	for (struct conn *c = r->conns; c; c = c->next) {
		if (!c->principal || c->close_sent || strcmp(c->session.id.text, o->session.text))
			continue;
		memcpy(o->tenant, c->principal->tenant, sizeof(o->tenant));
		o->sockets++;
		conn_close(c, o->code, "disconnected");
	}
	if (!o->sockets) {
		free(o);
		return;
	}
	o->post.fn = on_closed;
	loop_post(hub_loop(r->edge->hub), &o->post);
}

static bool read_order(const struct bus_msg *msg, struct order *o)
{
	json_t *doc = msg->len <= BODY_MAX ? json_parse(msg->data, msg->len, NULL) : NULL;
	const char *session = json_string_value(json_object_get(doc, "session"));
	bool good =
	    session && id_valid(session) && (!msg->reply || strlen(msg->reply) <= REPLY_MAX);

	if (good) {
		o->code = json_is_true(json_object_get(doc, "resume")) ? CLOSE_MOVED : CLOSE_KICKED;
		snprintf(o->session.text, sizeof(o->session.text), "%s", session);
		snprintf(o->reply, sizeof(o->reply), "%s", msg->reply ? msg->reply : "");
	}
	json_decref(doc);
	return good;
}

static void on_message(void *arg, const struct bus_msg *msg)
{
	struct hub *hub = arg;
	struct order order = {.code = 0};

	if (!read_order(msg, &order)) {
		metric_add(hub->edge->stats.malformed, 1);
		return;
	}
	for (unsigned i = 0; i < hub->edge->n_reactors; i++) {
		struct order *o = xmalloc(sizeof(*o));

		*o = order;
		o->reactor = hub->edge->reactors[i];
		o->post.fn = on_order;
		loop_post(o->reactor->loop, &o->post);
	}
}

int disconnect_start(struct hub *hub, struct error *err)
{
	hub->disconnect_sub =
	    bus_subscribe(hub->bus, SUBJECT_DISCONNECT, NULL, on_message, hub, err);
	return hub->disconnect_sub ? 0 : -1;
}

void disconnect_stop(struct hub *hub)
{
	bus_unsubscribe(hub->disconnect_sub);
	hub->disconnect_sub = NULL;
}
