#include "services/edge/roll_call.h"

#include <stdio.h>
#include <stdlib.h>

#include "services/edge/conn.h"
#include "services/edge/errand.h"
#include "services/edge/roll.h"

struct roll_call {
	struct errand errand;
	struct roll roll;
};

static void visit(struct errand *e, struct reactor *r)
{
	struct roll_call *call = (struct roll_call *)e;

	for (const struct conn *c = r->conns; c; c = c->next)
		if (c->principal && !c->close_sent)
			roll_add(&call->roll, c->session.id.text, c->principal->tenant,
				 c->principal->id, c->session.n_subs);
}

static void finish(struct errand *e, struct strbuf *answer)
{
	struct roll_call *call = (struct roll_call *)e;

	strbuf_addf(answer, "{\"edge\":\"%s\",\"sessions\":", e->hub->edge->conf->common.instance);
	roll_print(&call->roll, answer);
	strbuf_addc(answer, '}');
}

static bool read_question(const json_t *doc, struct roll *roll)
{
	const char *after = json_string_value(json_object_get(doc, "after"));
	const char *tenant = json_string_value(json_object_get(doc, "tenant"));
	json_int_t limit = json_integer_value(json_object_get(doc, "limit"));

	if (!after || (*after && !id_valid(after)) || (tenant && !name_valid_tenant(tenant)) ||
	    limit < 1 || limit > ROLL_MAX)
		return false;
	snprintf(roll->after, sizeof(roll->after), "%s", after);
	snprintf(roll->tenant, sizeof(roll->tenant), "%s", tenant ? tenant : "");
	roll->limit = (unsigned)limit;
	return true;
}

static void on_message(void *arg, const struct bus_msg *msg)
{
	struct hub *hub = arg;
	json_t *doc = errand_read(msg);
	struct roll_call *call = xcalloc(1, sizeof(*call));

	call->errand = (struct errand){.visit = visit, .finish = finish};
	if (read_question(doc, &call->roll)) {
		errand_start(hub, &call->errand, msg);
	} else {
		metric_add(hub->edge->stats.malformed, 1);
		free(call);
	}
	json_decref(doc);
}

int roll_call_start(struct hub *hub, struct error *err)
{
	const struct subject s = subject_errand(ERRAND_SESSIONS, hub->edge->conf->common.instance);

	hub->roll_sub = bus_subscribe(hub->bus, s.text, NULL, on_message, hub, err);
	return hub->roll_sub ? 0 : -1;
}

void roll_call_stop(struct hub *hub)
{
	bus_unsubscribe(hub->roll_sub);
	hub->roll_sub = NULL;
}
