/* POST /v1/sessions/{s}:disconnect: the edge that has the session's sockets closes them. The audit
 * row is committed when it has said so. */
#include <string.h>

#include "common/ids.h"
#include "common/json.h"
#include "common/names.h"
#include "services/control-plane/bridge.h"
#include "services/control-plane/change.h"
#include "services/control-plane/registry_util.h"
#include "services/control-plane/resources.h"

#define ANSWER_MS 2000 /* edges that do not have it say nothing */

static int read_body(const json_t *in, bool *resume, struct error *err)
{
	static const char *const names[] = {"resume", NULL};
	*resume = false;
	if (!in)
		return 0;
	return registry_object(in, "the request", err) || json_only(in, names, err) ||
		       json_get_bool(in, "resume", resume, err)
		   ? -1
		   : 0;
}

/* What was done, as a document; NULL: the reply says why not. */
static json_t *ask_edges(struct call *call, bool resume)
{
	json_t *order = json_pack("{sssb}", "session", call->ids.id[0], "resume", (int)resume);
	char *text = json_text(order, NULL);
	struct strbuf answer = {0};
	json_t *said = NULL, *doc = NULL;
	enum bus_result result = BUS_UNAVAILABLE;
	if (call->api->bridge)
		result = bridge_request(call->api->bridge, SUBJECT_DISCONNECT, text, strlen(text),
					ANSWER_MS, &answer);
	if (result == BUS_OK)
		said = json_parse(strbuf_str(&answer), answer.len, NULL);
	if (json_is_object(said)) {
		doc = json_pack("{sssi}", "session", call->ids.id[0], "close_code",
				resume ? 4201 : 4004);
		json_object_update_missing(doc, said);
	} else if (result == BUS_TIMEOUT) {
		call_fail(call, 404, "not_found", "no edge has such a session");
	} else {
		call_fail(call, 503, "unavailable", "no edge answers (%s)",
			  bus_result_name(result));
	}
	json_decref(said);
	json_decref(order);
	strbuf_done(&answer);
	free(text);
	return doc;
}

void session_disconnect(struct call *call)
{
	struct change ch = {.call = call};
	json_t *doc = NULL;
	struct error err;
	bool resume;
	if (call_need_reason(call))
		return;
	if (read_body(call->body, &resume, &err)) {
		call_error(call, &err);
		return;
	}
	if (!id_valid(call->ids.id[0])) {
		call_fail(call, 404, "not_found", "no such session");
		return;
	}
	if (change_begin(&ch, call, "sessions", call->ids.id[0]))
		goto out;
	doc = call->validate_only ? json_pack("{ss}", "session", call->ids.id[0])
				  : ask_edges(call, resume);
	if (doc && !change_commit(&ch, "session.disconnect",
				  json_string_value(json_object_get(doc, "tenant")), NULL, doc))
		call_doc(call, 200, doc);
out:
	change_end(&ch);
	json_decref(doc);
}
