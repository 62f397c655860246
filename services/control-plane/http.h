/* HTTP around api.h: libmicrohttpd with a few threads.
 *
 * Threads: start and stop from one thread; stop waits for the requests that run. */
#ifndef PENSTOCK_CONTROL_HTTP_H
#define PENSTOCK_CONTROL_HTTP_H

#include "common/metrics.h"
#include "services/control-plane/api.h"

struct http;

struct http_conf {
	const char *addr;
	int port; /* 0: any */
	unsigned threads, connections;
	const struct api *api; /* borrowed until http_stop() */
	struct metrics *metrics;
};

struct http *http_start(const struct http_conf *conf, struct error *err);
int http_port(const struct http *http);
void http_stop(struct http *http); /* NULL is fine */

#endif
