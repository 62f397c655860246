#include "tests/unit/router/hand.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"

static void got(void *arg, const struct bus_msg *msg, struct bus_claim *claim)
{
	struct hand *h = arg;
	ck_assert_int_lt(h->n, HAND_MAX);
	Penstock__Ticket *t = penstock__ticket__unpack(NULL, msg->len, msg->data);
	ck_assert_ptr_nonnull(t);
	struct error err;
	json_t *data = json_parse((char *)t->accepted->data.data, t->accepted->data.len, &err);
	ck_assert_ptr_nonnull(data);
	char *input = json_text(json_object_get(data, "input"), NULL);
	snprintf(h->input[h->n], sizeof(h->input[0]), "%s", input);
	snprintf(h->task[h->n], sizeof(h->task[0]), "%s", t->task);
	h->tokens[h->n] = t->tokens;
	h->charge[h->n] = t->charge;
	h->claim[h->n++] = claim;
	free(input);
	json_decref(data);
	penstock__ticket__free_unpacked(t, NULL);
}

void hand_open(struct hand *h, struct world *w)
{
	struct error err;
	struct bus_consumer_conf conf = {.stream = STREAM_TASKS,
					 .durable = "workers_default",
					 .filter = "pen.task.default.>",
					 .ack_wait_ms = 600000,
					 .max_ack_pending = 1000};
	memset(h, 0, sizeof(*h));
	h->w = w;
	h->consumer = bus_consumer_open(h->w->client, &conf, got, h, &err);
	ck_assert_ptr_nonnull(h->consumer);
	bus_consumer_want(h->consumer, HAND_MAX);
}

void hand_say_end(struct hand *h, int i, uint64_t used)
{
	uint8_t buf[256];
	struct error err;
	Penstock__TaskEnd end = PENSTOCK__TASK_END__INIT;
	end.tenant = (char *)"acme";
	end.task = h->task[i];
	end.tokens = h->tokens[i];
	end.charge = h->charge[i];
	end.used = used;
	size_t len = penstock__task_end__pack(&end, buf);
	struct subject s = subject_end(h->w->part);
	ck_assert_int_eq(bus_publish(h->w->client, s.text, buf, len, &err), 0);
}

void hand_end(struct hand *h, int i, bool tell)
{
	bus_claim_ack(h->claim[i]);
	h->claim[i] = NULL;
	if (tell)
		hand_say_end(h, i, h->tokens[i]);
}

void hand_close(struct hand *h)
{
	for (int i = 0; i < h->n; i++)
		bus_claim_free(h->claim[i]);
	bus_consumer_close(h->consumer);
}
