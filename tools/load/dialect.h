/* What the modes fanout and idle speak over WebSocket: Penstock's protocol in its two encodings,
 * and for comparison nchan's (a channel is a URL, a message is a frame) and NATS's (its lines,
 * several in a frame).
 *
 * Threads: the loop's. Nothing here keeps what it is given. */
#ifndef LOAD_DIALECT_H
#define LOAD_DIALECT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/strbuf.h"
#include "common/ws.h"

struct client;

enum said {
	SAID_OTHER,
	SAID_EVENT,
	SAID_READY,  /* the subscription stands */
	SAID_ANSWER, /* to a publish */
	SAID_REFUSED,
	SAID_BAD, /* not understood: the connection is of no use any more */
};

struct heard {
	enum said what;
	const char *text; /* of an event: what was published is somewhere in it */
	size_t len;
	char code[32]; /* of a refusal: why, in a word */
};

/* A client's place: what it subscribes to or publishes on, and as whom. */
struct place {
	char channel[160];
	bool publishes;
	unsigned token; /* of the options' */
};

struct dialect {
	const char *name;
	enum ws_opcode opcode;
	/* Publishes without an answer that one more would be refused with; 0: there is no bound. */
	unsigned unanswered_max;
	/* token: NULL: it is not said here. */
	void (*request)(struct strbuf *out, const char *host, const char *port, const char *token,
			const struct place *place);
	bool (*greeting)(const char *text, size_t len); /* NULL: none, open at once */
	/* A publisher subscribes to nothing, but may have to say hello. False: it stands with the
	 * connection, and no SAID_READY comes. */
	bool (*subscribe)(struct client *c, const struct place *place);
	void (*publish)(struct client *c, const char *channel, const char *type,
			const char *payload, size_t len);
	/* Takes the next message off the front of a frame; the bytes taken, at least one. */
	size_t (*read)(struct client *c, const char *text, size_t len, struct heard *heard);
};

extern const struct dialect dialect_penstock, dialect_protobuf, dialect_nchan, dialect_nats;
const struct dialect *dialect_named(const char *name); /* NULL: no such one */

#endif
