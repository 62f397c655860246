#include "tools/modelsim/sim.h"

#include <stdio.h>
#include <string.h>

#include "common/ids.h"
#include "common/json.h"

void sim_error(struct http_conn *conn, int status, const char *type, const char *code,
	       const char *message, int64_t retry_after_s)
{
	struct strbuf body = {0};
	char extra[64] = "";

	if (retry_after_s > 0)
		snprintf(extra, sizeof(extra), "Retry-After: %lld\r\n", (long long)retry_after_s);
	strbuf_adds(&body, "{\"error\":{\"message\":");
	strbuf_add_json(&body, message);
	strbuf_addf(&body, ",\"type\":\"%s\",\"param\":null,\"code\":", type);
	strbuf_add_json(&body, code);
	strbuf_adds(&body, "}}");
	http_reply(conn, status, extra, body.data, body.len);
	strbuf_done(&body);
}

static bool authorised(const struct sim *sim, const struct http_req *req)
{
	char header[512];

	if (!*sim->key)
		return true;
	return http_header(req, "Authorization", header, sizeof(header)) &&
	       strncmp(header, "Bearer ", 7) == 0 && secret_equal(header + 7, sim->key);
}

struct model *sim_enter(struct sim *sim, struct http_conn *conn, const struct http_req *req,
			const char *name, struct knobs *knobs)
{
	const char *at = strchr(name, '@');
	struct model *model =
	    models_get(&sim->models, name, at ? (size_t)(at - name) : strlen(name));
	struct error err;
	char text[512];

	if (!model) {
		sim_error(conn, 404, "invalid_request_error", "model_not_found", "no such model",
			  0);
		return NULL;
	}
	model->stats.requests++;
	model->stats.bytes_in += (int64_t)req->body_len;
	minute_add(&model->stats.asked, loop_now_us(sim->loop), 1);
	if (http_header(req, "Idempotency-Key", text, sizeof(text)) && *text)
		stats_key(&model->stats, text);
	*knobs = model->knobs;
	if ((at && knobs_parse(knobs, at + 1, &err) != 0) ||
	    (http_header(req, "X-Sim", text, sizeof(text)) &&
	     knobs_parse(knobs, text, &err) != 0)) {
		model->stats.rejected++;
		sim_error(conn, 400, "invalid_request_error", "bad_knobs", err.msg, 0);
		return NULL;
	}
	return model;
}

bool sim_roll(struct sim *sim, double rate, double count, double *stored_count)
{
	if (rate <= 0 || count == 0 || rng_unit(&sim->rng) >= rate)
		return false;
	if (*stored_count > 0)
		--*stored_count;
	return true;
}

static int64_t seconds_up(int64_t us)
{
	return us <= 0 ? 1 : (us + 999999) / 1000000;
}

bool sim_admit(struct sim *sim, struct http_conn *conn, struct model *model,
	       const struct knobs *knobs, int64_t prompt, int64_t most)
{
	struct stats *s = &model->stats;
	int64_t now = loop_now_us(sim->loop), wait = -1;
	const char *what = "requests per min";

	if (knobs->rpm > 0 && minute_sum(&s->allowed, now) + 1 > (int64_t)knobs->rpm) {
		wait = minute_wait_us(&s->allowed, now, 1, (int64_t)knobs->rpm);
	} else if (knobs->tpm > 0 &&
		   minute_sum(&s->tokens, now) + prompt + most > (int64_t)knobs->tpm) {
		wait = minute_wait_us(&s->tokens, now, prompt + most, (int64_t)knobs->tpm);
		what = "tokens per min";
	} else if (knobs->concurrent > 0 && s->concurrent >= (int64_t)knobs->concurrent) {
		wait = 1;
		what = "concurrent requests";
	}
	if (wait >= 0) {
		char message[160];

		s->limited++;
		snprintf(message, sizeof(message), "Rate limit reached for %s on %s", model->name,
			 what);
		sim_error(conn, 429, "rate_limit_error", "rate_limit_exceeded", message,
			  knobs->retry_after > 0 ? (int64_t)knobs->retry_after : seconds_up(wait));
		return false;
	}
	s->admitted++;
	minute_add(&s->allowed, now, 1);
	if (sim_roll(sim, knobs->fail_rate, knobs->fail_count, &model->knobs.fail_count)) {
		s->failed++;
		sim_error(conn, (int)knobs->fail_status, "server_error", "simulated",
			  "a simulated failure", (int64_t)knobs->retry_after);
		return false;
	}
	s->prompt_tokens += prompt;
	minute_add(&s->tokens, now, prompt);
	if (++s->concurrent > s->concurrent_peak)
		s->concurrent_peak = s->concurrent;
	return true;
}

void sim_leave(struct model *model)
{
	model->stats.concurrent--;
}

static void list_models(struct sim *sim, struct http_conn *conn)
{
	struct strbuf body = {0};

	strbuf_adds(&body, "{\"object\":\"list\",\"data\":[");
	for (size_t i = 0; i < sim->models.n; i++)
		strbuf_addf(&body,
			    "%s{\"id\":\"%s\",\"object\":\"model\",\"created\":0,\"owned_by\":"
			    "\"penstock\"}",
			    i ? "," : "", sim->models.list[i]->name);
	strbuf_adds(&body, "]}");
	http_reply(conn, 200, NULL, body.data, body.len);
	strbuf_done(&body);
}

static void show_stats(struct sim *sim, struct http_conn *conn, const struct http_req *req)
{
	struct strbuf body = {0};
	bool all = strstr(req->query, "keys=all") != NULL;

	strbuf_addf(&body, "{\"connections\":%llu,\"models\":{",
		    (unsigned long long)http_connections(sim->http));
	for (size_t i = 0; i < sim->models.n; i++) {
		strbuf_addf(&body, "%s\"%s\":", i ? "," : "", sim->models.list[i]->name);
		stats_write(&sim->models.list[i]->stats, loop_now_us(sim->loop), all, &body);
	}
	strbuf_adds(&body, "}}");
	http_reply(conn, 200, NULL, body.data, body.len);
	strbuf_done(&body);
}

static void show_knobs(struct sim *sim, struct http_conn *conn)
{
	struct strbuf body = {0};

	strbuf_adds(&body, "{\"default\":");
	knobs_write(&sim->models.dflt, &body);
	strbuf_adds(&body, ",\"models\":{");
	for (size_t i = 0; i < sim->models.n; i++) {
		strbuf_addf(&body, "%s\"%s\":", i ? "," : "", sim->models.list[i]->name);
		knobs_write(&sim->models.list[i]->knobs, &body);
	}
	strbuf_adds(&body, "}}");
	http_reply(conn, 200, NULL, body.data, body.len);
	strbuf_done(&body);
}

/* One model, or all and the default; "reset": true starts from the built-in values. */
static int turn_knobs(struct sim *sim, const json_t *doc, struct error *err)
{
	bool reset = json_is_true(json_object_get(doc, "reset"));
	const char *name;
	struct knobs probe = knobs_default;
	struct model *model = NULL;

	if (!json_is_object(doc))
		return err_set(err, ERR_REJECTED, "knobs are an object");
	if (json_get_text(doc, "model", false, &name, err) != 0 ||
	    knobs_json(&probe, doc, err) != 0)
		return -1;
	if (name && !(model = models_get(&sim->models, name, strlen(name))))
		return err_set(err, ERR_REJECTED, "no such model");
	for (size_t i = 0; i < sim->models.n; i++) {
		if (model && sim->models.list[i] != model)
			continue;
		if (reset)
			sim->models.list[i]->knobs = knobs_default;
		if (knobs_json(&sim->models.list[i]->knobs, doc, err) != 0)
			return -1;
	}
	if (model)
		return 0;
	if (reset)
		sim->models.dflt = knobs_default;
	return knobs_json(&sim->models.dflt, doc, err);
}

static void post_knobs(struct sim *sim, struct http_conn *conn, const struct http_req *req)
{
	struct error err;
	json_t *doc = json_parse(req->body, req->body_len, &err);

	if (!doc || turn_knobs(sim, doc, &err) != 0)
		sim_error(conn, 400, "invalid_request_error", "bad_knobs", err.msg, 0);
	else
		show_knobs(sim, conn);
	json_decref(doc);
}

static void reset(struct sim *sim, struct http_conn *conn)
{
	for (size_t i = 0; i < sim->models.n; i++)
		stats_reset(&sim->models.list[i]->stats);
	http_reply(conn, 200, NULL, "{}", 2);
}

void sim_handle(void *arg, struct http_conn *conn, const struct http_req *req)
{
	struct sim *sim = arg;
	bool get = strcmp(req->method, "GET") == 0, post = strcmp(req->method, "POST") == 0;

	if (get && strcmp(req->path, "/sim/stats") == 0)
		show_stats(sim, conn, req);
	else if (get && strcmp(req->path, "/sim/knobs") == 0)
		show_knobs(sim, conn);
	else if (post && strcmp(req->path, "/sim/knobs") == 0)
		post_knobs(sim, conn, req);
	else if (post && strcmp(req->path, "/sim/reset") == 0)
		reset(sim, conn);
	else if (get && strcmp(req->path, "/readyz") == 0)
		http_reply(conn, 200, NULL, "{}", 2);
	else if (!authorised(sim, req))
		sim_error(conn, 401, "invalid_request_error", "invalid_api_key",
			  "Incorrect API key provided", 0);
	else if (get && strcmp(req->path, "/v1/models") == 0)
		list_models(sim, conn);
	else if (post && strcmp(req->path, "/v1/chat/completions") == 0)
		chat_request(sim, conn, req);
	else if (post && strcmp(req->path, "/v1/messages") == 0)
		messages_request(sim, conn, req);
	else if (post && strcmp(req->path, "/v1/embeddings") == 0)
		embed_request(sim, conn, req);
	else
		sim_error(conn, 404, "invalid_request_error", "unknown_url", "no such path", 0);
}
