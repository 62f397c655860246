/* What the servers' processes use while a phase of a run lasts: CPU time, and memory of their own.
 *
 * The processes are given as name=pid+pid,name=pid: a part may have several. Linux. Threads: one
 * owner. Units: seconds of user and system time, all threads; bytes. */
#ifndef LOAD_WATCH_H
#define LOAD_WATCH_H

#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"

#define WATCH_PARTS 16
#define WATCH_PIDS  64

struct watch {
	struct watch_part {
		char name[24];
		int pids[WATCH_PIDS];
		unsigned n;
	} parts[WATCH_PARTS];
	unsigned n;
};

struct usage {
	double cpu_s[WATCH_PARTS];
	double own_s; /* of this process */
	int64_t bytes[WATCH_PARTS];
};

/* spec NULL: nothing is watched. */
int watch_init(struct watch *w, const char *spec, struct error *err) MUST_CHECK;
/* A process that has ended counts as 0. */
void watch_read(const struct watch *w, struct usage *u);
/* {"edge":1.25,…,"load":0.75}: CPU from one reading to another. */
void watch_write_cpu(const struct watch *w, const struct usage *from, const struct usage *to,
		     struct strbuf *out);
/* {"edge":123456,…}: growth of memory. */
void watch_write_bytes(const struct watch *w, const struct usage *from, const struct usage *to,
		       struct strbuf *out);

#endif
