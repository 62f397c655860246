/* What /v1/edges and /v1/workers share: who of a service is alive, and what the operators want of
 * each.
 *
 * A wish is a document of the configuration, which the process follows: so it survives the
 * control-plane and the process itself. Threads: the call's. */
#ifndef PENSTOCK_CONTROL_NODES_H
#define PENSTOCK_CONTROL_NODES_H

#include "services/control-plane/change.h"

struct node_kind {
	const char *service;  /* of the member list */
	const char *list;     /* of the page tokens */
	const char *all_sql;  /* id and document of each that something is wanted of */
	const char *find_sql; /* the document; $1: id */
	const char *put_sql;  /* $1: id, $2: document */
	const char *drop_sql; /* $1: id */
	void (*key)(const char *id, char out[REGISTRY_KEY_MAX]); /* of the bucket */
};

/* Each live one and each that something is wanted of: as it is in the member list, with `live` and
 * `drain`. */
void nodes_list(struct call *call, const struct node_kind *kind);
void node_get(struct call *call, const struct node_kind *kind);

/* A change of what is wanted: begin, fill in `new`, commit; end in every case. */
struct node_edit {
	struct change ch;
	const struct node_kind *kind;
	const char *id;
	json_t *live, *member; /* all; this one, borrowed */
	json_t *old, *new;
};

/* 404 for one that neither lives nor has a document. */
int node_edit_begin(struct node_edit *e, struct call *call,
		    const struct node_kind *kind) MUST_CHECK;
/* plain: nothing is wanted of it any more, and its document goes. Answers. */
void node_edit_commit(struct node_edit *e, const char *action, const char *tenant, bool plain);
void node_edit_end(struct node_edit *e);

#endif
