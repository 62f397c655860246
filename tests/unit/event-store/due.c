#include "tests/unit/event-store/due.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

void due_forget(struct due_list *list)
{
	release_due_forget(list->due, &list->n);
}

const char *due_text(const struct due_list *list, bool seq)
{
	static char text[512];
	char at[24] = "";
	size_t len = 0;
	text[0] = '\0';
	for (size_t i = 0; i < list->n; i++) {
		const struct release_due *due = &list->due[i];
		if (seq)
			snprintf(at, sizeof(at), ":%d", (int)due->seq);
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s/%s%s%s", i ? " " : "",
					due->tenant, due->order, at, due->reason);
	}
	return text;
}

void due_note(struct due_list *list, due_note_fn *fn, PGconn *conn, enum release_end end,
	      const char *reason)
{
	struct error err = {0};
	for (size_t i = 0; i < list->n; i++) {
		if (list->due[i].end == RELEASE_NOT_YET) {
			list->due[i].end = end;
			strcpy(list->due[i].reason, reason);
		}
	}
	ck_assert_msg(!fn(conn, list->due, list->n, &err), "%s", err.msg);
}

Penstock__Command *due_command(const struct due_list *list, size_t i)
{
	Penstock__Command *cmd =
	    penstock__command__unpack(NULL, list->due[i].len, list->due[i].command);
	ck_assert_ptr_nonnull(cmd);
	return cmd;
}
