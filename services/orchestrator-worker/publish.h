/* The stage kind `publish`: an event of the task's tenant, sent as a command through the router's
 * one door, so that schemas, limits and idempotency are those of every other event.
 *
 * The key is "<task>/<stage>": however often the stage is run, one event comes of it. Pure;
 * threads: any. */
#ifndef WORKER_PUBLISH_H
#define WORKER_PUBLISH_H

#include "services/orchestrator-worker/exec.h"

/* The command (protobuf) for an input {channel, type, data?, version?}. ERR_REJECTED and a sentence
 * for another one. */
int publish_command(const struct exec_call *call, struct strbuf *out, struct error *err) MUST_CHECK;

struct publish_answer {
	struct saga_outcome outcome; /* borrows from what is below */
	struct strbuf output, message;
	char reason[48];
};
/* The router's answer; reply NULL: none came. The output is {event_id, channel, offset, duplicate}.
 */
void publish_answer(struct publish_answer *a, const void *reply, size_t len);
void publish_answer_done(struct publish_answer *a);

#endif
