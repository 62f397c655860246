/* Which parts this process serves: the ones it owns by the members, and for a while those it has
 * just lost.
 *
 * The queue group lets both the old and the new owner listen during the change, so no command falls
 * between them. Who loses a part serves it on and asks who owns it: an answer says that the new
 * owner listens, for it listens for the question only after it listens for commands. Then the old
 * one tells the broker, and listens a little longer still: what the broker had given to it before
 * is given to nobody else. So both serve for as long as the question takes, not longer: meanwhile
 * one of them may overtake the other, and what a client sends without waiting for the answers is
 * stored in another order. A part without any owner (nobody is seen alive), or one whose owner does
 * not answer, stays where it is; who stops waits for an answer no longer than linger_ms.
 *
 *   free ─► owned ─(lost)─► lingering ─(answered)─► draining ─(DRAIN_US)─► free
 *             ▲─────────────────┴──────(owned again)─────┘ */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "services/router/impl.h"

#define QUEUE    "router"
#define DRAIN_US 500000 /* a round trip to the broker, on a bad day */
#define ASK_MS   200    /* for the owner to answer */
#define ASK_US   20000  /* from a question without an answer to the next */

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

/* Another router lost this part: it may go. */
static void on_owner_asked(void *arg, const struct bus_msg *msg)
{
	struct router_part *p = arg;
	struct error err;
	if (msg->reply && bus_publish(p->router->bus, msg->reply, "", 0, &err) != 0)
		log_at(LOG_WARN, "part's owner not told", LOG_S("reason", err.msg));
}

/* Only the owner leases: two would lease the same. */
static void stop_owning(struct router_part *p)
{
	bus_unsubscribe(p->owner);
	bus_unsubscribe(p->lease);
	p->owner = p->lease = NULL;
	p->owned = false;
}

static int serve(struct router_part *p, struct error *err)
{
	struct router *r = p->router;
	struct subject cmd = subject_cmd(p->part), end = subject_end(p->part);
	struct subject lease = subject_lease(p->part), owner = subject_owner(p->part);
	if (!p->end && !(p->end = bus_subscribe(r->bus, end.text, NULL, on_end, p, err)))
		return -1;
	if (!p->cmd && !(p->cmd = bus_subscribe(r->bus, cmd.text, QUEUE, on_command, p, err)))
		return -1;
	if (!p->lease && !(p->lease = bus_subscribe(r->bus, lease.text, QUEUE, on_lease, p, err)))
		return -1;
	if (!p->owner &&
	    !(p->owner = bus_subscribe(r->bus, owner.text, NULL, on_owner_asked, p, err)))
		return -1;
	return 0;
}

/* No answer to an earlier question: the owner that it spoke of may have lost the part since. */
static void unask(struct router_part *p)
{
	if (p->asking)
		bus_forget(p->router->bus, p);
	p->asking = false;
	p->ask_us = 0;
}

/* At the part's end on this router. The next owner starts with fresh limits and reads the counts:
 * what is here is void. */
static void forget(struct router_part *p)
{
	bus_unsubscribe(p->leaving);
	bus_unsubscribe(p->cmd);
	bus_unsubscribe(p->end);
	stop_owning(p);
	unask(p);
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
	unask(p);
	p->linger_us = 0;
	stop_owning(p);
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
	unask(p);
	p->owned = true;
	p->linger_us = 0;
	p->asked = p->counted = false;
	while (!p->charge) /* back while it lingers: the limits are the same ones */
		p->charge = rng_next(&p->router->rng);
}

static void on_owner(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct router_part *p = arg;
	(void)msg;
	p->asking = false;
	if (result == BUS_OK) {
		drain(p);
		return;
	}
	p->ask_us = loop_now_us(p->router->loop) + ASK_US;
	wake(p->router, ASK_US);
}

static void ask_owner(struct router_part *p)
{
	struct subject owner = subject_owner(p->part);
	p->asking = true;
	p->ask_us = 0;
	bus_request(p->router->bus, owner.text, "", 0, ASK_MS, on_owner, p);
}

static void give_up(struct router_part *p)
{
	stop_owning(p);
	p->linger_us = INT64_MAX;
	ask_owner(p);
}

/* Calls what is due at at_us, or wakes the loop when it will be; 0: never. */
static void when_due(struct router_part *p, int64_t at_us, void (*due)(struct router_part *p))
{
	int64_t now = loop_now_us(p->router->loop);
	if (at_us && at_us <= now)
		due(p);
	else if (at_us)
		wake(p->router, at_us - now);
}

void router_parts_linger(struct timer *timer, void *arg)
{
	struct router *r = arg;
	(void)timer;
	for (unsigned i = 0; i < r->conf.parts; i++) {
		struct router_part *p = &r->parts[i];
		if (r->stopping)
			when_due(p, p->linger_us, drain);
		when_due(p, p->ask_us, ask_owner);
		when_due(p, p->leave_us, left);
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
	int64_t linger_us = (int64_t)r->conf.linger_ms * 1000 + 1;
	for (unsigned i = 0; i < r->conf.parts; i++) {
		struct router_part *p = &r->parts[i];
		if (!p->owned && !p->linger_us)
			continue;
		if (!others) {
			drain(p);
			continue;
		}
		if (p->owned)
			give_up(p);
		p->linger_us = loop_now_us(r->loop) + linger_us;
		wake(r, linger_us);
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
