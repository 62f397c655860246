"""The suite tasks: Penstock's tasks beside two job queues, in one run: BullMQ on Redis and graphile-worker on PostgreSQL.

A task has four stages, and each stage's completion is stored before the next begins. The peers run as their
documentation sets them up (bench/jobs/), Redis with an append-only file that is flushed every second; PostgreSQL is
the one that Penstock's stack has, with its own fsync settings. A peer's times are taken in its worker, Penstock's at
the client that submitted: a way through two services more. CPU is that of the server and the worker process, for
Penstock of the whole stack; of those who submit it is not.
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import peers
from stack import HOST, StackError

JOBS = pathlib.Path(__file__).resolve().parent / "jobs"
SLOTS, STAGE_MS = 8, 5  # of the row neighbour


class Redis(peers.Peer):
    name = "redis"

    @staticmethod
    def version():
        return f"redis {peers.debian('redis-server')}"

    @staticmethod
    def there():
        return shutil.which("redis-server")

    def command(self):
        return ["redis-server", "--bind", HOST, "--port", str(self.port), "--dir", str(self.dir), "--appendonly", "yes",
                "--appendfsync", "everysec", "--save", ""]


def node_modules():
    """The peers, brought by npm into a folder of the build; None without npm."""
    if not shutil.which("node") or not shutil.which("npm"):
        return None
    folder = JOBS.parent.parent / "build/bench-jobs"
    folder.mkdir(parents=True, exist_ok=True)
    for path in [*JOBS.glob("*.mjs"), JOBS / "package.json"]:
        shutil.copy(path, folder)
    done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"], cwd=folder, capture_output=True,
                          text=True)
    if done.returncode:
        raise StackError(f"npm: {done.stderr}")
    return folder


def absent():
    """What has to be installed first."""
    return [what for what, there in (("redis-server", Redis.there()), ("nodejs and npm", shutil.which("npm"))) if not there]


def versions():
    wanted = json.loads((JOBS / "package.json").read_text())["dependencies"]
    node = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    return [Redis.version(), f"node {node}", f"bullmq {wanted['bullmq']}", f"graphile-worker {wanted['graphile-worker']}"]


class Queue:
    """A peer's worker and clients: all take the same words (bench/jobs/*.mjs)."""

    def __init__(self, folder, script, where, server_pid):
        self.folder, self.script, self.where, self.server_pid = folder, script, str(where), server_pid

    def start(self, *args):
        return subprocess.Popen(["node", self.script, args[0], self.where, *map(str, args[1:])], cwd=self.folder, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=peers.die_with_parent)

    def call(self, *args):
        out, _ = (child := self.start(*args)).communicate(timeout=600)
        if child.returncode:
            raise StackError(f"{self.script} {args}: {child.returncode}")
        return json.loads(out.splitlines()[-1])

    def work(self, concurrency, stage_ms, count, meanwhile=None):
        """A worker from its start until `count` jobs have ended: its report."""
        server, begin = peers.cpu_seconds(self.server_pid), time.time()
        worker = self.start("worker", concurrency, stage_ms, count)
        try:
            worker.stdout.readline()
            if meanwhile:
                meanwhile()
            line = worker.stdout.readline()  # written when all is done; the process is still there to be measured
        finally:
            os.kill(worker.pid, signal.SIGKILL)  # not worker.kill(), which reaps one that has ended
            usage = os.wait4(worker.pid, 0)[2]
            worker.returncode = 0
        if not line:
            raise StackError(f"{self.script}: the worker ended")
        report = json.loads(line)
        report["seconds"] = report["last_done_unix"] - begin
        report["cpu_s"] = peers.cpu_seconds(self.server_pid) - server + usage.ru_utime + usage.ru_stime
        return report


class Tasks:
    """bench: run.py's, with a provisioned stack."""

    def __init__(self, bench, folder):
        self.bench, self.stack, self.folder = bench, bench.stack, folder
        self.jobs = node_modules()
        self.databases = 0

    def queues(self):
        """Each peer with an empty queue, one after the other."""
        with Redis(self.folder) as redis:
            shutil.rmtree(redis.dir / "appendonlydir", ignore_errors=True)
            yield "BullMQ", Queue(self.jobs, "bullmq.mjs", redis.port, redis.child.pid)
        shutil.rmtree(redis.dir)
        self.databases += 1
        name = f"graphile_{self.databases}"
        self._sql(f"CREATE DATABASE {name}")
        dsn = self.stack.pg_dsn.rpartition("/")[0] + "/" + name
        yield "graphile-worker", Queue(self.jobs, "graphile.mjs", dsn, self.stack.pid("postgres"))
        self._sql(f"DROP DATABASE {name} WITH (FORCE)")

    def _sql(self, text):
        done = subprocess.run(["psql", "-XAtq", "-d", self.stack.pg_dsn, "-c", text], capture_output=True, text=True)
        if done.returncode:
            raise StackError(done.stderr)

    def preloaded(self):
        n, out = self.bench.n(5000), {}
        for name, queue in self.queues():
            queue.call("fill", "a", n)
            r = queue.work(100, 0, n)
            out[name] = {"tasks": n, "tasks /s": n / r["seconds"], "CPU s per 1,000": r["cpu_s"] / n * 1000}
        r = self.bench.tasks_saturated()
        out["penstock"] = {"tasks": n, "tasks /s": r["tasks /s"], "CPU s per 1,000": r["CPU s per 1,000 tasks"],
                           "PostgreSQL behind at the end s": r["PostgreSQL behind at the end s"]}
        return out

    def paced(self):
        n, out = self.bench.n(20) * 50, {}
        for name, queue in self.queues():
            queue.call("fill", "warm", 50)
            r = queue.work(100, 0, n + 50, lambda queue=queue: queue.call("pace", "a", 50, n))["tenants"]["a"]
            out[name] = self._times(r["first_ms"], r["done_ms"])
        r = self.bench.tasks_paced()
        out["penstock"] = self._times({q: r[f"first stage {q} ms"] for q in ("p50", "p99")},
                                      {q: r[f"done {q} ms"] for q in ("p50", "p99")})
        return out

    @staticmethod
    def _times(first, done):
        return {"first stage p50 ms": first["p50"], "first stage p99 ms": first["p99"], "done p50 ms": done["p50"],
                "done p99 ms": done["p99"]}

    def neighbour(self):
        """A queues 10,000 tasks at once, B asks for 20 a second: B's times, with 8 tasks at once in the one worker and
        stages of 5 ms. As shipped: no queue, pool or priority set up for B."""
        a, b, out = self.bench.n(10000), self.bench.n(10) * 20, {}
        for name, queue in self.queues():
            queue.call("fill", "a", a)
            r = queue.work(SLOTS, STAGE_MS, a + b, lambda queue=queue: queue.call("pace", "b", 20, b))["tenants"]
            out[name] = {"B done p50 ms": r["b"]["done_ms"]["p50"], "B done p99 ms": r["b"]["done_ms"]["p99"]}
        r = self.bench.neighbour()
        out["penstock"] = {k: v for k, v in r.items() if k != "cpu"}
        return out


ROWS = {
    "preloaded": ("queued before the worker starts, 100 at once", Tasks.preloaded),
    "paced": ("50 a second", Tasks.paced),
    "neighbour": ("tenant A queues 10,000 at once, B asks for 20/s; stages of 5 ms, 8 at once", Tasks.neighbour),
}


def table(rows, show):
    """A table for each row, for each has figures of its own."""
    out = []
    for name, figures in rows.items():
        columns = [k for f in figures.values() for k in f]
        columns = list(dict.fromkeys(columns))
        out += ["", f"**{ROWS[name][0]}**", "", "| server | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
        for server, f in figures.items():
            out.append(f"| {server} | " + " | ".join(show(f[c]) if c in f else "" for c in columns) + " |")
    return "\n".join(out[1:])
