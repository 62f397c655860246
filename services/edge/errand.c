#include "services/edge/errand.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "services/edge/reactor.h"

json_t *errand_read(const struct bus_msg *msg)
{
	if (msg->len > ERRAND_BODY_MAX || !msg->reply || strlen(msg->reply) > ERRAND_REPLY_MAX)
		return NULL;
	return json_parse(msg->data, msg->len, NULL);
}

static void come_home(struct loop_post *post)
{
	struct errand *e = (struct errand *)post;
	struct strbuf answer = {0};
	struct error err;

	e->finish(e, &answer);
	if (e->hub->bus &&
	    bus_publish(e->hub->bus, e->reply, strbuf_str(&answer), answer.len, &err))
		log_at(LOG_WARN, "the operators get no answer", LOG_S("reason", err.msg));
	strbuf_done(&answer);
	free(e);
}

static void on_visit(struct loop_post *post)
{
	struct errand *e = (struct errand *)post;
	struct edge *edge = e->hub->edge;
	struct loop *next = hub_loop(e->hub);

	e->visit(e, edge->reactors[e->at]);
	if (++e->at < edge->n_reactors)
		next = edge->reactors[e->at]->loop;
	else
		e->post.fn = come_home;
	loop_post(next, &e->post);
}

void errand_start(struct hub *hub, struct errand *e, const struct bus_msg *msg)
{
	e->hub = hub;
	e->at = 0;
	e->post.fn = on_visit;
	snprintf(e->reply, sizeof(e->reply), "%s", msg->reply);
	loop_post(hub->edge->reactors[0]->loop, &e->post);
}
