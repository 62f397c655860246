/* What the modes of the load generator share: options, the clock, the count of errors, the report.
 *
 * A mode is a set of callbacks on a pool of clients that ends by loop_stop(). Threads: the loop's.
 */
#ifndef LOAD_LOAD_H
#define LOAD_LOAD_H

#include "tools/load/client.h"
#include "tools/load/hist.h"

struct options {
	const char *url, *token;
	const char *edges; /* roam: all of them, comma separated; NULL: url alone */
	const char *dialect_name;
	const struct dialect *dialect;
	const char *watch;       /* name=pid+pid,…: struct watch */
	const char *tokens_file; /* one a line: channel i belongs to the (i % n_tokens)th */
	const char *const *tokens;
	unsigned n_tokens;
	const char *type, *pipeline, *input;
	int64_t publishers, subscribers, channels, connections, subscriptions;
	int64_t rate;   /* a second in all; 0: as fast as the window lets it */
	int64_t window; /* without an answer (events) or not ended (tasks), of one connection; not
			   delivered yet (fanout) */
	int64_t count;  /* tasks; 0: until the time is over */
	int64_t seconds, warmup, size, quiet_s;
	int64_t connecting; /* connections that are set up at the same time */
	int64_t behind;     /* events that each connection of resume has missed */
	bool keys;          /* publish with idempotency keys */
};

#define ERROR_CODES_MAX 24
struct errors {
	struct {
		char code[32];
		uint64_t n;
	} list[ERROR_CODES_MAX];
	unsigned n;
};

void errors_count(struct errors *e, const char *code);
void errors_write(const struct errors *e, struct strbuf *out);

struct load {
	struct loop *loop;
	struct pool pool;
	const struct options *opt;
	struct errors errors; /* by code of the protocol, or by why a connection ended */
	char run[24];         /* tells this run's channels and keys from another's */
	struct strbuf report; /* one JSON object */
	bool failed;
};

int64_t load_clock_us(void); /* monotonic, read anew: the loop's is as old as its turn */

/* Each runs one mode to its end; 0, or -1 if it could not be run at all. */
int roam_run(struct load *load, struct error *err) MUST_CHECK;
int resume_run(struct load *load, struct error *err) MUST_CHECK;
int fanout_run(struct load *load, struct error *err) MUST_CHECK;
int events_run(struct load *load, struct error *err) MUST_CHECK;
int tasks_run(struct load *load, struct error *err) MUST_CHECK;
int idle_run(struct load *load, struct error *err) MUST_CHECK;

#endif
