/* Replays: an event of the log goes once more to whoever listens to a channel now. It has its own
 * event id and the replay's mark, and no offset: it is not in the log a second time. At least once,
 * as far as the replay is concerned; to a socket as an ephemeral event. */
#include "common/log.h"
#include "services/router/impl.h"

void router_replay(struct router *r, const Penstock__Command *cmd, unsigned part, const char *reply)
{
	Penstock__Event *ev = cmd->replay->event;
	struct error err;
	ev->channel = cmd->replay->channel;
	size_t len = router_pack_event(r, ev);
	struct subject subject = subject_live(part, cmd->tenant, ev->channel);
	if (bus_publish(r->bus, subject.text, r->event.data, len, &err) == 0) {
		router_accept(r, ROUTER_REPLAY, reply, ev->id, ev->channel, 0, false, "");
		return;
	}
	log_at(LOG_WARN, "replayed event not sent", LOG_S("reason", err.msg));
	struct admit_refusal why =
	    admit_refuse_later("unavailable", "not sent", ROUTER_RETRY_MS, "");
	router_refuse(r, ROUTER_REPLAY, reply, &why);
}
