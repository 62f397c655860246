#include "services/edge/session.h"

#include <assert.h>
#include <stdlib.h>

#include "common/catalog.h"

#define SLOTS_MAX 255
#define RETRY_MS  1000 /* when the plane cannot answer */

void session_step_reset(struct session_step *step, const struct session *s)
{
	strbuf_reset(&step->text.b);
	strbuf_reset(&step->text2.b);
	step->text.encoding = step->text2.encoding = (enum encoding)s->encoding;
	step->ask = ASK_NONE;
	step->slot = 0;
	step->new_sub = step->ping = step->renew = false;
	step->close = 0;
	step->reason = "";
}

void session_step_done(struct session_step *step)
{
	strbuf_done(&step->text.b);
	strbuf_done(&step->text2.b);
}

void session_init(struct session *s, const struct session_conf *conf, const struct id *id,
		  bool token_at_upgrade, int64_t now_us)
{
	*s = (struct session){.conf = conf, .id = *id};
	s->state = token_at_upgrade ? SESSION_CHECKING : SESSION_NEW;
	s->due_us = now_us + conf->connect_ms * 1000;
}

void session_done(struct session *s)
{
	free(s->subs);
	s->subs = NULL;
	s->n_slots = s->n_subs = 0;
}

/* An open session is looked at when its principal expires, whatever else it waits for. */
int64_t session_due_us(const struct session *s)
{
	int64_t expire_at_us = s->state == SESSION_OPEN ? s->principal->expire_at_us : 0;

	return expire_at_us && expire_at_us < s->due_us ? expire_at_us : s->due_us;
}

/* By the clock of the wall, or because so much time has passed as there was when it came. */
static bool has_expired(const struct principal *p, int64_t now_us, int64_t wall_us)
{
	return p->expires_us &&
	       (p->expires_us <= wall_us || (p->expire_at_us && p->expire_at_us <= now_us));
}

void session_close(struct session *s, unsigned code, const char *reason, struct session_step *step)
{
	if (s->state == SESSION_CLOSING)
		return;
	s->state = SESSION_CLOSING;
	s->due_us = INT64_MAX;
	step->close = code;
	step->reason = reason;
}

static void error(struct session_step *step, const char *id, const char *code, const char *message)
{
	frames_error(&step->text, id, &(struct frame_error){.code = code, .message = message});
}

static void unavailable(struct session_step *step, const char *id, const char *scope,
			const char *message)
{
	frames_error(&step->text, id,
		     &(struct frame_error){.code = "unavailable",
					   .message = message,
					   .scope = scope,
					   .temporary = true,
					   .retry_after_ms = RETRY_MS});
}

/* --- subscriptions ------------------------------------------------------------------------ */

int session_find(const struct session *s, const char *channel)
{
	for (int i = 0; i < s->n_slots; i++)
		if (s->subs[i].state != SUB_FREE && !strcmp(s->subs[i].channel, channel))
			return i;
	return -1;
}

enum { SLOT_NONE = -1, SLOT_TENANT = -2 }; /* the connection's, the tenant's bound is reached */

/* A free slot, or one of these. */
static int take_slot(struct session *s, enum sub_state state)
{
	int i = 0;

	if (s->n_subs >= s->conf->limits.subscriptions || s->n_subs >= SLOTS_MAX)
		return SLOT_NONE;
	if (!usage_subscribe(s->principal->usage))
		return SLOT_TENANT;
	while (i < s->n_slots && s->subs[i].state != SUB_FREE)
		i++;
	if (i == s->n_slots) {
		/* Grown by few: an idle subscriber of one channel must stay small. */
		unsigned more = s->n_slots < 4 ? 1 : (s->n_slots > SLOTS_MAX - 4 ? 1 : 4);

		s->subs = xrealloc(s->subs, (s->n_slots + more) * sizeof(*s->subs));
		memset(s->subs + s->n_slots, 0, more * sizeof(*s->subs));
		s->n_slots = (uint8_t)(s->n_slots + more);
	}
	s->subs[i] = (struct session_sub){.channel = "", .state = (uint8_t)state};
	s->n_subs++;
	return i;
}

void session_ended(struct session *s, unsigned slot)
{
	assert(s->subs[slot].state != SUB_FREE);
	s->subs[slot] = (struct session_sub){.state = SUB_FREE};
	s->n_subs--;
	usage_unsubscribe(s->principal->usage);
}

static void ask_end(struct session_step *step, unsigned slot)
{
	step->ask = ASK_UNSUBSCRIBE;
	step->slot = slot;
}

/* Of the connection's own bound, nothing but an unsubscribe of its own makes room, so no time is
 * the right one to wait; a client that has one under way comes through at the next try. */
static void too_many(const char *id, int slot, struct session_step *step)
{
	bool tenant = slot == SLOT_TENANT;

	frames_error(
	    &step->text, id,
	    &(struct frame_error){
		.code = "overloaded",
		.message = tenant ? "the tenant has as many subscriptions as it may have"
				  : "this connection has as many subscriptions as it may have",
		.scope = tenant ? "tenant" : NULL,
		.temporary = true,
		.retry_after_ms = RETRY_MS,
		.limit = tenant ? "tenant.subscriptions" : "connection.subscriptions"});
}

static void subscribe(struct session *s, const struct client_msg *msg, struct session_step *step)
{
	int slot;

	if (!(s->principal->scopes & SCOPE_SUBSCRIBE)) {
		error(step, msg->id, "forbidden", "the key may not subscribe");
		return;
	}
	if (!permit_allows(s->principal->permit, PERMIT_SUBSCRIBE, msg->channel)) {
		error(step, msg->id, "forbidden", "the token may not subscribe to this channel");
		return;
	}
	if (session_find(s, msg->channel) >= 0) {
		error(step, msg->id, "conflict", "already subscribed to this channel");
		return;
	}
	slot = take_slot(s, SUB_PENDING);
	if (slot < 0) {
		too_many(msg->id, slot, step);
		return;
	}
	step->ask = ASK_SUBSCRIBE;
	step->slot = (unsigned)slot;
}

static void unsubscribe(struct session *s, const struct client_msg *msg, struct session_step *step)
{
	int slot = session_find(s, msg->channel);

	if (slot < 0) {
		error(step, msg->id, "not_found", "not subscribed to this channel");
		return;
	}
	if (s->subs[slot].state != SUB_LIVE) {
		error(step, msg->id, "conflict", "the subscription is not answered yet");
		return;
	}
	frames_unsubscribed(&step->text, msg->id, msg->channel);
	ask_end(step, (unsigned)slot);
}

void session_subscribed(struct session *s, unsigned slot, const char *id,
			const struct sub_answer *a, struct session_step *step)
{
	const char *channel = s->subs[slot].channel;

	assert(s->subs[slot].state == SUB_PENDING);
	if (a->failed) {
		unavailable(step, id, "channel", "the channel's log cannot be read now");
		ask_end(step, slot);
		return;
	}
	s->subs[slot].state = SUB_LIVE;
	frames_subscribed(&step->text, id, channel, s->conf->epoch, a->offset, a->recovered);
	if (a->gap_to)
		frames_gap(&step->text2, channel, a->gap_from, a->gap_to, "expired", false);
}

void session_gap(struct session *s, unsigned slot, uint64_t from, uint64_t to, const char *reason,
		 bool replayable, struct session_step *step)
{
	if (s->state == SESSION_OPEN)
		frames_gap(&step->text, s->subs[slot].channel, from, to, reason, replayable);
}

static void ack(struct session *s, const struct client_msg *msg, struct session_step *step)
{
	int slot = session_find(s, msg->channel);

	if (slot < 0) {
		error(step, msg->id, "not_found", "not subscribed to this channel");
		return;
	}
	if (s->subs[slot].state != SUB_LIVE) {
		error(step, msg->id, "conflict", "the subscription is not answered yet");
		return;
	}
	step->ask = ASK_ACK;
	step->slot = (unsigned)slot;
}

void session_ack_refused(const char *id, struct session_step *step)
{
	error(step, id, "bad_request", "nothing was sent up to this offset");
}

/* --- commands ----------------------------------------------------------------------------- */

static bool may_command(struct session *s, const struct client_msg *msg, unsigned scope,
			struct session_step *step)
{
	if (!(s->principal->scopes & scope)) {
		error(step, msg->id, "forbidden",
		      scope == SCOPE_TASK ? "the key may not work with tasks"
					  : "the key may not publish");
		return false;
	}
	if (s->in_flight >= s->conf->limits.in_flight) {
		frames_error(&step->text, msg->id,
			     &(struct frame_error){.code = "overloaded",
						   .message = "too many commands without an answer",
						   .temporary = true,
						   .retry_after_ms = 100,
						   .limit = "connection.commands_in_flight"});
		return false;
	}
	return true;
}

static void publish(struct session *s, const struct client_msg *msg, struct session_step *step)
{
	if (!may_command(s, msg, SCOPE_PUBLISH, step))
		return;
	if (!permit_allows(s->principal->permit, PERMIT_PUBLISH, msg->channel)) {
		error(step, msg->id, "forbidden", "the token may not publish to this channel");
		return;
	}
	s->in_flight++;
	step->ask = ASK_PUBLISH;
}

static void cancel(struct session *s, const struct client_msg *msg, struct session_step *step)
{
	if (!may_command(s, msg, SCOPE_TASK, step))
		return;
	s->in_flight++;
	step->ask = ASK_CANCEL;
}

static void task(struct session *s, const struct client_msg *msg, struct session_step *step)
{
	struct id id;
	int slot;

	if (!may_command(s, msg, SCOPE_TASK, step))
		return;
	if (!permit_allows(s->principal->permit, PERMIT_PIPELINE, msg->pipeline)) {
		error(step, msg->id, "forbidden", "the token may not run this pipeline");
		return;
	}
	id = id_derive(s->principal->tenant, "task", msg->key);
	task_channel(id.text, step->channel);
	slot = session_find(s, step->channel);
	/* A repeat of a key that is not answered yet shares the subscription of the first one, and
	 * with it its fate: if that one is refused, whoever sent both subscribes to the task
	 * himself. */
	step->new_sub = slot < 0;
	if (slot < 0)
		slot = take_slot(s, SUB_TASK);
	if (slot < 0) {
		too_many(msg->id, slot, step);
		return;
	}
	s->in_flight++;
	step->ask = ASK_TASK;
	step->slot = (unsigned)slot;
}

void session_accepted(struct session *s, const char *id, int slot, const struct frame_accepted *a,
		      struct session_step *step)
{
	assert(s->in_flight > 0);
	s->in_flight--;
	if (slot >= 0 && s->subs[slot].state == SUB_TASK)
		s->subs[slot].state = SUB_LIVE;
	frames_accepted(&step->text, id, a);
}

void session_command_failed(struct session *s, const char *id, int slot, bool new_sub,
			    const struct frame_error *e, struct session_step *step)
{
	assert(s->in_flight > 0);
	s->in_flight--;
	frames_error(&step->text, id, e);
	if (new_sub && slot >= 0 && s->subs[slot].state == SUB_TASK)
		ask_end(step, (unsigned)slot);
}

/* --- authentication ----------------------------------------------------------------------- */

static void connect(struct session *s, const struct client_msg *msg, struct session_step *step)
{
	if (!msg->token.len && !msg->resume.len) {
		error(step, msg->id, "unauthenticated", "a token is needed");
		session_close(s, CLOSE_TOKEN, "token", step);
		return;
	}
	s->state = SESSION_CHECKING;
	step->ask = ASK_AUTH;
}

static void not_let_in(struct session *s, const struct session_auth *auth,
		       struct session_step *step)
{
	switch (auth->close) {
	case 0:
		unavailable(step, NULL, NULL, "the configuration is not there yet");
		session_close(s, CLOSE_CAPACITY, "not ready", step);
		break;
	case CLOSE_RATE:
		frames_error(&step->text, NULL,
			     &(struct frame_error){.code = "overloaded",
						   .message = "too many come at once",
						   .temporary = true,
						   .retry_after_ms = auth->retry_ms,
						   .limit = auth->limit});
		session_close(s, CLOSE_RATE, "too many at once", step);
		break;
	case CLOSE_RESUME:
		error(step, NULL, "expired", "the session cannot be resumed");
		session_close(s, CLOSE_RESUME, "resume expired", step);
		break;
	case CLOSE_TENANT:
		error(step, NULL, "forbidden", "the tenant is suspended");
		session_close(s, CLOSE_TENANT, "tenant disabled", step);
		break;
	default:
		error(step, NULL, "unauthenticated", "the token is not valid");
		session_close(s, CLOSE_TOKEN, "token", step);
	}
}

void session_turn_away(struct session *s, const struct frame_error *e, unsigned close,
		       struct session_step *step)
{
	if (s->state != SESSION_CHECKING)
		return;
	frames_error(&step->text, NULL, e);
	session_close(s, close, e->code, step);
}

void session_authenticated(struct session *s, const struct session_auth *auth, int64_t now_us,
			   struct session_step *step)
{
	if (s->state != SESSION_CHECKING)
		return;
	if (!auth->who) {
		not_let_in(s, auth, step);
		return;
	}
	if (auth->session)
		s->id = *auth->session;
	s->principal = auth->who;
	s->state = SESSION_OPEN;
	s->due_us = now_us + auth->jitter_us;
	s->renew_us = now_us + s->conf->renew_ms * 1000;
	frames_connected(&step->text,
			 &(struct frame_connected){.session = s->id.text,
						   .tenant = auth->who->tenant,
						   .edge = s->conf->edge,
						   .resume = auth->resume,
						   .resume_ttl_ms = s->conf->resume_ttl_ms,
						   .ping_ms = s->conf->ping_ms,
						   .limits = s->conf->limits});
}

void session_stream(struct session *s, const struct principal *who, int64_t jitter_us,
		    int64_t now_us)
{
	s->principal = who;
	s->state = SESSION_OPEN;
	s->due_us = now_us + jitter_us;
	s->renew_us = INT64_MAX;
}

/* --- dispatch ----------------------------------------------------------------------------- */

static void open_message(struct session *s, const struct client_msg *msg, struct session_step *step)
{
	switch (msg->op) {
	case OP_CONNECT:
		error(step, msg->id, "bad_request", "already connected");
		break;
	case OP_SUBSCRIBE:
		subscribe(s, msg, step);
		break;
	case OP_UNSUBSCRIBE:
		unsubscribe(s, msg, step);
		break;
	case OP_PUBLISH:
		publish(s, msg, step);
		break;
	case OP_TASK:
		task(s, msg, step);
		break;
	case OP_CANCEL:
		cancel(s, msg, step);
		break;
	case OP_ACK:
		ack(s, msg, step);
		break;
	case OP_PING:
		frames_pong(&step->text, msg->id);
		break;
	case OP_NONE:
	case OP_UNKNOWN:
		assert(!"a message without an operation was refused before");
	}
}

void session_message(struct session *s, const struct client_msg *msg, struct session_step *step)
{
	switch (s->state) {
	case SESSION_NEW:
		if (msg->op == OP_CONNECT) {
			connect(s, msg, step);
			break;
		}
		error(step, msg->id, "unauthenticated", "connect comes first");
		session_close(s, CLOSE_TOKEN, "connect comes first", step);
		break;
	case SESSION_CHECKING:
		/* One round trip inside the plane; who cannot wait for `connected` is told so. */
		error(step, msg->id, msg->op == OP_CONNECT ? "bad_request" : "unauthenticated",
		      "wait for connected");
		break;
	case SESSION_OPEN:
		open_message(s, msg, step);
		break;
	case SESSION_CLOSING:
		break;
	}
}

void session_refused(struct session *s, const struct client_msg *msg,
		     const struct client_error *why, struct session_step *step)
{
	if (s->state == SESSION_CLOSING)
		return;
	error(step, msg->id, why->code, why->message);
	/* What has no operation at all is not this protocol; the rest are honest mistakes. */
	if (msg->op == OP_NONE)
		session_close(s, CLOSE_MESSAGE, "not a message of penstock.v1", step);
	else if (s->state == SESSION_NEW)
		session_close(s, CLOSE_TOKEN, "connect comes first", step);
}

void session_wrong_frame(struct session *s, struct session_step *step)
{
	if (s->state == SESSION_CLOSING)
		return;
	error(step, NULL, "bad_request",
	      s->encoding == ENCODING_JSON ? "penstock.v1.json is spoken in text frames"
					   : "penstock.v1.protobuf is spoken in binary frames");
	session_close(s, CLOSE_DATA, "frames of the other type", step);
}

void session_too_large(struct session *s, const char *id, struct session_step *step)
{
	if (s->state == SESSION_CLOSING)
		return;
	frames_error(&step->text, id,
		     &(struct frame_error){.code = "too_large",
					   .message = "the message is longer than the limit",
					   .limit = "connection.frame_bytes"});
	session_close(s, CLOSE_TOO_LARGE, "too large", step);
}

void session_drain(struct session *s, const char *url, int64_t reconnect_ms, int64_t deadline_ms,
		   const char *reason, struct session_step *step)
{
	if (s->state != SESSION_CLOSING)
		frames_drain(&step->text, url, reconnect_ms, deadline_ms, reason);
}

/* --- time --------------------------------------------------------------------------------- */

void session_pong(struct session *s)
{
	if (!s->pong_due || s->state != SESSION_OPEN)
		return;
	s->pong_due = false;
	/* It was the pong's time: the next ping goes ping_ms after the last one. */
	s->due_us += (s->conf->ping_ms - s->conf->pong_ms) * 1000;
}

void session_tick(struct session *s, int64_t now_us, int64_t wall_us, struct session_step *step)
{
	if (now_us < session_due_us(s))
		return;
	switch (s->state) {
	case SESSION_NEW:
	case SESSION_CHECKING:
		error(step, NULL, "unauthenticated", "no connect in time");
		session_close(s, CLOSE_TOKEN, "no connect in time", step);
		break;
	case SESSION_OPEN:
		if (has_expired(s->principal, now_us, wall_us)) {
			error(step, NULL, "unauthenticated", "the token has expired");
			session_close(s, CLOSE_TOKEN, "token expired", step);
		} else if (s->pong_due) {
			session_close(s, CLOSE_NO_PONG, "no pong", step);
		} else {
			step->ping = true;
			step->renew = now_us >= s->renew_us;
			if (step->renew)
				s->renew_us = now_us + s->conf->renew_ms * 1000;
			s->pong_due = true;
			s->due_us = now_us + s->conf->pong_ms * 1000;
		}
		break;
	case SESSION_CLOSING:
		s->due_us = INT64_MAX;
		break;
	}
}
