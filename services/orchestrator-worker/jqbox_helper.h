/* The child's side of jqbox, and what travels between the two. Private to jqbox*.c. */
#ifndef WORKER_JQBOX_HELPER_H
#define WORKER_JQBOX_HELPER_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* A page that both sides see. */
struct jqbox_page {
	_Atomic int64_t pid;      /* 0 until the helper runs */
	_Atomic uint64_t running; /* id of the run that is being done, 0: none: whom to blame */
	_Atomic uint64_t skip;    /* runs with a lower id are wanted no more */
	_Atomic int nomem;        /* the helper died for want of memory */
};

struct jqbox_ask { /* followed by the program, then the input */
	uint64_t id;
	uint32_t program_len, input_len;
};

struct jqbox_answer { /* followed by the text */
	uint64_t id;
	uint32_t code; /* enum jqbox_code */
	uint32_t len;
	int64_t run_us;
};

struct jqbox_limits {
	size_t memory_mb, output_max, programs;
};

/* What the box tells the nursery, with two descriptors (socket, page) for a birth. */
struct jqbox_order {
	uint32_t slot;
	uint32_t kill; /* else: make one */
};

/* Right after the fork: makes sure that it dies with its parent, then serves orders until the other
 * end of control is closed. Never returns. */
_Noreturn void jqbox_nursery(int control, int64_t parent, const struct jqbox_limits *limits);
/* Serves runs on fd until the other end is closed. Never returns. */
_Noreturn void jqbox_helper(int fd, struct jqbox_page *page, const struct jqbox_limits *limits);

#endif
