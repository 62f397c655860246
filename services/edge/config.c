#include "services/edge/config.h"

#define HOUR_MS (3600 * 1000)

#define TEXT(name, member, dflt, help)                                                             \
	{                                                                                          \
		"PENSTOCK_EDGE_" name, ENV_TEXT, offsetof(struct edge_conf, member), dflt, 0, 0,   \
		    help, false                                                                    \
	}
#define INT(name, member, dflt, min, max, help)                                                    \
	{                                                                                          \
		"PENSTOCK_EDGE_" name, ENV_INT, offsetof(struct edge_conf, member), dflt, min,     \
		    max, help, false                                                               \
	}

const struct env_setting edge_settings[] = {
    TEXT("ADDR", addr, "127.0.0.1", "address of the clients' port"),
    INT("COMMANDS", commands, "16384", 1, 1 << 20, "commands without an answer, all connections"),
    INT("COMMAND_MS", command_ms, "5000", 10, 60000,
	"ms until a command is answered by unavailable"),
    INT("CONNECTIONS", connections, "100000", 1, 10000000,
	"WebSocket connections; more are refused by 503"),
    INT("CONNECT_MS", connect_ms, "10000", 10, HOUR_MS, "ms from the upgrade to the connect frame"),
    INT("DRAIN_MS", drain_ms, "3000", 0, HOUR_MS,
	"ms in which a stopping edge says good-bye to its clients"),
    INT("FRAME_BYTES", frame_bytes, "65536", 1024, 1 << 20, "bytes of a client's message"),
    INT("HTTP_THREADS", http_threads, "1", 1, 64, "threads that parse HTTP and answer handshakes"),
    INT("HTTP_TIMEOUT_S", http_timeout_s, "20", 1, 3600,
	"s without progress until a request is cut off"),
    INT("IN_FLIGHT", in_flight, "256", 1, 65535, "commands without an answer, one connection"),
    INT("LINGER_MS", linger_ms, "2000", 0, HOUR_MS,
	"ms that a channel is kept after its last subscriber left"),
    INT("MAILBOX", mailbox, "65536", 16, 1 << 24, "deliveries on their way to one reactor"),
    INT("OUT_HARD_BYTES", out_hard_bytes, "1048576", 1024, 1 << 30,
	"bytes waiting for a socket: beyond, close 4102"),
    INT("OUT_SOFT_BYTES", out_soft_bytes, "262144", 1024, 1 << 30,
	"bytes waiting for a socket: beyond, ephemeral frames are dropped"),
    INT("PING_MS", ping_ms, "25000", 20, HOUR_MS, "ms between pings"),
    INT("PONG_MS", pong_ms, "8000", 10, HOUR_MS, "ms that a pong may take; less than PING_MS"),
    INT("PORT", port, "7080", 0, 65535, "clients' port; 0: any, logged at start"),
    INT("RATE", rate, "10000", 10, 10000000,
	"messages a second of one connection; beyond, it is read later"),
    INT("REACTORS", reactors, "0", 0, 256, "threads that serve sockets; 0: one for each core"),
    TEXT("REGION", region, "local", "name of the region"),
    {"PENSTOCK_EDGE_RESUME_SECRET", ENV_TEXT, offsetof(struct edge_conf, resume_secret), "", 0, 0,
     "key that signs resume tokens, the same on all edges; empty: a random one", true},
    INT("RESUME_TTL_MS", resume_ttl_ms, "120000", 0, HOUR_MS, "ms that a resume token is good for"),
    INT("SUBSCRIPTIONS", subscriptions, "128", 1, 255, "subscriptions of one connection"),
    INT("TASK_BYTES", task_bytes, "262144", 1024, 1 << 20,
	"bytes of a task message and of an HTTP body"),
    TEXT("URL", url, "", "public URL; empty: http://<ADDR>:<PORT>"),
    TEXT("URLS", urls, "", "public URLs of all edges; accepted, not used yet"),
    COMMON_SETTINGS(struct edge_conf, common),
};
const size_t edge_n_settings = sizeof(edge_settings) / sizeof(edge_settings[0]);
