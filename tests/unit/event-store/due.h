/* What the slow path found due, for tests: read, shown as text, and noted. */
#ifndef PENSTOCK_TEST_STORE_DUE_H
#define PENSTOCK_TEST_STORE_DUE_H

#include "proto/command.pb-c.h"
#include "services/event-store/release_pg.h"
#include "tests/unit/event-store/database.h"

#define DUE_MAX 16

struct due_list {
	struct release_due due[DUE_MAX];
	size_t n;
};

typedef int due_note_fn(PGconn *conn, const struct release_due *due, size_t n, struct error *err);

void due_forget(struct due_list *list);
/* "<tenant>/<order>[:<seq>]<reason>", with blanks between; static storage. */
const char *due_text(const struct due_list *list, bool seq);
/* All that nobody has decided yet have this end. */
void due_note(struct due_list *list, due_note_fn *fn, PGconn *conn, enum release_end end,
	      const char *reason);
/* The i-th one's command; owned (free_unpacked). */
Penstock__Command *due_command(const struct due_list *list, size_t i);

#endif
