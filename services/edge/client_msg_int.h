/* What the readers of the two encodings share: an operation's members, how each is checked, and
 * where it goes. */
#ifndef PENSTOCK_EDGE_CLIENT_MSG_INT_H
#define PENSTOCK_EDGE_CLIENT_MSG_INT_H

#include "services/edge/client_msg.h"
#include "services/edge/jscan.h"

#define MEMBERS_MAX 16

struct client_field {
	const char *name;
	bool required;
	int (*read)(const struct jmember *m, struct client_msg *msg, struct client_error *why);
};

void client_msg_clear(struct client_msg *msg);
/* By name; OP_UNKNOWN and NULL if there is none. */
enum client_op client_msg_op(const char *name, const struct client_field **fields);
/* Every member must be one of the fields; those that are required must be there. */
int client_msg_read(const struct jmember *m, size_t n, const struct client_field *fields,
		    struct client_msg *msg, struct client_error *why);
/* What only the plane itself may say. */
int client_msg_reserved(const struct client_msg *msg, struct client_error *why);

/* The members of an After of proto/client.proto. */
int client_pb_after(struct slice bytes, struct jmember out[2], size_t *n, struct client_error *why);

#endif
