#!/usr/bin/python3
"""Measures Penstock on this machine: one command, one private stack, one table.

    make bench                              all rows, once
    make bench BENCH='--runs 3 --write'     medians of three runs, written into bench/README.md
    make bench BENCH='fanout --write'       the edge beside its peers (bench/fanout.py)
    make bench BENCH='tasks --write'        tasks beside two job queues (bench/tasks.py)
    bench/run.py --only tasks,idle          some rows

Everything runs on this machine and shares its cores: nats-server, PostgreSQL (fsync as it comes), one copy of each
service, the load generator. CPU is what the processes of a part used, children included, while the row ran.
"""
import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import fanout  # noqa: E402
import peers  # noqa: E402
import tasks  # noqa: E402
from stack import Stack, StackError, http, wait_for  # noqa: E402

NOOP = [{"id": f"s{i}", "kind": "transform", "input": ".input", **({"needs": [f"s{i - 1}"]} if i > 1 else {})}
        for i in range(1, 5)]
NO_LIMITS = {"events_per_s": 1000000, "burst": 1000000, "bytes_per_s": 1 << 40, "connections": 1000000,
             "subscriptions": 1000000, "tasks_running": 100000, "tasks_queued": 1000000}
PROMPT = '{messages: [{role: "user", content: "One."}]}'
PARAGRAPH = "Water goes through the gate. It turns the wheel. The wheel drives the mill. The mill grinds the corn. "
TICKS = os.sysconf("SC_CLK_TCK")


# --- the processes ------------------------------------------------------------------------------

def cpu_since(stack, before):
    return {k: round(v - before.get(k, 0), 2) for k, v in cpu_seconds(stack).items()}


def cpu_seconds(stack):
    """{part: CPU seconds since its start}, with all descendants; what those used that have ended is in their
    parent's count of children."""
    part = {stack.pid(n): n.partition("-")[0] for n in stack.names() if stack.pid(n)}
    used, parent, ticks = dict.fromkeys(part.values(), 0.0), {}, {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            pid = int(path.parent.name)
            parent[pid], ticks[pid] = int(fields[1]), sum(int(f) for f in fields[11:15])
    for pid, n in ticks.items():
        while pid not in part and pid in parent:
            pid = parent[pid]
        if pid in part:
            used[part[pid]] += n / TICKS
    return used


def own_mib(pid):
    """Memory of its own that a process has, children not included."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def query(stack, sql):
    done = subprocess.run(["psql", "-XAtq", "-d", stack.pg_dsn, "-c", sql], capture_output=True, text=True)
    if done.returncode != 0:
        raise StackError(done.stderr)
    return done.stdout.strip()


def stream_end(stack):
    """Last sequence of EVENTS, by nats-server itself."""
    with urllib.request.urlopen(stack.url("nats-monitor") + "/jsz?streams=true", timeout=10) as answer:
        doc = json.load(answer)
    streams = [s for account in doc["account_details"] for s in account["stream_detail"] if s["name"] == "EVENTS"]
    return streams[0]["state"]["last_seq"]


def stored_end(stack):
    return int(query(stack, "SELECT coalesce(max(seq), 0) FROM store_position"))


class Bench:
    def __init__(self, stack, scale):
        self.stack, self.scale = stack, scale
        self.load_bin = stack.bin / "penstock-load"
        self.many = []

    def n(self, full):
        return max(1, int(full * self.scale))

    def provision(self):
        c = self.stack.control()
        c.tenant("bench", NO_LIMITS)
        c.event_type("bench", "load.durable", "durable")
        c.event_type("bench", "load.ephemeral", "ephemeral")
        c.pipeline("noop", NOOP)
        self.key = c.key("bench")
        self.warm()

    def warm(self):
        """Until edge and router know the tenant and its types."""
        for kind in ("durable", "ephemeral"):
            wait_for(f"the tenant at the router ({kind})", lambda: http(
                "POST", self.stack.edge_url + "/v1/events",
                {"channel": "warm", "type": f"load.{kind}", "data": 0}, self.key)[0] == 202)

    def tokens(self, n, limits):
        """Keys of n tenants that have the ephemeral type; made once."""
        c = self.stack.control()

        def make(i):
            tenant = f"many-{i}"
            c.tenant(tenant, limits)
            c.event_type(tenant, "load.ephemeral", "ephemeral")
            return c.key(tenant)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            self.many += list(pool.map(make, range(len(self.many), n)))
        for token in self.many[-8:]:
            wait_for("the tenants at the router", lambda token=token: http(
                "POST", self.stack.edge_url + "/v1/events",
                {"channel": "warm", "type": "load.ephemeral", "data": 0}, token)[0] == 202)
        return self.many[:n]

    def env(self):
        return {**os.environ, "PENSTOCK_EDGE_URL": self.stack.edge_url, "PENSTOCK_KEY": self.key}

    def start(self, mode, *args):
        return subprocess.Popen([str(self.load_bin), mode, *map(str, args)], env=self.env(), text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def end(self, load, cpu_before):
        out, _ = load.communicate()
        if not out.strip():
            raise StackError(f"penstock-load ended with {load.returncode}")
        doc = json.loads(out.strip().splitlines()[-1])
        doc["cpu_s"] = cpu_since(self.stack, cpu_before)
        if load.returncode not in (0, 1) or doc["errors"]:
            print(f"bench: load ended with {load.returncode}, errors {doc['errors']}", file=sys.stderr)
        return doc

    def load(self, mode, *args):
        before = cpu_seconds(self.stack)
        return self.end(self.start(mode, *args), before)

    def catch_up(self, timeout=300):
        """Until PostgreSQL has all of the stream; seconds that it took from now."""
        begin, end = time.monotonic(), stream_end(self.stack)
        wait_for("PostgreSQL to have all of the stream", lambda: stored_end(self.stack) >= end, timeout, 0.05)
        return time.monotonic() - begin

    # --- rows: each returns {figure: number or text}

    def tasks_paced(self):
        r = self.load("tasks", "--rate", 50, "--seconds", self.n(20), "--connections", 20, "--window", 100)
        return {"completed": r["completed"], "rate /s": 50,
                "first stage p50 ms": r["first_stage_ms"]["p50"], "first stage p99 ms": r["first_stage_ms"]["p99"],
                "done p50 ms": r["done_ms"]["p50"], "done p99 ms": r["done_ms"]["p99"], "cpu": r["cpu_s"]}

    def tasks_saturated(self):
        """Preloaded: the workers start when all tasks are queued, as the peers were measured."""
        n = self.n(5000)
        workers = [w for w in self.stack.names() if w.startswith("worker-")]
        for w in workers:
            self.stack.stop_one(w)
        load = self.start("tasks", "--count", n, "--window", 100, "--quiet", 120)
        line = load.stdout.readline()
        if not line.startswith('{"accepted"'):
            raise StackError(f"penstock-load: {line}")
        for w in workers:
            self.stack.start_one(w)
        before, begin = cpu_seconds(self.stack), time.time()
        r = self.end(load, before)
        seconds = r["last_done_unix"] - begin
        lag = self.catch_up()
        r["cpu_s"] = cpu_since(self.stack, before)  # what is still to be stored is not for nothing
        if r["completed"] != n:
            raise StackError(f"{r['completed']} of {n} tasks completed")
        # From the start of the worker processes: their start is in it.
        return {"tasks": n, "tasks /s": n / seconds, "submitted /s": n / r["submit_s"],
                "PostgreSQL behind at the end s": lag,
                "CPU s per 1,000 tasks": sum(r["cpu_s"].values()) / n * 1000, "cpu": r["cpu_s"]}

    def tasks_steady(self):
        """Submitted as they end: edge, router, worker and store all at work."""
        r = self.load("tasks", "--count", self.n(10000), "--connections", 20, "--window", 50)
        lag = self.catch_up()
        return {"tasks": r["completed"], "tasks /s": r["tasks_per_s"], "done p50 ms": r["done_ms"]["p50"],
                "done p99 ms": r["done_ms"]["p99"], "PostgreSQL behind at the end s": lag, "cpu": r["cpu_s"]}

    # Tenant A queues its tasks at once, tenant B asks for 20 a second and its stages take 5 ms: B's times alone and
    # beside A. Nothing is set up for B. One worker with 8 slots.

    def _slots(self, env):
        self.stack.stop_one("worker-1")
        self.stack.extra = env
        self.stack.start_one("worker-1")
        self.stack.wait_ready()

    def _pipeline(self, name, stage_ms):
        c = self.stack.control()
        c.model(name, self.stack.modelsim_url + "/v1", model=f"sim-quick@first_token_ms={stage_ms},token_ms=0")
        c.pipeline(name, [{"id": f"s{i}", "kind": "chat", "model": name, "input": PROMPT,
                           **({"needs": [f"s{i - 1}"]} if i > 1 else {})} for i in range(1, 5)])

    def _modest(self, key):
        r = self.load("tasks", "--token", key, "--pipeline", "quick", "--rate", 20, "--seconds", self.n(20), "--connections", 4)
        if r["completed"] != r["accepted"]:
            raise StackError(f"{r['completed']} of {r['accepted']} tasks completed")
        return r

    def _neighbour(self, stage_ms):
        """A's load, and B's times; A is at work still."""
        c, keys = self.stack.control(), []
        self._pipeline("quick", tasks.STAGE_MS)
        self._pipeline("greedy", stage_ms)
        for tenant in ("greedy", "modest"):
            c.tenant(tenant, NO_LIMITS)
            keys.append(c.key(tenant))
        self._slots({"worker": {"PENSTOCK_WORKER_SLOTS": str(tasks.SLOTS)}})
        for key in keys:
            wait_for("a task of the tenant", lambda key=key: http(
                "POST", self.stack.edge_url + "/v1/tasks", {"pipeline": "quick", "input": 1, "key": "warm"}, key)[0] == 202)
        alone = self._modest(keys[1])["done_ms"]
        crowd = self.start("tasks", "--token", keys[0], "--pipeline", "greedy", "--count", self.n(10000), "--window", 1024,
                           "--quiet", 120)
        if not (line := crowd.stdout.readline()).startswith('{"accepted"'):
            raise StackError(f"penstock-load: {line}")
        beside = self._modest(keys[1])
        done = beside["done_ms"]
        return crowd, {"B done p50 ms": done["p50"], "B done p99 ms": done["p99"], "B alone p50 ms": alone["p50"],
                       "B alone p99 ms": alone["p99"], "p99 beside / alone": done["p99"] / alone["p99"], "cpu": beside["cpu_s"]}

    def neighbour(self):
        crowd, figures = self._neighbour(tasks.STAGE_MS)
        crowd = json.loads(crowd.communicate()[0].splitlines()[-1])
        self._slots({})
        return {**figures, "A tasks /s": crowd["tasks_per_s"]}

    def neighbour_long(self):
        """A's tasks would take an hour: what is left of them goes with the stack, so this row is the last."""
        crowd, figures = self._neighbour(100 * tasks.STAGE_MS)
        crowd.kill()
        crowd.wait()
        return figures

    # Calls of a model, the simulator: one chat a task, so what a task costs beside its call is in the figures.

    def _chat(self, name, knobs, prompt="One."):
        c = self.stack.control()
        c.model(name, self.stack.modelsim_url + "/v1", model=f"sim-{name}@{knobs}")
        c.pipeline(name, [{"id": "answer", "kind": "chat", "model": name,
                           "input": f'{{messages: [{{role: "user", content: "{prompt}"}}]}}'}])
        wait_for("the model and the pipeline", lambda: self.load(
            "tasks", "--pipeline", name, "--count", 1, "--connections", 1)["completed"] == 1)

    def _all_completed(self, *args):
        r = self.load("tasks", *args)
        if not r["completed"] or r["completed"] != r["accepted"] or r["refused"]:
            raise StackError(f"{r['completed']} of {r['submitted']} tasks completed")
        return r

    def calls(self):
        self._chat("call", "first_token_ms=20,token_ms=0")
        n = self.n(5000)
        r = self._all_completed("--pipeline", "call", "--count", n, "--connections", 10, "--window", 20)
        cpu = r["cpu_s"]
        own = sum(v for k, v in cpu.items() if k in ("edge", "router", "worker", "store", "control"))
        return {"calls": n, "calls /s": r["tasks_per_s"], "worker CPU ms a call": cpu["worker"] / n * 1000,
                "all our services' CPU ms a call": own / n * 1000, "cpu": cpu}

    def streams(self):
        """All calls stream at the same time, in one worker; the simulator itself says how many there were."""
        n = self.n(2000)
        self._slots({"worker": {"PENSTOCK_WORKER_SLOTS": str(n * 8 // 7 + 8)}})  # an eighth is kept for other tenants
        self._chat("stream", "first_token_ms=500,token_ms=500", PARAGRAPH)
        http("POST", self.stack.modelsim_url + "/sim/reset")
        r = self._all_completed("--pipeline", "stream", "--count", n, "--connections", 20, "--window", n // 20 + 1, "--quiet", 60)
        seen = http("GET", self.stack.modelsim_url + "/sim/stats")[2]["models"]["sim-stream"]
        cpu, own = r["cpu_s"], own_mib(self.stack.pid("worker-1"))
        self._slots({})
        return {"calls": n, "at once, by the model's count": seen["concurrent_peak"], "tokens": seen["completion_tokens"],
                "seconds": r["total_s"], "worker CPU ms a call": cpu["worker"] / n * 1000,
                "worker CPU µs a token": cpu["worker"] / seen["completion_tokens"] * 1e6, "worker MiB at the end": own, "cpu": cpu}

    def first_token(self):
        """From asking for the task to the first delta at the client, less what the model takes for its first token."""
        first_ms = 50
        self._chat("first", f"first_token_ms={first_ms},token_ms=20", PARAGRAPH)
        r = self._all_completed("--pipeline", "first", "--rate", 20, "--seconds", self.n(20), "--connections", 10)
        return {"tasks": r["completed"], "first stage p50 ms": r["first_stage_ms"]["p50"],
                "first token p50 ms over the model's": r["first_text_ms"]["p50"] - first_ms,
                "first token p99 ms over the model's": r["first_text_ms"]["p99"] - first_ms, "cpu": r["cpu_s"]}

    def durable_saturated(self):
        seconds = self.n(10)
        r = self.load("events", "--type", "load.durable", "--publishers", 16, "--subscribers", 16, "--channels", 16,
                      "--window", 64, "--seconds", seconds)
        lag = self.catch_up()
        return {"events /s": r["accepted_per_s"], "lost": r["lost"], "repeated": r["repeated"],
                "deliver p50 ms": r["deliver_ms"]["p50"], "PostgreSQL behind at the end s": lag,
                "into PostgreSQL /s": r["accepted"] / (r["seconds"] + lag), "cpu": r["cpu_s"]}

    def _at_2000(self, kind):
        r = self.load("events", "--type", f"load.{kind}", "--publishers", 8, "--subscribers", 8, "--channels", 8,
                      "--rate", 2000, "--window", 256, "--seconds", self.n(10), "--warmup", 2)
        return {"delivered /s": r["delivered_per_s"], "lost": r["lost"], "deliver p50 ms": r["deliver_ms"]["p50"],
                "deliver p99 ms": r["deliver_ms"]["p99"], "accepted p50 ms": r["accept_ms"]["p50"],
                "accepted p99 ms": r["accept_ms"]["p99"], "cpu": r["cpu_s"]}

    def durable_8000(self):
        seconds = self.n(15)
        r = self.load("events", "--type", "load.durable", "--publishers", 16, "--subscribers", 16, "--channels", 16,
                      "--rate", 8000, "--window", 256, "--seconds", seconds, "--warmup", 2)
        lag = self.catch_up()
        return {"delivered /s": r["delivered_per_s"], "lost": r["lost"], "repeated": r["repeated"],
                "deliver p50 ms": r["deliver_ms"]["p50"], "deliver p99 ms": r["deliver_ms"]["p99"],
                "PostgreSQL behind at the end s": lag, "cpu": r["cpu_s"]}

    def durable_2000(self):
        return self._at_2000("durable")

    def published(self):
        """(events that took the direct road, all that the edges answered), since their start."""
        text = "\n".join(http("GET", self.stack.url(f"admin-{n}") + "/metrics")[2]
                         for n in self.stack.names() if n.startswith("edge"))
        return [sum(int(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))
                for name in ("penstock_edge_direct_total", 'penstock_edge_command_seconds_count{command="publish"}')]

    def ephemeral_2000(self):
        before = self.published()
        figures = self._at_2000("ephemeral")
        direct, all_of_them = (b - a for a, b in zip(before, self.published()))
        return {"directly %": 100 * direct / all_of_them, **figures}


ROWS = {
    "tasks-50": ("4-stage no-op tasks at 50/s: enqueue to first stage, to done", Bench.tasks_paced),
    "tasks-preloaded": ("4-stage no-op tasks, queued before the workers start", Bench.tasks_saturated),
    "tasks-steady": ("4-stage no-op tasks, 1,000 under way at any time", Bench.tasks_steady),
    "calls": ("tasks of one short chat, 200 under way at any time: CPU of a call", Bench.calls),
    "streams": ("2,000 streaming calls at once in one worker, two tokens a second each", Bench.streams),
    "first-token": ("first token at the client, tasks of one chat at 20/s", Bench.first_token),
    "durable": ("durable events, client to subscriber, saturated", Bench.durable_saturated),
    "durable-8000": ("durable events at 8,000/s", Bench.durable_8000),
    "durable-2000": ("durable events at 2,000/s", Bench.durable_2000),
    "ephemeral-2000": ("ephemeral events at 2,000/s", Bench.ephemeral_2000),
    "neighbour": ("tenant A queues 10,000 tasks at once, B asks for 20/s; stages of 5 ms, 8 at once", Bench.neighbour),
    "neighbour-long": ("the same, A's stages take 500 ms", Bench.neighbour_long),
}


def show(value):
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if value else "0"


def median(runs):
    """Of each figure; CPU by part."""
    if isinstance(runs[0], dict):
        return {k: median([r[k] for r in runs if k in r]) for k in runs[0]}
    return statistics.median(runs)


def table(rows):
    out = ["| what | figures | CPU s by part |", "|---|---|---|"]
    for name, figures in rows.items():
        cpu = ", ".join(f"{k} {show(float(v))}" for k, v in sorted(figures["cpu"].items(), key=lambda i: -i[1]) if v >= 0.05)
        text = " · ".join(f"{k} **{show(v)}**" for k, v in figures.items() if k != "cpu")
        out.append(f"| {ROWS[name][0]} | {text} | {cpu} |")
    return "\n".join(out)


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True,
                            text=True).stdout.strip()
    return (f"{time.strftime('%Y-%m-%d')}, {commit or 'no commit'}, {os.cpu_count()} cores of {model}, Linux "
            f"{platform.release()}, load average before {os.getloadavg()[0]:.2f}")


def write(path, mark, text):
    begin, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
    old = path.read_text()
    head, _, rest = old.partition(begin)
    if not rest:
        raise StackError(f"{path} has no place for the figures")
    path.write_text(head + begin + text + "\n" + end + rest.partition(end)[2])


# Of each suite: its rows, the mark of its place in the README, and its table.
SUITES = {"stack": (ROWS, "measured", table),
          "fanout": (fanout.ROWS, "fanout", lambda rows: fanout.table(rows, show)),
          "tasks": (tasks.ROWS, "tasks", lambda rows: tasks.table(rows, show))}
SUBJECTS = {"stack": lambda bench, folder: bench, "fanout": fanout.Fanout, "tasks": tasks.Tasks}


def measure(args, names):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="penstock-bench-", dir=args.tmp))
    folder.chmod(0o755)
    runs = {name: [] for name in names}
    try:
        for i in range(args.runs):
            # A fresh stack for each run: no run profits from, or suffers by, what the one before has left.
            stack = Stack(folder / str(i), bin=args.bin, die=True)
            try:
                stack.start()
                bench = Bench(stack, args.scale)
                bench.provision()
                subject = SUBJECTS[args.suite](bench, folder)
                for name in names:
                    runs[name].append(SUITES[args.suite][0][name][1](subject))
                    bench.catch_up()
                    print(f"run {i + 1}: {name}: {json.dumps(runs[name][-1])}", file=sys.stderr, flush=True)
            finally:
                stack.stop()
                stack.purge()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {name: median(r) for name, r in runs.items()}


def main():
    parser = argparse.ArgumentParser(description="measures Penstock on this machine", epilog="rows: " + "; ".join(
        f"{suite}: {', '.join(s[0])}" for suite, s in SUITES.items()))
    parser.add_argument("suite", nargs="?", choices=SUITES, default="stack", help="stack: Penstock alone (default); "
                        "fanout: its edge beside nginx with nchan and nats-server; tasks: its tasks beside BullMQ and graphile-worker")
    parser.add_argument("--bin", default=str(ROOT / "build/release/bin"))
    parser.add_argument("--only", default="", help="rows, or beginnings of their names, comma separated")
    parser.add_argument("--runs", type=int, default=1, help="medians of so many runs (1)")
    parser.add_argument("--scale", type=float, default=1, help="of durations and numbers (1)")
    parser.add_argument("--tmp", default="/var/tmp", help="where the stack's data goes: a real disk (/var/tmp)")
    parser.add_argument("--json", help="also writes the figures to this file")
    parser.add_argument("--write", action="store_true", help="puts the table into bench/README.md")
    args = parser.parse_args()
    wanted = [w for w in args.only.split(",") if w]
    rows, mark, make_table = SUITES[args.suite]
    names = [n for n in rows if not wanted or any(n.startswith(w) for w in wanted)]
    if not names:
        parser.error(f"no such row; there are {', '.join(rows)}")
    where = machine()
    if args.suite == "fanout":
        absent = [p.name for p in peers.PEERS if not p.there()]
        if absent:
            print(f"bench: {', '.join(absent)} not installed (apt-get install libnginx-mod-nchan nats-server)", file=sys.stderr)
            return 1
        where += "; " + ", ".join(p.version() for p in peers.PEERS)
    if args.suite == "tasks":
        if tasks.absent():
            print(f"bench: {', '.join(tasks.absent())} not installed", file=sys.stderr)
            return 1
        where += "; " + ", ".join(tasks.versions())
    try:
        figures = measure(args, names)
    except StackError as e:
        print(f"bench: {e}", file=sys.stderr)
        return 1
    runs = f"medians of {args.runs} runs" if args.runs > 1 else "one run"
    text = f"{where}; {runs}{'' if args.scale == 1 else f', scale {args.scale:g}'}.\n\n{make_table(figures)}"
    print(text)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({"machine": where, "runs": args.runs, "figures": figures}, indent=1))
    if args.write:
        write(ROOT / "bench/README.md", mark, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
