/* The logger: one JSON object a line on stderr, one write(2) a line.
 *
 * Threads: any. Never logs a secret: callers pass ids, not tokens. Units: time is RFC 3339 UTC.
 * log_at(LOG_INFO, "task started", LOG_S("task", id), LOG_I("attempt", 2)); */
#ifndef PENSTOCK_LOG_H
#define PENSTOCK_LOG_H

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_value {
	char kind; /* 's' text (NULL is null), 'i' integer, 'f' real, 'b' boolean */
	union {
		const char *s;
		int64_t i;
		double f;
	} u;
};

struct log_field {
	const char *name; /* NULL ends the list */
	struct log_value value;
};

#define LOG_S(name, v) ((struct log_field){(name), {'s', {.s = (v)}}})
#define LOG_I(name, v) ((struct log_field){(name), {'i', {.i = (int64_t)(v)}}})
#define LOG_F(name, v) ((struct log_field){(name), {'f', {.f = (v)}}})
#define LOG_B(name, v) ((struct log_field){(name), {'b', {.i = (v) ? 1 : 0}}})
#define LOG_END        ((struct log_field){NULL, {0, {.i = 0}}})

/* Called once by main(), before any thread: the service's name and this process's id are in
 * every line. Both are copied. */
void log_init(const char *service, const char *instance, enum log_level level);

/* -1 for a word that is no level. */
int log_level_parse(const char *word, enum log_level *level);

void log_fields(enum log_level level, const char *message, const struct log_field *fields);

/* log_at(LOG_INFO, "listening", LOG_I("port", 7080)); */
#define log_at(level, message, ...)                                                                \
	log_fields((level), (message),                                                             \
		   (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ) LOG_END})

#endif
