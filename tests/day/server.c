#include "tests/day/server.h"

#include <stdlib.h>
#include <string.h>

#include "common/strbuf.h"

#define WAY_US         5000 /* to the target, and back */
#define RETRY_AFTER_MS 3000
#define TIMES          4096 /* more than any plan allows in a minute */

static const char answer[] =
    "{\"choices\":[{\"message\":{\"content\":\"so\"},\"finish_reason\":\"stop\"}],"
    "\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15}}";

enum call_state { CALL_COMES, CALL_WAITS, CALL_WORKS, CALL_RETURNS };

struct http_call {
	struct http_client *server;
	struct http_call *next, **link; /* all */
	struct http_call *behind;       /* in the queue */
	enum call_state state;
	bool cut;
	struct timer timer;
	http_body_fn *body;
	http_done_fn *done;
	void *arg;
	struct http_result result;
};

static int64_t minute(const struct http_client *s)
{
	return (loop_now_us(s->loop) - s->start_us) / MINUTE_US;
}

static bool troubled(const struct http_client *s, enum trouble what, int64_t *until_us)
{
	for (size_t i = 0; i < sizeof(s->plan.troubles) / sizeof(s->plan.troubles[0]); i++) {
		int64_t to = s->plan.troubles[i].to;
		if (s->plan.troubles[i].what != what || minute(s) < s->plan.troubles[i].from ||
		    minute(s) >= to)
			continue;
		if (until_us != NULL)
			*until_us = s->start_us + to * MINUTE_US;
		return true;
	}
	return false;
}

static void call_free(struct http_call *call)
{
	timer_cancel(call->server->loop, &call->timer);
	*call->link = call->next;
	if (call->next != NULL)
		call->next->link = call->link;
	free(call);
}

/* --- the limit ---------------------------------------------------------------------------------
 */

/* Counts the call, and says how many there were in the last minute, with it. */
static size_t count(struct http_client *s)
{
	int64_t now = loop_now_us(s->loop);
	while (s->times_n > 0 && s->times[s->times_at] <= now - MINUTE_US) {
		s->times_at = (s->times_at + 1) % s->times_cap;
		s->times_n--;
	}
	if (s->times_n < s->times_cap)
		s->times[(s->times_at + s->times_n++) % s->times_cap] = now;
	if (s->times_n > s->counts.most_a_minute)
		s->counts.most_a_minute = s->times_n;
	return s->times_n;
}

static bool over_limit(struct http_client *s)
{
	size_t n = count(s);
	if (s->plan.rpm == 0)
		return false;
	if (troubled(s, TROUBLE_SHARED, NULL))
		return rng_below(s->rng, 3) == 0;
	return n > (size_t)s->plan.rpm;
}

/* --- a call ------------------------------------------------------------------------------------
 */

static void give_back(struct http_call *call, enum http_failure failure, long status,
		      int64_t retry_after_ms)
{
	call->result = (struct http_result){.failure = failure,
					    .status = status,
					    .retry_after_ms = retry_after_ms,
					    .words = "no connection"};
	call->state = CALL_RETURNS;
	timer_set(call->server->loop, &call->timer, WAY_US);
}

static void work(struct http_call *call)
{
	struct http_client *s = call->server;
	call->state = CALL_WORKS;
	s->busy++;
	timer_set(s->loop, &call->timer,
		  s->plan.work_us * 4 / 5 +
		      (int64_t)rng_below(s->rng, (uint64_t)(s->plan.work_us * 2 / 5)));
}

static void arrived(struct http_call *call)
{
	struct http_client *s = call->server;
	if (troubled(s, TROUBLE_REFUSES, NULL)) {
		s->counts.refused++;
		give_back(call, HTTP_CONNECT, 0, 0);
		return;
	}
	s->counts.calls++;
	if (over_limit(s)) {
		s->counts.limited++;
		give_back(call, HTTP_DONE, 429, s->counts.limited % 2 > 0 ? RETRY_AFTER_MS : 0);
	} else if (s->busy < s->plan.places) {
		work(call);
	} else {
		call->state = CALL_WAITS;
		*(s->last != NULL ? &s->last->behind : &s->first) = call;
		s->last = call;
	}
}

static void worked(struct http_call *call)
{
	struct http_client *s = call->server;
	int64_t until;
	if (troubled(s, TROUBLE_HANGS, &until)) {
		timer_set(s->loop, &call->timer,
			  until - loop_now_us(s->loop) +
			      (int64_t)rng_below(s->rng, (uint64_t)s->plan.work_us));
		return;
	}
	s->busy--;
	struct http_call *next = s->first;
	if (next != NULL) {
		s->first = next->behind;
		s->last = s->first != NULL ? s->last : NULL;
		work(next);
	}
	bool fails = ++s->counts.worked % s->plan.fail_every == 0 ||
		     (troubled(s, TROUBLE_FAILS, NULL) && rng_below(s->rng, 3) == 0);
	if (!call->cut) {
		give_back(call, HTTP_DONE, fails ? 503 : 200, 0);
		return;
	}
	s->counts.wasted++;
	call_free(call);
}

static void returned(struct http_call *call)
{
	struct http_client *s = call->server;
	struct http_result result = call->result;
	http_body_fn *body = call->body;
	http_done_fn *done = call->done;
	void *arg = call->arg;
	bool cut = call->cut;
	call_free(call);
	if (cut)
		return;
	s->open--;
	if (result.status == 200) {
		s->counts.good[minute(s)]++;
		body(arg, 200, "application/json", answer, strlen(answer));
	}
	done(arg, &result);
}

static void on_time(struct timer *timer, void *arg)
{
	(void)timer;
	struct http_call *call = arg;
	switch (call->state) {
	case CALL_COMES:
		arrived(call);
		break;
	case CALL_WORKS:
		worked(call);
		break;
	case CALL_RETURNS:
		returned(call);
		break;
	case CALL_WAITS:
		break;
	}
}

/* --- as http.h says ----------------------------------------------------------------------------
 */

struct http_call *http_start(struct http_client *client, const struct http_request *request,
			     http_body_fn *body, http_done_fn *done, void *arg)
{
	struct http_call *call = xcalloc(1, sizeof(*call));
	(void)request;
	*call = (struct http_call){.server = client,
				   .next = client->calls,
				   .link = &client->calls,
				   .body = body,
				   .done = done,
				   .arg = arg};
	client->calls = call;
	if (call->next != NULL)
		call->next->link = &call->next;
	if (++client->open > client->counts.most_open)
		client->counts.most_open = client->open;
	timer_init(&call->timer, on_time, call);
	timer_set(client->loop, &call->timer, WAY_US);
	return call;
}

void http_cancel(struct http_call *call)
{
	call->cut = true;
	call->server->open--;
}

void server_init(struct http_client *s, struct loop *loop, struct rng *rng,
		 const struct server_plan *plan)
{
	*s = (struct http_client){
	    .loop = loop, .rng = rng, .plan = *plan, .start_us = loop_now_us(loop)};
	s->times_cap = TIMES;
	s->times = xcalloc(s->times_cap, sizeof(*s->times));
}

void server_done(struct http_client *s)
{
	while (s->calls != NULL)
		call_free(s->calls);
	free(s->times);
}
