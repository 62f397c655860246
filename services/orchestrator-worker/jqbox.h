/* jq programs, run in child processes: a program that loops, eats memory or crashes takes only its
 * own task with it.
 *
 * jqbox_new() forks a nursery, which must happen before the process has a second thread; the
 * nursery, which has only one, forks helpers whenever one is wanted. A helper keeps its compiled
 * programs (compiling one takes libjq 1.6 about 20 ms, running it about 10 us), has no file
 * descriptor but its socket, an empty environment and an address-space limit. Requests and answers
 * go over a socket pair in batches. Every run has a budget of processor time; a helper whose run
 * exceeds it is killed and replaced, that run fails, and the others that it had not answered are
 * done again elsewhere (jq has no side effects). A run that is slow, but not yet too slow, makes
 * its program a suspect: suspects have a helper of their own, so that nobody waits behind them. Its
 * runs wait there in turns of their owners (turns.h), one at a time, and at most half of all that
 * may wait does so there: the rest is left to everybody else.
 *
 * Threads: the loop's. Ownership: what is passed in is copied; a result is borrowed for the
 * callback. Units: in the names. Nothing here is specific to a task. */
#ifndef WORKER_JQBOX_H
#define WORKER_JQBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"

struct jqbox;
struct jqbox_run;

struct jqbox_conf {
	unsigned helpers;  /* for everyone; one more is made for suspects when there are any */
	int64_t budget_ms; /* processor time of one run; ten times that in wall time */
	size_t
	    memory_mb; /* address space of a helper, 0: no limit (forced under AddressSanitizer) */
	size_t output_max;  /* bytes */
	size_t programs;    /* compiled ones that a helper keeps */
	size_t queue_max;   /* runs not yet answered; more are refused with JQBOX_BUSY */
	size_t queue_bytes; /* … and their input */
};

enum jqbox_code {
	JQBOX_OK,
	JQBOX_SYNTAX,    /* the program does not compile */
	JQBOX_ERROR,     /* it ended in an error, or gave no result or more than one */
	JQBOX_TIME,      /* over its budget */
	JQBOX_MEMORY,    /* over the address-space limit */
	JQBOX_CRASHED,   /* the helper died: usually of too deep a recursion */
	JQBOX_TOO_LARGE, /* the result is longer than output_max */
	JQBOX_BUSY,      /* not started: too much is waiting */
	JQBOX_LOST,      /* not done: the nursery is gone, the process should be restarted */
};

struct jqbox_result {
	enum jqbox_code code;
	const char *text; /* JQBOX_OK: the result, compact JSON; else words. Ends in NUL */
	size_t len;
	int64_t run_us;
};
typedef void jqbox_fn(void *arg, const struct jqbox_result *result);

struct jqbox_stats {
	size_t queued; /* runs not yet answered */
	size_t bytes;
	uint64_t killed;  /* helpers that were killed or died */
	uint64_t refused; /* JQBOX_BUSY */
	bool lost;        /* no helper could be started: JQBOX_LOST */
};

/* Forks; call it before any thread starts. NULL on failure. */
struct jqbox *jqbox_new(const struct jqbox_conf *conf, struct error *err);
/* From now on runs are taken. */
void jqbox_attach(struct jqbox *box, struct loop *loop);
/* Cancels what is running (no callback) and ends the children. NULL is fine. */
void jqbox_free(struct jqbox *box);

/* owner: whose it is, for the turns. fn is called once, on a later turn of the loop, unless the run
 * is cancelled first. */
struct jqbox_run *jqbox_eval(struct jqbox *box, const char *owner, const char *program,
			     const char *input, size_t len, jqbox_fn *fn, void *arg);
void jqbox_cancel(struct jqbox_run *run);
void jqbox_stats(const struct jqbox *box, struct jqbox_stats *stats);
const char *jqbox_code_name(enum jqbox_code code);

#endif
