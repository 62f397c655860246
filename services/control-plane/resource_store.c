/* /v1/events, timelines and tasks: questions to the event-store over the bus. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/ids.h"
#include "common/json.h"
#include "common/names.h"
#include "common/topology.h"
#include "proto/store.pb-c.h"
#include "services/control-plane/bridge.h"
#include "services/control-plane/resources.h"

#define LIMIT     100
#define LIMIT_MAX 1000

/* data is a request that is packed already; freed here. */
static int ask(struct call *call, const char *subject, struct strbuf *data, struct strbuf *answer)
{
	enum bus_result result = BUS_UNAVAILABLE;
	if (call->api->bridge)
		result = bridge_request(call->api->bridge, subject, data->data, data->len,
					call->api->store_timeout_ms, answer);
	strbuf_done(data);
	if (result == BUS_OK)
		return 0;
	return call_fail(call, 503, "unavailable", "the event-store does not answer (%s)",
			 bus_result_name(result));
}

static int store_said(struct call *call, const char *code, const char *message)
{
	static const struct {
		const char *code;
		int status;
	} map[] = {
	    {"not_found", 404},  {"bad_request", 400}, {"unavailable", 503},
	    {"overloaded", 503}, {"expired", 404},     {"forbidden", 403},
	};
	for (size_t i = 0; i < sizeof(map) / sizeof(*map); i++)
		if (!strcmp(map[i].code, code))
			return call_fail(call, map[i].status, code, "%s", message);
	return call_fail(call, 500, "internal", "the event-store says %s: %s", code, message);
}

static int need_tenant(struct call *call, const char **tenant)
{
	*tenant = call_query(call, "tenant");
	if (!*tenant || !name_valid_tenant(*tenant))
		return call_fail(call, 400, "bad_request", "tenant: which tenant's is it?");
	return 0;
}

/* --- replay ------------------------------------------------------------------------------ */

static void set_text(json_t *doc, const char *name, const char *value)
{
	if (value && *value)
		json_object_set_new(doc, name, json_string(value));
}

static json_t *event_doc(const Penstock__StoredEvent *stored)
{
	const Penstock__Event *e = stored->event;
	char time[TIME_LEN + 1];
	json_t *doc = json_object();
	json_object_set_new(doc, "offset", json_integer((json_int_t)stored->offset));
	json_object_set_new(doc, "prev", json_integer((json_int_t)stored->prev));
	if (!e)
		return doc;
	json_object_set_new(doc, "event_id", json_string(e->id));
	json_object_set_new(doc, "channel", json_string(e->channel));
	json_object_set_new(doc, "type", json_string(e->type));
	json_object_set_new(doc, "version", json_integer(e->version));
	json_t *data = json_parse((const char *)e->data.data, e->data.len, NULL);
	json_object_set_new(doc, "data", data ? data : json_null());
	time_format(e->time_us, time);
	json_object_set_new(doc, "time", json_string(time));
	set_text(doc, "trace", e->trace);
	set_text(doc, "key", e->key);
	set_text(doc, "session", e->session);
	set_text(doc, "principal", e->principal);
	set_text(doc, "router", e->router);
	set_text(doc, "command", e->command);
	return doc;
}

static void answer_replay(struct call *call, const Penstock__ReplayReply *reply)
{
	char epoch[EPOCH_LEN + 1], offset[24], token[PAGE_TOKEN_MAX];
	json_t *items = json_array(), *next = json_null();
	for (size_t i = 0; i < reply->n_events; i++)
		json_array_append_new(items, event_doc(reply->events[i]));
	if (reply->more && reply->n_events) {
		snprintf(offset, sizeof(offset), "%llu",
			 (unsigned long long)reply->events[reply->n_events - 1]->offset);
		page_token_make("events", offset, token);
		next = json_string(token);
	}
	epoch_format(reply->epoch, epoch);
	call_value(call, json_pack("{sososssI}", "items", items, "next_page_token", next, "epoch",
				   epoch, "earliest", (json_int_t)reply->earliest));
}

static int read_place(struct call *call, int64_t *after, int64_t *limit)
{
	const char *token = call_query(call, "page_token");
	char last[ROUTE_ID_MAX + 1];
	struct error err;
	if (call_query_int(call, "after", 0, INT64_MAX, after) ||
	    call_query_int(call, "page_size", 1, LIMIT_MAX, limit) ||
	    call_query_int(call, "limit", 1, LIMIT_MAX, limit))
		return -1;
	if (!token || !*token)
		return 0;
	if (page_token_read(token, "events", last, &err))
		return call_bad_query(call, &err);
	*after = atoll(last);
	return 0;
}

void events_list(struct call *call)
{
	const char *tenant, *channel = call_query(call, "channel");
	int64_t after = 0, limit = LIMIT;
	struct strbuf data = {0}, answer = {0};
	if (need_tenant(call, &tenant) || read_place(call, &after, &limit))
		return;
	if (!channel || !name_valid_channel(channel)) {
		call_fail(call, 400, "bad_request", "channel: which channel?");
		return;
	}
	Penstock__ReplayRequest req = PENSTOCK__REPLAY_REQUEST__INIT;
	req.tenant = (char *)tenant;
	req.channel = (char *)channel;
	req.after = (uint64_t)after;
	req.limit = (uint32_t)limit;
	strbuf_reserve(&data, penstock__replay_request__get_packed_size(&req));
	data.len = penstock__replay_request__pack(&req, (uint8_t *)data.data);
	if (ask(call, SUBJECT_STORE_REPLAY, &data, &answer))
		return;
	Penstock__ReplayReply *reply =
	    penstock__replay_reply__unpack(NULL, answer.len, (const uint8_t *)answer.data);
	if (!reply)
		call_fail(call, 500, "internal", "the event-store's answer cannot be read");
	else if (reply->error[0])
		store_said(call, reply->error, reply->message);
	else
		answer_replay(call, reply);
	if (reply)
		penstock__replay_reply__free_unpacked(reply, NULL);
	strbuf_done(&answer);
}

/* --- timeline and task ------------------------------------------------------------------- */

static void answer_json(struct call *call, struct strbuf *answer)
{
	struct error err;
	Penstock__JsonReply *reply =
	    penstock__json_reply__unpack(NULL, answer->len, (const uint8_t *)answer->data);
	strbuf_done(answer);
	if (!reply) {
		call_fail(call, 500, "internal", "the event-store's answer cannot be read");
		return;
	}
	json_t *doc = NULL;
	if (reply->error[0])
		store_said(call, reply->error, reply->message);
	else if ((doc = json_parse((const char *)reply->json.data, reply->json.len, &err)))
		call_value(call, doc);
	else
		call_fail(call, 500, "internal", "the event-store's answer: %s", err.msg);
	penstock__json_reply__free_unpacked(reply, NULL);
}

static void ask_about(struct call *call, const char *subject)
{
	const char *tenant = call_query(call, "tenant");
	struct strbuf data = {0}, answer = {0};
	if (tenant && !name_valid_tenant(tenant)) {
		call_fail(call, 400, "bad_request", "tenant: is no name of a tenant");
		return;
	}
	Penstock__TimelineRequest req = PENSTOCK__TIMELINE_REQUEST__INIT;
	req.id = call->ids.id[0];
	req.tenant = (char *)(tenant ? tenant : "");
	strbuf_reserve(&data, penstock__timeline_request__get_packed_size(&req));
	data.len = penstock__timeline_request__pack(&req, (uint8_t *)data.data);
	if (!ask(call, subject, &data, &answer))
		answer_json(call, &answer);
}

void event_timeline(struct call *call)
{
	ask_about(call, SUBJECT_STORE_TIMELINE);
}

void event_deliveries(struct call *call)
{
	ask_about(call, SUBJECT_STORE_DELIVERIES);
}

void task_get(struct call *call)
{
	const char *tenant;
	struct strbuf data = {0}, answer = {0};
	if (need_tenant(call, &tenant))
		return;
	Penstock__TaskRequest req = PENSTOCK__TASK_REQUEST__INIT;
	req.tenant = (char *)tenant;
	req.task = call->ids.id[0];
	strbuf_reserve(&data, penstock__task_request__get_packed_size(&req));
	data.len = penstock__task_request__pack(&req, (uint8_t *)data.data);
	if (!ask(call, SUBJECT_STORE_TASK, &data, &answer))
		answer_json(call, &answer);
}
