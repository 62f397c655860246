/* What the edge reads on the direct road: any bytes as a router's LeaseReply, and as a packed
 * Command (which is its own, but is read by hand): never more may pass than was granted, and what
 * is made of a command is an event that every edge can read. */
/* links: services/edge */
#include <stdint.h>
#include <stdlib.h>

#include "proto/event.pb-c.h"
#include "proto/lease.pb-c.h"
#include "services/edge/lease.h"
#include "services/edge/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void lease(const uint8_t *data, size_t len)
{
	struct lease l = {0};
	struct lease_question q;
	struct lease_grant g = {0};
	int64_t now = 1000000, passed = 0;
	Penstock__LeaseReply *reply = penstock__lease_reply__unpack(NULL, len, data);
	bool good = reply != NULL;

	if (reply) {
		g = lease_grant(reply);
		penstock__lease_reply__free_unpacked(reply, NULL);
	}
	must(lease_ask(&l, false, 10, now, &q));
	lease_answered(&l, good ? &g : NULL, now);
	while (passed < 2000 && lease_spend(&l, 10, now))
		passed++;
	must(passed == 0 || (good && passed <= g.events && passed * 10 <= g.bytes));
	must(!lease_spend(&l, 0, now + 300001000));
}

static void command(const uint8_t *data, size_t len)
{
	struct command_view c;
	struct event_view e, again;
	struct strbuf b = {0};

	if (!wire_command(data, len, &c))
		return;
	e = (struct event_view){.tenant = c.tenant,
				.channel = c.channel,
				.type = c.type,
				.data = c.data,
				.trace = c.trace,
				.version = c.version,
				.time_us = 1};
	wire_add_event(&b, &e, &c);
	must(wire_event(b.data, b.len, &again));
	must(again.data.len == c.data.len && again.version == c.version);
	strbuf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	lease(data, len);
	command(data, len);
	return 0;
}
