/* The table `tasks`: projected tasks from and to their rows. Blocks; threads: the connection's
 * owner. */
#ifndef PENSTOCK_EVENT_STORE_TASK_ROWS_H
#define PENSTOCK_EVENT_STORE_TASK_ROWS_H

#include <libpq-fe.h>

#include "common/err.h"
#include "common/strbuf.h"
#include "services/event-store/project.h"

/* Columns for a SELECT … FROM tasks whose rows store_task_from_row() reads. */
#define STORE_TASK_COLUMNS                                                                         \
	"task, tenant, pipeline, version, state, (extract(epoch FROM created_at) * "               \
	"1000000)::int8,"                                                                          \
	" (extract(epoch FROM updated_at) * 1000000)::int8,"                                       \
	" (extract(epoch FROM started_at) * 1000000)::int8,"                                       \
	" (extract(epoch FROM finished_at) * 1000000)::int8,"                                      \
	" (extract(epoch FROM deadline_at) * 1000)::int8, input, output, error, usage, stages, "   \
	"worker,"                                                                                  \
	" run, attempts, redrive_gen, (extract(epoch FROM release_at) * 1000000)::int8, epoch,"    \
	" first_seq, last_seq"

/* t: zeroed. The row is one of text results. */
void store_task_from_row(struct project_task *t, const PGresult *res, int row);
/* The same, with its first column at `col`. */
void store_task_from_row_at(struct project_task *t, const PGresult *res, int row, int col);

extern const char store_task_copy_sql[]; /* new ones, straight into `tasks` */
/* The temporary table that changes come through; once a connection. */
extern const char store_task_stage_sql[];
extern const char store_task_stage_copy_sql[];
/* Moves what was copied into `tasks`; never back to an older state. */
extern const char store_task_merge_sql[];
/* One row for pg_copy_send(). with_input false: the row keeps the input that it has. */
void store_task_to_copy(struct strbuf *b, const struct project_task *t, bool with_input);

#endif
