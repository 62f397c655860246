"""The suite fanout: Penstock's edge beside its peers, in one run, and what a crowd of connections costs.

Every server gets the same load from the same client (penstock-load): 128 bytes of JSON, a publisher for each channel,
published through the server's WebSocket as a client would. Penstock's events are of class ephemeral, the promise that
the peers give: at most once. CPU is read by the client from /proc at the beginning and the end of the run, warm-up
and set-up excluded, and stands beside the deliveries read in that time.

Penstock has two subprotocols, so where events are what costs it has two rows beside the peers. Connections, tenants and
resuming are shown in JSON alone: there the bytes of an event decide nothing, and the suite runs for minutes as it is.
"""
import json
import os
import sys

from peers import PEERS, descendants
from stack import StackError

# name: (title, subscribers, channels, events/s; 0: as fast as it goes with 64 events under way)
SPEEDS = {
    "1000x100": ("1 channel, 1,000 subscribers, 100/s", 1000, 1, 100),
    "1000x300": ("1 channel, 1,000 subscribers, 300/s", 1000, 1, 300),
    "1000x1000": ("1 channel, 1,000 subscribers, 1,000/s", 1000, 1, 1000),
    "saturation": ("1 channel, 1,000 subscribers, saturated", 1000, 1, 0),
    "10000x10": ("1 channel, 10,000 subscribers, 10/s", 10000, 1, 10),
    "10000x50": ("1 channel, 10,000 subscribers, 50/s", 10000, 1, 50),
    "channels": ("1,000 channels of 10 subscribers, 2,000/s", 10000, 1000, 2000),
}
SUBPROTOCOLS = {"penstock": "penstock", "penstock (protobuf)": "penstock-protobuf"}  # as a row names it: as penstock-load does
MANY_TENANTS = 10000
NO_LIMITS = {"events_per_s": 1000000, "burst": 1000000, "bytes_per_s": 1 << 40, "connections": 1000000,
             "subscriptions": 1000000}


def watch_stack(stack):
    """All of Penstock's processes, by part; nats-server and PostgreSQL too."""
    parts = {}
    for name in stack.names():
        if stack.pid(name):
            parts.setdefault(name.partition("-")[0], []).extend(descendants(stack.pid(name)))
    parts.pop("modelsim", None)
    return ",".join(f"{k}={'+'.join(map(str, v[:64]))}" for k, v in parts.items())


def speed_figures(r):
    """What a row of the table shows of one report of penstock-load."""
    servers = {k: v for k, v in r["cpu_s"].items() if k != "load"}
    millions = (r["in_run"] or 1) / 1e6
    return {"delivered /s": r["delivered_per_s"], "p50 ms": r["deliver_ms"]["p50"], "p99 ms": r["deliver_ms"]["p99"],
            "lost": r["lost"] + r["repeated"], "not sent": r["throttled"],
            "CPU": sum(servers.values()) / millions, "edge": servers.get("edge", 0) / millions,
            "load": r["cpu_s"]["load"] / r["seconds"]}


class Fanout:
    """bench: run.py's, with a provisioned stack."""

    def __init__(self, bench, folder):
        self.bench, self.stack, self.folder = bench, bench.stack, folder

    def _load(self, mode, *args):
        """The report; whether an error in it matters is for the row to say."""
        load = self.bench.start(mode, *args)
        if mode == "idle":  # it holds its connections until its input ends
            load.stdout.readline()
        out = load.communicate()[0].strip()
        if not out or load.returncode not in (0, 1):
            raise StackError(f"penstock-load {mode} {args} ended with {load.returncode}")
        doc = json.loads(out.splitlines()[-1])
        if load.returncode or doc["errors"]:
            print(f"bench: {mode} {args}: errors {doc['errors']}", file=sys.stderr)
        return doc

    def speed(self, name):
        """{server: figures}"""
        _, subscribers, channels, rate = SPEEDS[name]
        args = ["--subscribers", subscribers, "--channels", channels, "--rate", rate, "--seconds", self.bench.n(8),
                "--window", min(4096, max(64, rate)), "--warmup", 2, "--quiet", 5]
        out = {}
        for peer in PEERS:
            with peer(self.folder) as p:
                out[p.name] = speed_figures(self._load("fanout", *args, "--dialect", p.name, "--url", p.url, "--token", "-",
                                                       "--watch", p.watch()))
        for server, dialect in SUBPROTOCOLS.items():
            out[server] = self.penstock([*args, "--dialect", dialect])
        return out

    def penstock(self, args):
        return speed_figures(self._load("fanout", *args, "--type", "load.ephemeral", "--watch", watch_stack(self.stack)))

    def fresh_edge(self):
        """What an earlier row freed would hide what the connections take."""
        self.stack.restart("edge-1")
        self.bench.warm()

    def idle(self):
        """Connections that are set up as fast as they go, then held: memory of each."""
        n = self.bench.n(15000)
        out = {}
        for peer in PEERS:
            with peer(self.folder) as p:
                out[p.name] = self._idle(n, ["--dialect", p.name, "--url", p.url, "--token", "-", "--watch", p.watch()])
        self.fresh_edge()
        out["penstock"] = self._idle(n, ["--watch", watch_stack(self.stack)])
        return out

    def _idle(self, n, args):
        r = self._load("idle", "--connections", n, "--channels", n, "--quiet", 60, *args)
        servers = {k: v for k, v in r["cpu_s"].items() if k != "load"}
        part = "edge" if "edge" in servers else next(iter(servers))
        return {"connections": n, "open /s": r["connections_per_s"], "subscribed /s": n / r["ready_s"], "CPU ms each": sum(servers.values()) / n * 1000,
                "of it edge": servers.get("edge", 0) / n * 1000, "KiB each": r["bytes"][part] / n / 1024}

    def size(self):
        """The same events to the same number of subscribers each, among few and among many connections."""
        few = self.penstock(["--subscribers", 1000, "--channels", 1, "--rate", 60, "--seconds", self.bench.n(8), "--warmup", 2])
        many = self.penstock(["--subscribers", 15000, "--channels", 15, "--rate", 60, "--seconds", self.bench.n(8),
                              "--warmup", 2])
        return {"1,000 connections": few, "15,000 connections": many}

    def tenants(self):
        """10,000 channels of one subscriber, who publishes too: of 10 tenants, then of 10,000. The warm-up is as long as it
        takes until each has sent a second event, and has its lease."""
        n, out = self.bench.n(MANY_TENANTS), {}
        warmup = 2 * n // 2000 + 4
        for tenants in (10, n):
            path = os.path.join(self.folder, "tokens")
            with open(path, "w") as f:
                f.writelines(token + "\n" for token in self.bench.tokens(tenants, NO_LIMITS))
            before = self.bench.published()
            figures = self.penstock(["--subscribers", n, "--channels", n, "--publishers", 0, "--rate", 2000, "--window", 4,
                                     "--seconds", self.bench.n(20), "--warmup", warmup, "--tokens", path])
            direct, all_of_them = (b - a for a, b in zip(before, self.bench.published()))
            out[f"{tenants:,} tenants"] = {**figures, "directly %": 100 * direct / all_of_them}
        return out

    def resume(self):
        n = self.bench.n(5000)
        r = self._load("resume", "--connections", n, "--behind", 20, "--type", "load.durable", "--quiet", 60, "--watch",
                       watch_stack(self.stack))
        return {"penstock": {"connections": n, "behind": r["behind"], "caught up": r["caught_up"],
                             "errors": sum(r["errors"].values()), "all open s": r["all_open_s"],
                             "all caught up s": r["all_caught_up_s"],
                             "connected p99 ms": r["connected_ms"]["p99"], "p50 ms": r["caught_up_ms"]["p50"],
                             "p99 ms": r["caught_up_ms"]["p99"], "edge CPU s": r["cpu_s"]["edge"]}}


ROWS = {
    **{name: (row[0], lambda f, name=name: f.speed(name)) for name, row in SPEEDS.items()},
    "idle": ("idle subscribed connections, a channel each, set up as fast as they go", Fanout.idle),
    "size": ("cost by connections: 60 events/s to 1,000 subscribers each", Fanout.size),
    "tenants": ("cost by tenants: 2,000 events/s to 1 subscriber each", Fanout.tenants),
    "resume": ("back together by resume tokens, each 20 durable events behind on a channel of its own", Fanout.resume),
}


def beside_best(figures, server):
    """Penstock's CPU and p99 beside the best of the peers that delivered nearly what was asked for; nothing of a peer."""
    ours = figures[server]
    peers = [f for name, f in figures.items() if name not in SUBPROTOCOLS and f.get("CPU")]
    if not peers or server not in SUBPROTOCOLS or "CPU" not in ours:
        return ""
    full = max(p["delivered /s"] for p in peers) * 0.9
    peers = [p for p in peers if p["delivered /s"] >= full]
    return (f"{ours['CPU'] / min(p['CPU'] for p in peers):.2f} × CPU, "
            f"{ours['p99 ms'] / min(p['p99 ms'] for p in peers):.2f} × p99")


def table(rows, show):
    """A table for each set of columns."""
    out, columns = [], None
    for name, figures in rows.items():
        mine = list(next(iter(figures.values())))
        mine += [k for f in figures.values() for k in f if k not in mine]
        if mine != columns:
            columns = mine
            out += ["", "| row | server | " + " | ".join(columns) + " | beside the best peer |",
                    "|---|---|" + "---|" * (len(columns) + 1)]
        for server, f in figures.items():
            cells = " | ".join(show(f[c]) if c in f else "" for c in columns)
            out.append(f"| {ROWS[name][0]} | {server} | {cells} | {beside_best(figures, server)} |")
    return "\n".join(out[1:])
