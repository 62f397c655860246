/* /v1/sessions: what the live edges say of the sockets that they have, and :disconnect, by which
 * they close a session's; its audit row is committed when they have said so. Nothing of it is kept
 * anywhere else. */
#include <stdlib.h>
#include <string.h>

#include "common/ids.h"
#include "common/json.h"
#include "common/names.h"
#include "services/control-plane/bridge.h"
#include "services/control-plane/change.h"
#include "services/control-plane/registry_util.h"
#include "services/control-plane/resources.h"

#define ANSWER_MS 2000
#define LIST_MAX  200 /* of a page: one less than an edge tells at once (edge/roll.h) */

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

/* What the live edges said, and who of them said nothing; NULL: the reply says why not. */
static json_t *ask_edges(struct call *call, const char *errand, json_t *question, json_t **silent)
{
	char *text = json_text(question, NULL);
	json_t *answers = NULL;
	*silent = NULL;
	if (call->api->bridge)
		answers =
		    bridge_errand(call->api->bridge, errand, text, strlen(text), ANSWER_MS, silent);
	if (!answers)
		call_fail(call, 503, "unavailable", "the list of members is not known yet");
	free(text);
	return answers;
}

/* --- :disconnect ------------------------------------------------------------------------- */

/* An old and a new socket of it may be at two edges. */
static json_t *sum_up(json_t *answers, const char *session, bool resume)
{
	json_t *doc = NULL, *said;
	json_int_t sockets = 0;
	size_t i;
	json_array_foreach(answers, i, said)
	{
		json_int_t n = json_integer_value(json_object_get(said, "sockets"));
		if (n > 0 && !doc) {
			doc = json_pack("{sssi}", "session", session, "close_code",
					resume ? 4201 : 4004);
			json_object_update_missing(doc, said);
		}
		sockets += n > 0 ? n : 0;
	}
	if (doc)
		json_object_set_new(doc, "sockets", json_integer(sockets));
	return doc;
}

/* What was done, as a document; NULL: the reply says why not. */
static json_t *disconnect(struct call *call, bool resume)
{
	json_t *order = json_pack("{sssb}", "session", call->ids.id[0], "resume", (int)resume);
	json_t *silent, *answers = ask_edges(call, ERRAND_DISCONNECT, order, &silent);
	json_t *doc = answers ? sum_up(answers, call->ids.id[0], resume) : NULL;
	if (answers && !doc && json_array_size(silent))
		call_fail(call, 503, "unavailable", "no edge that answers has it, and %s does not",
			  json_string_value(json_array_get(silent, 0)));
	else if (answers && !doc)
		call_fail(call, 404, "not_found", "no edge has such a session");
	json_decref(order);
	json_decref(answers);
	json_decref(silent);
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
				  : disconnect(call, resume);
	if (doc && !change_commit(&ch, "session.disconnect",
				  json_string_value(json_object_get(doc, "tenant")), NULL, doc))
		call_doc(call, 200, doc);
out:
	change_end(&ch);
	json_decref(doc);
}

/* --- the list ---------------------------------------------------------------------------- */

static void add_int(json_t *to, const json_t *from, const char *name)
{
	json_int_t sum = json_integer_value(json_object_get(to, name)) +
			 json_integer_value(json_object_get(from, name));
	json_object_set_new(to, name, json_integer(sum));
}

static void add_session(json_t *all, const json_t *said, json_t *edge)
{
	const char *id = json_string_value(json_object_get(said, "session"));
	json_t *item = id ? json_object_get(all, id) : NULL;
	if (!id)
		return;
	if (item) {
		add_int(item, said, "sockets");
		add_int(item, said, "subscriptions");
	} else {
		item = json_copy((json_t *)said);
		json_object_set_new(item, "edges", json_array());
		json_object_set_new(all, id, item);
	}
	json_array_append(json_object_get(item, "edges"), edge);
}

/* By their ids, one that is at two edges once. Each edge has told the first ones that it has, so
 * that the first ones of all are among them. New reference. */
static json_t *merge(json_t *answers)
{
	json_t *all = json_object(), *answer, *said;
	size_t i, j;
	json_array_foreach(answers, i, answer)
	{
		json_array_foreach(json_object_get(answer, "sessions"), j, said)
		{
			add_session(all, said, json_object_get(answer, "edge"));
		}
	}
	return all;
}

void sessions_list(struct call *call)
{
	const char *tenant = call_query(call, "tenant");
	char last[ROUTE_ID_MAX + 1];
	json_t *question, *answers, *silent;
	int64_t size;
	if (call_page(call, "sessions", &size, last))
		return;
	if ((tenant && !name_valid_tenant(tenant)) || (*last && !id_valid(last))) {
		call_fail(call, 400, "bad_request", "%s: is not valid",
			  *last && !id_valid(last) ? "page_token" : "tenant");
		return;
	}
	size = size < LIST_MAX ? size : LIST_MAX;
	question =
	    json_pack("{sssIss*}", "after", last, "limit", (json_int_t)size + 1, "tenant", tenant);
	answers = ask_edges(call, ERRAND_SESSIONS, question, &silent);
	if (answers) {
		json_t *all = merge(answers);
		json_t *page = call_page_of(all, "sessions", size, "");
		json_object_set(page, "silent", silent);
		call_value(call, page);
		json_decref(all);
	}
	json_decref(question);
	json_decref(answers);
	json_decref(silent);
}
