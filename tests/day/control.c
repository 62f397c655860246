#include "tests/day/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/members.h"
#include "common/names.h"
#include "common/strbuf.h"

#define WAY_US 500

/* --- members: as members.h says, without a bus -------------------------------------------------
 */

size_t members_count(const struct members *m, const char *service)
{
	return strcmp(service, "worker") == 0 ? m->n : 0;
}

void members_each(const struct members *m, const char *service,
		  void (*fn)(void *arg, const struct member *member), void *arg)
{
	for (size_t i = 0; i < m->n; i++)
		fn(arg, &(struct member){.service = service, .id = m->ids[i]});
}

bool member_leaves(const struct member *member)
{
	(void)member;
	return false;
}

/* --- the bus -----------------------------------------------------------------------------------
 */

static void pack(struct bus *line, const Penstock__LeaseAnswer *answer)
{
	free(line->data);
	line->len = penstock__lease_answer__get_packed_size(answer);
	line->data = xmalloc(line->len + 1);
	penstock__lease_answer__pack(answer, line->data);
}

static void on_way(struct timer *timer, void *arg)
{
	struct bus *line = arg;
	struct control *c = line->control;
	Penstock__LeaseAnswer answer;
	if (line->back) {
		struct bus_msg msg = {.data = line->data, .len = line->len};
		uint8_t *data = line->data;
		line->data = NULL; /* the next report may be sent at once */
		msg.data = data;
		line->answered(line->answered_arg, BUS_OK, &msg);
		free(data);
		return;
	}
	Penstock__LeaseReport *r = penstock__lease_report__unpack(NULL, line->len, line->data);
	grantor_report(c->grantor, r, loop_now_us(c->loop), &answer);
	pack(line, &answer);
	grantor_answer_done(&answer);
	penstock__lease_report__free_unpacked(r, NULL);
	line->back = true;
	timer_set(c->loop, timer, WAY_US);
}

static void line_request(struct bus *line, const char *subject, const void *data, size_t len,
			 int timeout_ms, bus_answer_fn *fn, void *arg)
{
	(void)subject;
	(void)timeout_ms;
	free(line->data);
	line->data = xmemdup(data, len + 1);
	line->len = len;
	line->back = false;
	line->answered = fn;
	line->answered_arg = arg;
	timer_set(line->control->loop, &line->timer, WAY_US);
}

static bool line_connected(const struct bus *line)
{
	(void)line;
	return true;
}

static int line_publish(struct bus *line, const char *subject, const void *data, size_t len,
			int within_ms, struct error *err)
{
	(void)line; /* a good-bye at the end of the day */
	(void)subject;
	(void)data;
	(void)len;
	(void)within_ms;
	(void)err;
	return 0;
}

static void line_forget(struct bus *line, const void *arg)
{
	(void)arg;
	timer_cancel(line->control->loop, &line->timer);
}

/* Of beats: there is no other. */
static struct bus_sub *line_subscribe(struct bus *line, const char *subject, const char *queue,
				      bus_msg_fn *fn, void *arg, struct error *err)
{
	(void)subject;
	(void)queue;
	(void)err;
	line->beat = fn;
	line->beat_arg = arg;
	return (struct bus_sub *)line;
}

static void line_unsubscribe(struct bus_sub *sub)
{
	((struct bus *)sub)->beat = NULL;
}

static const struct bus_ops line_ops = {.connected = line_connected,
					.forget = line_forget,
					.publish = line_publish,
					.request = line_request,
					.subscribe = line_subscribe,
					.unsubscribe = line_unsubscribe};

/* --- the grantor -------------------------------------------------------------------------------
 */

static void on_beat(struct timer *timer, void *arg)
{
	struct control *c = arg;
	Penstock__LeaseAnswer beat;
	uint8_t data[64];
	grantor_beat(c->grantor, loop_now_us(c->loop), &beat);
	struct bus_msg msg = {.data = data, .len = penstock__lease_answer__pack(&beat, data)};
	grantor_answer_done(&beat);
	for (size_t i = 0; i < c->n; i++)
		if (c->lines[i].beat != NULL)
			c->lines[i].beat(c->lines[i].beat_arg, &msg);
	timer_set(c->loop, timer, LEASE_BEAT_US);
}

void control_init(struct control *c, struct loop *loop, const char *model,
		  const struct lease_limits *limits, size_t workers)
{
	const char *ids[WORKERS_MAX];
	char names[WORKERS_MAX][24];
	*c = (struct control){.loop = loop, .n = workers};
	c->grantor = grantor_new("c", 1, loop_now_us(loop));
	grantor_target(c->grantor, model, limits, true, loop_now_us(loop));
	for (size_t i = 0; i < workers; i++) {
		snprintf(names[i], sizeof(names[i]), "w%zu", i);
		ids[i] = names[i];
		c->lines[i] = (struct bus){.base = {&line_ops}, .control = c};
		timer_init(&c->lines[i].timer, on_way, &c->lines[i]);
	}
	grantor_workers(c->grantor, ids, workers, workers, loop_now_us(loop));
	timer_init(&c->timer, on_beat, c);
	timer_set(loop, &c->timer, 0);
}

void control_done(struct control *c)
{
	timer_cancel(c->loop, &c->timer);
	for (size_t i = 0; i < c->n; i++)
		free(c->lines[i].data);
	grantor_free(c->grantor);
}
