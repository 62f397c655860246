/* POST /v1/tasks/{id}:cancel: the tenant's router is asked as a client of the tenant would ask it,
 * in the operator's name. The audit row is committed when the log has task.cancelled; if that fails
 * the call says so, and a repeat finds the task cancelled. */
#include <stdlib.h>
#include <string.h>

#include "common/ids.h"
#include "common/names.h"
#include "common/rng.h"
#include "proto/command.pb-c.h"
#include "services/control-plane/bridge.h"
#include "services/control-plane/change.h"
#include "services/control-plane/resources.h"

static const char known_sql[] =
    "SELECT json_build_object('task', task, 'tenant', tenant, 'state', state) FROM tasks"
    " WHERE tenant = $1 AND task = $2";

static int refused(struct call *call, const Penstock__Refused *r)
{
	static const struct {
		const char *code;
		int status;
	} map[] = {{"not_found", 404},    {"bad_request", 400}, {"forbidden", 403},
		   {"rate_limited", 429}, {"conflict", 409},    {"overloaded", 503},
		   {"unavailable", 503}};
	call->reply->retry_after_s = (int)((r->retry_after_ms + 999) / 1000);
	for (size_t i = 0; i < sizeof(map) / sizeof(*map); i++)
		if (!strcmp(map[i].code, r->code))
			return call_fail(call, map[i].status, r->code, "%s", r->message);
	return call_fail(call, 500, "internal", "the router says %s: %s", r->code, r->message);
}

/* What the router said, as a document; NULL: the reply says why not. */
static json_t *read_reply(struct call *call, const char *tenant, const struct strbuf *answer)
{
	json_t *doc = NULL;
	Penstock__Reply *reply =
	    penstock__reply__unpack(NULL, answer->len, (const uint8_t *)answer->data);
	if (reply && reply->body_case == PENSTOCK__REPLY__BODY_ACCEPTED) {
		const Penstock__Accepted *a = reply->accepted;
		doc = json_pack("{sssssssssIsb}", "task", call->ids.id[0], "tenant", tenant,
				"channel", a->channel, "event_id", a->event_id, "offset",
				(json_int_t)a->offset, "duplicate", (int)a->duplicate);
	} else if (reply && reply->body_case == PENSTOCK__REPLY__BODY_REFUSED) {
		refused(call, reply->refused);
	}
	if (reply)
		penstock__reply__free_unpacked(reply, NULL);
	if (!doc && !call->reply->status)
		call_fail(call, 503, "unavailable", "the router's answer cannot be read");
	return doc;
}

static json_t *ask_router(struct call *call, const char *tenant)
{
	Penstock__Command cmd = PENSTOCK__COMMAND__INIT;
	Penstock__CancelTask cancel = PENSTOCK__CANCEL_TASK__INIT;
	enum bus_result result = BUS_UNAVAILABLE;
	struct strbuf data = {0}, answer = {0};
	struct rng rng;
	struct id id;
	json_t *doc = NULL;
	rng_seed_os(&rng);
	id = id_new(&rng, call->now_us);
	cancel.task = call->ids.id[0];
	cmd.id = id.text;
	cmd.tenant = (char *)tenant;
	cmd.principal = call->actor;
	cmd.trace = call->reply->trace;
	cmd.body_case = PENSTOCK__COMMAND__BODY_CANCEL;
	cmd.cancel = &cancel;
	strbuf_reserve(&data, penstock__command__get_packed_size(&cmd));
	data.len = penstock__command__pack(&cmd, (uint8_t *)data.data);
	if (call->api->bridge) {
		struct subject subject = subject_cmd(part_of(tenant, call->api->parts));
		result = bridge_request(call->api->bridge, subject.text, data.data, data.len,
					call->api->store_timeout_ms, &answer);
	}
	if (result == BUS_OK)
		doc = read_reply(call, tenant, &answer);
	else
		call_fail(call, 503, "unavailable", "no router answers (%s): it may be cancelled",
			  bus_result_name(result));
	strbuf_done(&data);
	strbuf_done(&answer);
	return doc;
}

/* As far as PostgreSQL has come. */
static json_t *look(struct change *ch, const char *tenant)
{
	json_t *doc = NULL;
	const char *values[] = {tenant, ch->call->ids.id[0]};
	if (!change_find(ch, known_sql, 2, values, &doc) && !doc)
		call_fail(ch->call, 404, "not_found", "no such task");
	return doc;
}

void task_cancel(struct call *call)
{
	const char *tenant = call_query(call, "tenant");
	struct change ch = {.call = call};
	json_t *doc = NULL;
	if (!tenant || !name_valid_tenant(tenant)) {
		call_fail(call, 400, "bad_request", "tenant: which tenant's is it?");
		return;
	}
	if (!id_valid(call->ids.id[0])) {
		call_fail(call, 404, "not_found", "no such task");
		return;
	}
	if (change_begin(&ch, call, "tasks", call->ids.id[0]))
		goto out;
	doc = call->validate_only ? look(&ch, tenant) : ask_router(call, tenant);
	if (doc && !change_commit(&ch, "task.cancel", tenant, NULL, doc))
		call_doc(call, 200, doc);
out:
	change_end(&ch);
	json_decref(doc);
}
