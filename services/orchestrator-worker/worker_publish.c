/* The stage kind `publish`, over the bus: publish.h decides what is said. */
#include <stdlib.h>

#include "services/orchestrator-worker/publish.h"
#include "services/orchestrator-worker/worker_impl.h"

#define PUBLISH_MS 5000

struct worker_publish {
	struct bus *bus;
	exec_done_fn *done;
	void *arg;
	struct timer timer; /* a bad input is told on a later turn as well */
	struct loop *loop;
	struct error err;
};

static void tell(struct worker_publish *p, const struct saga_outcome *outcome)
{
	exec_done_fn *done = p->done;
	void *arg = p->arg;
	free(p);
	done(arg, outcome);
}

static void on_answer(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct publish_answer a;
	bool came = result == BUS_OK && msg != NULL;
	publish_answer(&a, came ? msg->data : NULL, came ? msg->len : 0);
	tell(arg, &a.outcome);
	publish_answer_done(&a);
}

static void on_bad(struct timer *timer, void *arg)
{
	(void)timer;
	struct worker_publish *p = arg;
	struct error err = p->err;
	tell(p, &(struct saga_outcome){.class = OUTCOME_FINAL,
				       .reason = "bad_input",
				       .message = err.msg,
				       .latency_ms = -1,
				       .first_token_ms = -1});
}

struct worker_publish *worker_publish(struct worker *w, unsigned part, const struct exec_call *call,
				      exec_done_fn *done, void *arg)
{
	struct worker_publish *p = xcalloc(1, sizeof(*p));
	struct strbuf command = {0};
	*p = (struct worker_publish){.bus = w->bus, .loop = w->loop, .done = done, .arg = arg};
	timer_init(&p->timer, on_bad, p);
	if (publish_command(call, &command, &p->err)) {
		timer_set(w->loop, &p->timer, 0);
	} else {
		struct subject subject = subject_cmd(part);
		int64_t ms = call->timeout_ms > 0 ? call->timeout_ms : PUBLISH_MS;
		bus_request(w->bus, subject.text, command.data, command.len, (int)ms, on_answer, p);
	}
	strbuf_done(&command);
	return p;
}

void worker_publish_cancel(struct worker_publish *p)
{
	if (p == NULL)
		return;
	bus_forget(p->bus, p);
	timer_cancel(p->loop, &p->timer);
	free(p);
}
