/* Which parts this process serves: the ones it owns by the members, and for a while those it has
 * just lost.
 *
 * The queue group lets both the old and the new owner listen during the change, so no command falls
 * between them: who loses a part goes on serving it for linger_ms, longer than the news of the
 * members takes. Then it tells the broker, and listens a little longer still: what the broker had
 * given to it before is given to nobody else. A part without any owner (nobody is seen alive) stays
 * where it is.
 *
 *   free ─► owned ─(lost)─► lingering ─(linger_ms)─► draining ─(DRAIN_US)─► free
 *             ▲─────────────────┴──────(owned again)─────┘ */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "services/router/impl.h"

#define QUEUE    "router"
#define DRAIN_US 500000 /* a round trip to the broker, on a bad day */

static void on_command(void *arg, const struct bus_msg *msg)
{
	struct router_part *p = arg;
	router_command(p->router, p->part, msg->reply, msg->data, msg->len);
}

static void on_end(void *arg, const struct bus_msg *msg)
{
	struct router_part *p = arg;
	router_end_message(p->router, msg->data, msg->len);
}

static void on_lease(void *arg, const struct bus_msg *msg)
{
	struct router_part *p = arg;
	router_lease(p->router, p->part, msg->reply, msg->data, msg->len);
}

/* Only the owner leases: two would lease the same. */
static void stop_leasing(struct router_part *p)
{
	bus_unsubscribe(p->lease);
	p->lease = NULL;
}

static int serve(struct router_part *p, struct error *err)
{
	struct router *r = p->router;
	struct subject cmd = subject_cmd(p->part), end = subject_end(p->part);
	struct subject lease = subject_lease(p->part);
	if (!p->end && !(p->end = bus_subscribe(r->bus, end.text, NULL, on_end, p, err)))
		return -1;
	if (!p->cmd && !(p->cmd = bus_subscribe(r->bus, cmd.text, QUEUE, on_command, p, err)))
		return -1;
	if (!p->lease && !(p->lease = bus_subscribe(r->bus, lease.text, QUEUE, on_lease, p, err)))
		return -1;
	return 0;
}

/* At the part's end on this router. The next owner starts with fresh limits and reads the counts:
 * what is here is void. */
static void forget(struct router_part *p)
{
	bus_unsubscribe(p->leaving);
	bus_unsubscribe(p->cmd);
	bus_unsubscribe(p->end);
	stop_leasing(p);
	p->leaving = p->cmd = p->end = NULL;
	p->linger_us = p->leave_us = 0;
	p->asked = p->counted = false;
	p->charge = 0;
	router_tenants_drop_part(p->router, p->part);
}

static void wake(struct router *r, int64_t in_us)
{
	if (!timer_armed(&r->linger) || r->linger.at_us > loop_now_us(r->loop) + in_us)
		timer_set(r->loop, &r->linger, in_us);
}

static void drain(struct router_part *p)
{
	p->linger_us = 0;
	stop_leasing(p);
	if (!p->cmd)
		return;
	bus_unsubscribe(p->leaving);
	bus_drain(p->cmd);
	p->leaving = p->cmd;
	p->cmd = NULL;
	p->leave_us = loop_now_us(p->router->loop) + DRAIN_US;
	wake(p->router, DRAIN_US);
}

static void left(struct router_part *p)
{
	bus_unsubscribe(p->leaving);
	p->leaving = NULL;
	p->leave_us = 0;
	if (!p->cmd)
		forget(p);
}

static void stop_backlog(struct router *r, struct router_tenant *t)
{
	if (r->parts[t->part].owned)
		return;
	for (int p = 0; p < ROUTER_POOLS; p++)
		router_backlog_stop(&t->queues[p]);
}

static void take_over(struct router_part *p)
{
	struct error err;
	if (serve(p, &err) != 0) {
		log_at(LOG_ERROR, "part not served", LOG_I("part", p->part),
		       LOG_S("reason", err.msg));
		return;
	}
	p->owned = true;
	p->linger_us = 0;
	p->asked = p->counted = false;
	while (!p->charge) /* back while it lingers: the limits are the same ones */
		p->charge = rng_next(&p->router->rng);
}

static void give_up(struct router_part *p)
{
	struct router *r = p->router;
	int64_t linger_us = (int64_t)r->conf.linger_ms * 1000 + 1;
	p->owned = false;
	stop_leasing(p);
	p->linger_us = loop_now_us(r->loop) + linger_us;
	wake(r, linger_us);
}

void router_parts_linger(struct timer *timer, void *arg)
{
	struct router *r = arg;
	int64_t now = loop_now_us(r->loop);
	(void)timer;
	for (unsigned i = 0; i < r->conf.parts; i++) {
		struct router_part *p = &r->parts[i];
		if (p->linger_us && p->linger_us <= now)
			drain(p);
		else if (p->linger_us)
			wake(r, p->linger_us - now);
		if (p->leave_us && p->leave_us <= now)
			left(p);
		else if (p->leave_us)
			wake(r, p->leave_us - now);
	}
}

static int64_t slots_of(const struct member *m, const char *name)
{
	json_int_t n = json_integer_value(json_object_get(m->doc, name));
	return n > 0 && n < 1000000 ? n : 0;
}

static void each_worker(void *arg, const struct member *m)
{
	int64_t *slots = arg;
	slots[ROUTER_INTERACTIVE] += slots_of(m, "slots");
	slots[ROUTER_BATCH] += slots_of(m, "batch_slots");
}

void router_parts_update(struct router *r)
{
	if (!r->members || !members_known(r->members))
		return;
	int64_t slots[ROUTER_POOLS] = {0};
	members_each(r->members, "worker", each_worker, slots);
	/* No worker at all is mostly a restart: the windows stay as they were. */
	for (int p = 0; p < ROUTER_POOLS; p++)
		if (slots[p] > 0)
			r->slots[p] = slots[p];
	size_t owned = 0;
	bool took = false;
	for (unsigned i = 0; i < r->conf.parts; i++) {
		struct router_part *p = &r->parts[i];
		const char *owner = members_owner(r->members, "router", i);
		bool mine = owner && strcmp(owner, r->instance) == 0;
		if (mine && !p->owned) {
			take_over(p);
			took = true;
		} else if (owner && !mine && p->owned) {
			give_up(p);
		}
		owned += p->owned;
	}
	router_tenants_each(r, stop_backlog);
	metric_set(r->stats.parts, (int64_t)owned);
	for (int p = 0; p < ROUTER_POOLS; p++)
		metric_set(r->stats.slots[p], r->slots[p]);
	if (took) {
		/* A look that is under way does not speak for the new parts: another one behind it.
		 */
		r->ask_again = true;
		router_backlog_ask(r);
	}
}

void router_parts_leave(struct router *r, bool others)
{
	for (unsigned i = 0; i < r->conf.parts; i++) {
		struct router_part *p = &r->parts[i];
		if (!p->owned)
			continue;
		p->owned = false;
		if (others)
			give_up(p);
		else
			drain(p);
	}
	router_tenants_each(r, stop_backlog);
	router_stray_stop(r);
}

bool router_parts_serving(const struct router *r)
{
	for (unsigned i = 0; i < r->conf.parts; i++)
		if (r->parts[i].cmd || r->parts[i].leaving)
			return true;
	return false;
}

void router_parts_start(struct router *r)
{
	r->parts = xcalloc(r->conf.parts, sizeof(*r->parts));
	for (unsigned i = 0; i < r->conf.parts; i++)
		r->parts[i] = (struct router_part){.router = r, .part = i};
}

void router_parts_close(struct router *r)
{
	for (unsigned i = 0; r->parts && i < r->conf.parts; i++)
		forget(&r->parts[i]);
}
