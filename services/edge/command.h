/* Commands to the router (proto/command.proto) and its replies, as the edge packs and reads them.
 * Pure; threads: any. */
#ifndef PENSTOCK_EDGE_COMMAND_H
#define PENSTOCK_EDGE_COMMAND_H

#include "services/edge/client_msg.h"
#include "services/edge/frames.h"

struct command_from {
	const char *id;      /* of this attempt */
	const char *session; /* "" for HTTP */
	const char *tenant, *principal, *edge, *trace;
	bool quota;     /* the answer shall have it */
	unsigned depth; /* triggers that led to it */
};

/* The tenant's limit as draft-ietf-httpapi-ratelimit-headers tells it; limit 0: not known. */
struct command_quota {
	uint64_t limit, remaining;
	uint32_t window_s, reset_s;
};

/* Packs a message of op PUBLISH, TASK or CANCEL. Owned by the caller. */
void *command_pack(const struct client_msg *msg, const struct command_from *from, size_t *len);

struct command_answer {
	bool accepted;
	struct frame_accepted ok;   /* accepted */
	struct frame_error refused; /* else */
	struct command_quota quota;
	void *reply; /* what the texts belong to */
};

/* reply NULL: nobody answered in time. Always fills in *a; end with command_answer_done(). */
void command_answer(const void *reply, size_t len, struct command_answer *a);
void command_answer_done(struct command_answer *a);

#endif
