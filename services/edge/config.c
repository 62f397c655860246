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
    INT("CONNECT_BURST", connect_burst, "20000", 1, 10000000,
	"sockets with a token that may come in at once"),
    INT("CONNECT_MS", connect_ms, "10000", 10, HOUR_MS, "ms from the upgrade to the connect frame"),
    INT("CONNECT_RATE", connect_rate, "4000", 0, 10000000,
	"the same a second in the long run; more are closed with 4101; 0: no bound"),
    {"PENSTOCK_EDGE_DEFLATE", ENV_BOOL, offsetof(struct edge_conf, deflate), "on", 0, 0,
     "whether clients may have permessage-deflate", false},
    INT("DEFLATE_BYTES", deflate_bytes, "512", 0, 1 << 20,
	"bytes of an event's frame from which on it is compressed"),
    INT("DEFLATE_LEVEL", deflate_level, "1", 1, 9, "zlib's level for what is sent"),
    INT("DRAIN_MS", drain_ms, "10000", 0, HOUR_MS,
	"ms from a client's drain frame until it is closed"),
    INT("DRAIN_SPREAD_MS", drain_spread_ms, "120000", 0, HOUR_MS,
	"ms over which a stopping or drained edge sends its drain frames"),
    INT("FRAME_BYTES", frame_bytes, "65536", 1024, 1 << 20, "bytes of a client's message"),
    INT("GAP_MS", gap_ms, "30000", 100, HOUR_MS,
	"ms that a hole in a channel is tried to be read from the log before a gap is told"),
    INT("HTTP_THREADS", http_threads, "1", 1, 64,
	"threads that serve HTTP, and the handshakes that no reactor takes"),
    INT("HTTP_TIMEOUT_S", http_timeout_s, "20", 1, 3600,
	"s for a request to come in whole, and between two of them"),
    INT("IN_FLIGHT", in_flight, "256", 1, 65535, "commands without an answer, one connection"),
    INT("IN_FLIGHT_BYTES", in_flight_bytes, "1048576", 1024, 1 << 30,
	"bytes of one connection's commands without an answer; beyond, it is read later"),
    {"PENSTOCK_EDGE_IO_URING", ENV_BOOL, offsetof(struct edge_conf, io_uring), "on", 0, 0,
     "whether many sockets are written to by one system call, where the kernel lets us", false},
    INT("LINGER_MS", linger_ms, "2000", 0, HOUR_MS,
	"ms that a channel is kept after its last subscriber left"),
    INT("LOAD_PERCENT", load_percent, "125", 100, 100000,
	"connections that an edge may have, in percent of the mean of all, before others take "
	"more"),
    INT("LOAD_SLACK", load_slack, "100", 0, 10000000,
	"connections that an edge may have whatever the mean is; both the same on all edges"),
    INT("MAILBOX", mailbox, "65536", 16, 1 << 24, "deliveries on their way to one reactor"),
    INT("OUT_HARD_BYTES", out_hard_bytes, "1048576", 1024, 1 << 30,
	"bytes waiting for a socket: beyond, close 4102"),
    INT("OUT_SOFT_BYTES", out_soft_bytes, "262144", 1024, 1 << 30,
	"bytes waiting for a socket: beyond, ephemeral frames are dropped, durable ones spilled"),
    INT("PING_MS", ping_ms, "25000", 20, HOUR_MS, "ms between pings"),
    INT("PONG_MS", pong_ms, "8000", 10, HOUR_MS, "ms that a pong may take; less than PING_MS"),
    INT("PORT", port, "7080", 0, 65535, "clients' port; 0: any, logged at start"),
    INT("RATE", rate, "10000", 10, 10000000,
	"messages a second of one connection; beyond, it is read later"),
    INT("RATE_BYTES", rate_bytes, "8388608", 1024, 1 << 30,
	"bytes a second of one connection; beyond, it is read later"),
    INT("REACTORS", reactors, "0", 0, 256, "threads that serve sockets; 0: one for each core"),
    INT("RECEIPTS_MS", receipts_ms, "5000", 0, HOUR_MS,
	"ms between two reports of what was delivered to whom, for the audit; 0: none"),
    TEXT("REGION", region, "local", "name of the region"),
    INT("REPLAY_PAGES", replay_pages, "64", 1, 4096, "pages of logs that are read at one time"),
    INT("REPLAY_QUEUE", replay_queue, "8192", 16, 1 << 20,
	"pages of one tenant that wait for their turn; more are refused by unavailable"),
    INT("RESUME_BURST", resume_burst, "50000", 1, 10000000,
	"sockets with a resume token that may come in at once"),
    INT("RESUME_RATE", resume_rate, "8000", 0, 10000000,
	"the same a second in the long run; more are closed with 4101; 0: no bound"),
    {"PENSTOCK_EDGE_RESUME_SECRET", ENV_TEXT, offsetof(struct edge_conf, resume_secret), "", 0, 0,
     "key that signs resume tokens, the same on all edges; empty: a random one", true},
    INT("RESUME_TTL_MS", resume_ttl_ms, "120000", 0, HOUR_MS,
	"ms after the loss of its socket in which a session can be resumed; 0: it cannot"),
    INT("SLOW_MS", slow_ms, "60000", 100, HOUR_MS,
	"ms that frames may wait for a socket that takes nothing; then close 4102"),
    TEXT("STATIC_DIR", static_dir, "",
	 "folder of files that are served beside the API, to anybody; empty: none"),
    INT("STREAMS", streams, "4096", 0, 12288,
	"streams of server-sent events; more are refused by 503"),
    INT("SUBSCRIPTIONS", subscriptions, "128", 1, 255, "subscriptions of one connection"),
    INT("TASK_BYTES", task_bytes, "262144", 1024, 1 << 20,
	"bytes of a task message and of an HTTP body"),
    TEXT("URL", url, "", "public URL; empty: http://<ADDR>:<PORT>"),
    TEXT("URLS", urls, "", "public URLs of all edges; accepted, not used yet"),
    COMMON_SETTINGS(struct edge_conf, common),
};
const size_t edge_n_settings = sizeof(edge_settings) / sizeof(edge_settings[0]);
