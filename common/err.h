/* The one error value: what went wrong, in words, and how the caller may react.
 *
 * Functions that can fail return 0 or -1 and take a `struct error *` last; it is untouched on
 * success, so calls chain with ||. Library code returns errors; whoever handles one logs it, once.
 * Threads: a struct error belongs to its caller. */
#ifndef PENSTOCK_ERR_H
#define PENSTOCK_ERR_H

enum err_code {
	ERR_NONE = 0,
	ERR_TRANSIENT, /* the same call may succeed later: retry with backoff, nak with delay */
	ERR_CONFLICT,  /* somebody else was first: reload the state and decide anew */
	ERR_REJECTED,  /* the input is bad and will stay bad: answer the sender, dead-letter */
	ERR_FATAL,     /* this process cannot go on: acknowledge nothing and exit */
};

struct error {
	enum err_code code;
	char msg[240];
};

/* Sets *err (may be NULL) and returns -1, so that `return err_set(...)` reads well. */
int err_set(struct error *err, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "context: " in front of the message and returns -1. */
int err_wrap(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

const char *err_code_name(enum err_code code);

#define MUST_CHECK __attribute__((warn_unused_result))

#endif
