/* The model server: routes requests to chat, embeddings and the simulator's own /sim/… doors.
 *
 * Threads: the loop's. */
#ifndef MODELSIM_SIM_H
#define MODELSIM_SIM_H

#include "common/loop.h"
#include "common/rng.h"
#include "tools/modelsim/http.h"
#include "tools/modelsim/model.h"

struct answer;

struct sim {
	struct loop *loop;
	struct http_server *http;
	struct models models;
	struct rng rng;
	const char *key; /* demanded as bearer token; "" for none. Borrowed */
	uint64_t next_id;
};

/* Handler for http_open, arg is the struct sim. */
void sim_handle(void *arg, struct http_conn *conn, const struct http_req *req);

/* An error as OpenAI's API shapes it. retry_after_s 0: none. */
void sim_error(struct http_conn *conn, int status, const char *type, const char *code,
	       const char *message, int64_t retry_after_s);

/* A request that passed key, model and faults, or NULL after having answered it. knobs is this
 * request's. The caller counts it out again with sim_leave. prompt and most are tokens: what it
 * sends and may at most use. */
struct model *sim_enter(struct sim *sim, struct http_conn *conn, const struct http_req *req,
			const char *name, struct knobs *knobs);
bool sim_admit(struct sim *sim, struct http_conn *conn, struct model *model,
	       const struct knobs *knobs, int64_t prompt, int64_t most);
void sim_leave(struct model *model);
/* Whether this request has the fault; takes one off a limited count. */
bool sim_roll(struct sim *sim, double rate, double count, double *stored_count);

/* Both doors give the same answers; they differ in how these are wrapped. */
void chat_request(struct sim *sim, struct http_conn *conn, const struct http_req *req);
void messages_request(struct sim *sim, struct http_conn *conn, const struct http_req *req);
void embed_request(struct sim *sim, struct http_conn *conn, const struct http_req *req);

#endif
