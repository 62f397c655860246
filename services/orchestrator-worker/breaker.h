/* A circuit breaker for one target, as this worker sees it.
 *
 *            enough of the last calls failed            open_ms later
 *   CLOSED ─────────────────────────────────► OPEN ───────────────────► PROBING
 *     ▲                                        ▲                         │   │
 *     │                                        └── one failed: twice as ─┘   │
 *     │                                            long as before            │
 *     └───────────────────── BREAKER_PROBES were answered ───────────────────┘
 *
 * A call's end counts only for the state in which it was begun: what was on its way when the
 * breaker opened says nothing about the target of later.
 *
 * Source: M. Nygard, "Release It!", Circuit Breaker. Pure; threads: one owner. Units: milliseconds
 * of any clock that does not go back. */
#ifndef WORKER_BREAKER_H
#define WORKER_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#define BREAKER_WINDOW_S      10
#define BREAKER_CALLS_MIN     20 /* in the window: fewer say nothing */
#define BREAKER_FAILED_PART   2  /* one of so many failed */
#define BREAKER_OPEN_MS       5000
#define BREAKER_OPEN_MAX_MS   60000
#define BREAKER_PROBES        3
#define BREAKER_PROBE_WAIT_MS 1000 /* asked again while probes are on their way */

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_PROBING };

enum breaker_end {
	BREAKER_ANSWERED, /* also when it is a refusal: the target is there */
	BREAKER_FAILED,
	BREAKER_NOTHING, /* cancelled, throttled: says nothing */
};

/* Zeroed: closed. */
struct breaker {
	enum breaker_state state;
	unsigned generation; /* counts the states that it was in */
	struct {
		int64_t second;
		unsigned calls, failed;
	} window[BREAKER_WINDOW_S];
	int64_t open_ms, until_ms;
	unsigned probes, answered; /* PROBING: under way; well ended */
};

/* 0: a call may begin now; else how long to wait before asking again. */
int64_t breaker_wait_ms(const struct breaker *b, int64_t now_ms);
/* A call begins; breaker_wait_ms() was 0 a moment ago. Returns what breaker_end() wants. */
unsigned breaker_begin(struct breaker *b, int64_t now_ms);
/* … and has ended. True if the state has changed. */
bool breaker_end(struct breaker *b, unsigned generation, enum breaker_end end, int64_t now_ms);

#endif
