/* What a client says: one message of PROTOCOL 2, in JSON or protobuf, parsed strictly into a
 * struct.
 *
 * Members that an operation does not have, values of another type or out of their range, and names
 * that are none are refused. Pure; threads: any. The slices point into the text that was parsed. */
#ifndef PENSTOCK_EDGE_CLIENT_MSG_H
#define PENSTOCK_EDGE_CLIENT_MSG_H

#include <stdint.h>

#include "common/ids.h"
#include "common/names.h"
#include "common/slice.h"
#include "common/topology.h"

#define REQUEST_ID_MAX  128  /* of `id` as JSON text */
#define TOKEN_MAX       4096 /* of a token */
#define DEADLINE_MAX_MS (7 * 24 * 3600 * 1000)
#define PRIORITY_MAX    100

enum client_op {
	OP_NONE, /* not even a message of this protocol */
	OP_UNKNOWN,
	OP_CONNECT,
	OP_SUBSCRIBE,
	OP_UNSUBSCRIBE,
	OP_PUBLISH,
	OP_TASK,
	OP_CANCEL,
	OP_ACK,
	OP_PING,
};

struct client_msg {
	enum client_op op;
	/* As it came: JSON text, "7" or 7, or the text itself in protobuf; "" if there is none. */
	char id[REQUEST_ID_MAX + 1];
	char channel[CHANNEL_MAX + 1];
	char type[TYPE_MAX + 1];
	char pipeline[TENANT_MAX + 1];
	char task[ID_LEN + 1];
	char key[KEY_MAX + 1];
	uint32_t version;
	struct slice
	    data; /* of publish, and the input of task: valid JSON, perhaps with white space */
	struct slice token, resume;
	bool has_after;
	char after_epoch[EPOCH_LEN + 1]; /* "": none given; "?": one that cannot be ours */
	uint64_t offset;                 /* of after, and of ack */
	uint32_t deadline_ms;
	int32_t priority;
	int64_t not_before_ms; /* since 1970; 0: none */
};

/* Why a message was refused: a code of the protocol and words. */
struct client_error {
	const char *code;
	char message[160];
};

/* The text must be valid UTF-8. On failure -1 and *why; op and id are still set if they could be
 * read. */
int client_msg_parse(const char *text, size_t len, struct client_msg *msg,
		     struct client_error *why);
/* The same of a ClientFrame (proto/client.proto): what holds for a member there holds here. */
int client_pb_parse(const void *data, size_t len, struct client_msg *msg, struct client_error *why);
/* The body of POST /v1/events (op OP_PUBLISH) and /v1/tasks (OP_TASK): the same members without op
 * and id. key_header: Idempotency-Key, or NULL; must not contradict the member. */
int client_msg_body(const char *text, size_t len, enum client_op op, const char *key_header,
		    struct client_msg *msg, struct client_error *why);
/* Sets *why and returns -1. */
int client_refuse(struct client_error *why, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
