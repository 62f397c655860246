/* A WebSocket client on a raw socket, that can also behave badly. Threads: one owner. */
#ifndef PENSTOCK_TEST_WSCLIENT_H
#define PENSTOCK_TEST_WSCLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/strbuf.h"

struct wsclient {
	int fd; /* -1: not open */
	struct strbuf in;
};

enum ws_got { WS_GOT_TEXT, WS_GOT_CLOSE, WS_GOT_END, WS_GOT_NOTHING };

int64_t ws_now_ms(void);
/* A TCP connection; rcvbuf 0: the system's own. False: refused. */
bool wsclient_dial(struct wsclient *c, int port, int rcvbuf);
/* The handshake; token NULL: none. False: it was not upgraded. */
bool wsclient_upgrade(struct wsclient *c, const char *token);
/* The answer to one that was sent by wsclient_raw(). */
bool wsclient_upgraded(struct wsclient *c);
bool wsclient_raw(struct wsclient *c, const void *data, size_t len);
/* Adds the frame of a text to b, to be sent with others at once. */
void wsclient_add_text(struct strbuf *b, const char *text);
bool wsclient_text(struct wsclient *c, const char *text);
/* The next message (into text) or the end; pings are answered. A close leaves its code. */
enum ws_got wsclient_next(struct wsclient *c, int64_t deadline_ms, struct strbuf *text,
			  unsigned *code);
bool wsclient_close_frame(struct wsclient *c, unsigned code);
void wsclient_reset(struct wsclient *c); /* RST instead of FIN, then as done */
void wsclient_done(struct wsclient *c);

#endif
