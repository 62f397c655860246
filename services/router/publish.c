/* Events: durable ones into the stream, with their idempotency; ephemeral ones straight to who
 * listens. */
#include <string.h>

#include "common/log.h"
#include "services/router/impl.h"

struct publish {
	struct router_call call;
	struct id event;
	char channel[CHANNEL_MAX + 1];
	uint64_t digest;
	uint64_t offset; /* of the first one, while it is read to be compared */
	bool keyed;
};

/* The version is the one that was asked for: "the newest" stays the same request when a newer one
 * comes. */
static uint64_t publish_digest(const Penstock__Publish *p)
{
	uint32_t version = p->version;
	struct digest_part parts[] = {{p->channel, strlen(p->channel)},
				      {p->type, strlen(p->type)},
				      {&version, sizeof(version)},
				      {p->data.data, p->data.len}};
	return digest64(parts, sizeof(parts) / sizeof(*parts));
}

static void build(struct router *r, const Penstock__Command *cmd, unsigned version,
		  const struct id *id, uint64_t digest, Penstock__Event *ev)
{
	const Penstock__Publish *p = cmd->publish;
	router_fill_event(r, cmd, ev);
	ev->id = (char *)id->text;
	ev->channel = p->channel;
	ev->type = p->type;
	ev->version = version;
	ev->data = p->data;
	ev->key = p->key;
	ev->digest = digest;
}

static void refuse_conflict(struct router_call *call, const char *words)
{
	struct admit_refusal why = admit_refuse("conflict", words, "channel");
	router_call_refuse(call, &why);
}

static const char used_key[] = "the key was used for something else";

/* The event that has our id: is it ours, a repeat of ours, or another one's? */
static void compared(struct publish *p, uint64_t digest, bool own, uint64_t offset)
{
	if (digest != p->digest)
		refuse_conflict(&p->call, used_key);
	else
		router_call_accept(&p->call, p->event.text, p->channel, offset, !own, "");
	router_call_end(&p->call);
}

static void first_read(void *arg, enum bus_result result, const struct bus_msg *msg)
{
	struct publish *p = arg;
	struct router *r = p->call.router;
	if (result == BUS_NOT_FOUND) {
		/* Trimmed: stored long ago, but no longer here to compare with. Accepting could
		 * acknowledge data that nobody stored. */
		refuse_conflict(&p->call, "the key was used and its event is archived");
		router_call_end(&p->call);
		return;
	}
	Penstock__Event *first = NULL;
	router_arena_reset(&r->arena);
	if (result == BUS_OK)
		first = penstock__event__unpack(&r->arena.allocator, msg->len, msg->data);
	if (!first || strcmp(first->id, p->event.text) != 0) {
		router_call_failed(&p->call, result == BUS_OK ? BUS_REJECTED : result);
		router_call_end(&p->call);
		return;
	}
	struct recent_entry entry = {first->digest, p->offset, recent_command(first->command)};
	recent_add(r->recent, p->event.text, &entry);
	compared(p, first->digest, strcmp(first->command, p->call.command) == 0, p->offset);
}

static void stored(void *arg, const struct bus_ack *ack)
{
	struct publish *p = arg;
	struct router *r = p->call.router;
	if (ack->result != BUS_OK) {
		router_call_failed(&p->call, ack->result);
		router_call_end(&p->call);
		return;
	}
	histogram_observe_us(r->stats.publish, loop_now_us(r->loop) - p->call.start_us);
	if (!ack->duplicate) {
		if (p->keyed) {
			struct recent_entry entry = {p->digest, ack->seq,
						     recent_command(p->call.command)};
			recent_add(r->recent, p->event.text, &entry);
		}
		router_call_accept(&p->call, p->event.text, p->channel, ack->seq, false, "");
		router_call_end(&p->call);
		return;
	}
	const struct recent_entry *known = recent_find(r->recent, p->event.text);
	if (known) {
		compared(p, known->digest, known->command == recent_command(p->call.command),
			 known->offset);
		return;
	}
	p->offset = ack->seq;
	bus_get(r->bus, STREAM_EVENTS, ack->seq, first_read, p);
}

static bool answered_from_recent(struct router *r, const Penstock__Command *cmd,
				 const struct id *id, uint64_t digest, const char *reply)
{
	const struct recent_entry *known = recent_find(r->recent, id->text);
	if (!known)
		return false;
	metric_add(r->stats.recent_hits, 1);
	if (known->digest != digest) {
		struct admit_refusal why = admit_refuse("conflict", used_key, "channel");
		router_refuse(r, ROUTER_PUBLISH, reply, &why);
	} else {
		router_accept(r, ROUTER_PUBLISH, reply, id->text, cmd->publish->channel,
			      known->offset, known->command != recent_command(cmd->id), "");
	}
	return true;
}

void router_publish_durable(struct router *r, const Penstock__Command *cmd, unsigned part,
			    unsigned version, const char *reply)
{
	bool keyed = *cmd->publish->key != '\0';
	uint64_t digest = publish_digest(cmd->publish);
	struct id id = keyed ? id_derive(cmd->tenant, "event", cmd->publish->key)
			     : id_new(&r->rng, loop_wall_us(r->loop));
	if (keyed && answered_from_recent(r, cmd, &id, digest, reply))
		return;
	struct publish *p =
	    (struct publish *)router_call_new(r, ROUTER_PUBLISH, sizeof(*p), reply, cmd->id);
	p->event = id;
	p->digest = digest;
	p->keyed = keyed;
	strcpy(p->channel, cmd->publish->channel);
	Penstock__Event ev = PENSTOCK__EVENT__INIT;
	build(r, cmd, version, &id, digest, &ev);
	size_t len = router_pack_event(r, &ev);
	struct subject subject = subject_evt(part, cmd->tenant, p->channel);
	struct bus_store_opts opts = {
	    .msg_id = id.text, .expect_last_seq = -1, .timeout_ms = r->conf.store_timeout_ms};
	bus_store(r->bus, subject.text, &opts, r->event.data, len, stored, p);
}

void router_publish_ephemeral(struct router *r, const Penstock__Command *cmd, unsigned part,
			      unsigned version, const char *reply)
{
	const Penstock__Publish *p = cmd->publish;
	struct id id = *p->key ? id_derive(cmd->tenant, "event", p->key)
			       : id_new(&r->rng, loop_wall_us(r->loop));
	Penstock__Event ev = PENSTOCK__EVENT__INIT;
	build(r, cmd, version, &id, publish_digest(p), &ev);
	size_t len = router_pack_event(r, &ev);
	struct subject subject = subject_live(part, cmd->tenant, p->channel);
	struct error err;
	if (bus_publish(r->bus, subject.text, r->event.data, len, &err) != 0) {
		log_at(LOG_WARN, "ephemeral event not sent", LOG_S("reason", err.msg));
		struct admit_refusal why =
		    admit_refuse_later("unavailable", "not sent", ROUTER_RETRY_MS, "");
		router_refuse(r, ROUTER_PUBLISH, reply, &why);
		return;
	}
	router_accept(r, ROUTER_PUBLISH, reply, id.text, p->channel, 0, false, "");
}
