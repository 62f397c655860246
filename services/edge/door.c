/* Who may come in: requests of sockets and of HTTP, answered on the hub's thread.
 *
 * The signature of a JWT is the one thing here that costs (auth.h), and whoever cannot sign can
 * have it checked all the same. So a turn of the hub checks DOOR_TURN of them at most; the rest
 * wait in a queue, and events, commands and API keys go past it. It is as long as there are sockets
 * and HTTP connections, for each has one request. */
#include <stdlib.h>
#include <string.h>

#include "services/edge/hub_int.h"
#include "services/edge/resume.h"
#include "services/edge/usage_bus.h"

#define FULL_MS 2000 /* a tenant at its limit: until it may have room again, and as much spread */

static void wipe(char **secret)
{
	if (*secret)
		explicit_bzero(*secret, strlen(*secret));
	free(*secret);
	*secret = NULL;
}

/* False: it takes a signature of a JWT, which is neither checked nor known to be good yet. */
static bool is_known(struct hub *hub, struct auth_request *r)
{
	int64_t wall_us = loop_wall_us(hub->loop);
	struct resume_claim claim;

	if (r->hook) {
		r->result = hook_check(hub->catalog, r->hook, wall_us, &r->who);
		return true;
	}
	r->resumed =
	    r->resume && resume_read(r->resume, hub->edge->resume_key, wall_us / 1000, &claim);
	if (r->resumed) {
		r->session = claim.session;
		r->result = auth_resume(hub->catalog, &claim, r->origin, wall_us, &r->who);
	} else if (r->resume && !r->token) {
		r->result = AUTH_EXPIRED;
	} else if (auth_costs(r->token)) {
		return false;
	} else {
		r->result = auth_check(hub->catalog, r->token, r->origin, wall_us, &r->who);
	}
	return true;
}

/* Those who come back have a bound of their own, so that a storm of fresh ones leaves them room.
 * What is refused anyhow costs nothing of it. */
static bool has_room(struct hub *hub, struct auth_request *r, int64_t now_us, struct rng *rng)
{
	const struct edge_conf *conf = hub->edge->conf;
	struct gcra *bucket = r->resumed ? &hub->resumes : &hub->connects;
	int64_t rate = r->resumed ? conf->resume_rate : conf->connect_rate;
	int64_t burst = r->resumed ? conf->resume_burst : conf->connect_burst;
	int64_t wait_ns;

	pthread_mutex_lock(&hub->rates_lock);
	wait_ns = gcra_wait_ns(bucket, rate, burst, 1, now_us * 1000);
	if (!wait_ns)
		gcra_take(bucket, rate, 1, now_us * 1000);
	pthread_mutex_unlock(&hub->rates_lock);
	if (!wait_ns)
		return true;
	/* Spread over a second, or all that are refused now come back at the same time. */
	r->retry_ms = (uint32_t)(wait_ns / 1000000 + 1 + (int64_t)rng_below(rng, 1000));
	return false;
}

static enum came_in outcome(enum auth_result result)
{
	return result == AUTH_OK                            ? CAME_OK
	       : result == AUTH_BUSY || result == AUTH_FULL ? CAME_LIMITED
							    : CAME_REFUSED;
}

/* The tenant's limit first: what it refuses costs nothing of the edge's. */
void door_admit(struct hub *hub, struct auth_request *r, int64_t now_us, struct rng *rng)
{
	r->result = AUTH_OK;
	if (!usage_connect(r->usage, r->resumed)) {
		r->result = AUTH_FULL;
		r->retry_ms = FULL_MS + (uint32_t)rng_below(rng, FULL_MS);
	} else if (!has_room(hub, r, now_us, rng)) {
		r->result = AUTH_BUSY;
		usage_disconnect(r->usage);
	}
	if (r->result != AUTH_OK) {
		usage_release(r->usage);
		r->usage = NULL;
		auth_identity_done(&r->who);
	}
	metric_add(hub->edge->stats.came_in[r->resumed][outcome(r->result)], 1);
}

static void answer(struct hub *hub, struct auth_request *r)
{
	if (r->socket && r->result == AUTH_OK) {
		r->usage =
		    usage_take(&hub->edge->usage, catalog_tenant(hub->catalog, r->who.tenant));
		door_admit(hub, r, loop_now_us(hub->loop), &hub->rng);
	} else if (r->socket) {
		metric_add(hub->edge->stats.came_in[r->resumed][CAME_REFUSED], 1);
	}
	wipe(&r->token);
	wipe(&r->resume);
	free(r->origin);
	r->origin = NULL;
	request_answer(&r->base);
}

/* --- signatures, so many a turn ----------------------------------------------------------- */

static bool is_open(const struct hub *hub)
{
	return hub->bus && hub->topology_ready;
}

static void check_signature(struct hub *hub, struct auth_request *r)
{
	hub->door.checked++;
	r->result = is_open(hub) ? auth_check(hub->catalog, r->token, r->origin,
					      loop_wall_us(hub->loop), &r->who)
				 : AUTH_NOT_READY;
	answer(hub, r);
}

static void check_more(struct loop_post *post)
{
	struct door *d = (struct door *)post;
	struct auth_request *r;

	/* Where it is not open nothing is checked: the stop need not wait. */
	while ((r = d->first) && (d->checked < DOOR_TURN || !is_open(d->hub))) {
		d->first = r->next;
		metric_add(d->hub->edge->stats.signatures, -1);
		check_signature(d->hub, r);
	}
	if (d->first)
		loop_post(d->hub->loop, &d->post);
}

static void wait_for_turn(struct hub *hub, struct auth_request *r)
{
	struct door *d = &hub->door;

	r->next = NULL;
	metric_add(hub->edge->stats.signatures, 1);
	if (d->first) {
		d->last->next = r;
		d->last = r;
		return;
	}
	d->first = d->last = r;
	d->hub = hub;
	d->post.fn = check_more;
	loop_post(hub->loop, &d->post);
}

void door_turn_end(struct hub *hub)
{
	hub->door.checked = 0;
}

static void auth_here(struct loop_post *post)
{
	struct auth_request *r = (struct auth_request *)post;
	struct hub *hub = r->base.hub;

	if (!is_open(hub)) {
		r->result = AUTH_NOT_READY;
		answer(hub, r);
	} else if (is_known(hub, r)) {
		answer(hub, r);
	} else if (!hub->door.first && hub->door.checked < DOOR_TURN) {
		check_signature(hub, r);
	} else {
		wait_for_turn(hub, r);
	}
}

void hub_auth(struct hub *hub, struct auth_request *r)
{
	r->base.hub = hub;
	r->base.post.fn = auth_here;
	loop_post(hub->loop, &r->base.post);
}
