#!/usr/bin/python3
"""A private Penstock on this machine: nats-server, PostgreSQL, the model simulator and the five services.

    tools/stack.py up | down | status | env | demo        what the Makefile calls
    from stack import Stack                               what the integration tests use

Standard library only. Everything listens on 127.0.0.1 and lives below one folder: data, logs, state.json (what
was started, with which ports and keys) and env (PROTOCOL, section 1). Only processes that are in state.json with
the same start time are ever signalled, so a process id that was used again is safe.
"""
import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
# What a service is called in the stack, as a binary, and the prefix of its settings.
SERVICES = {
    "control": ("penstock-control-plane", "PENSTOCK_CONTROL_"),
    "store": ("penstock-event-store", "PENSTOCK_STORE_"),
    "router": ("penstock-router", "PENSTOCK_ROUTER_"),
    "worker": ("penstock-orchestrator-worker", "PENSTOCK_WORKER_"),
    "edge": ("penstock-edge", "PENSTOCK_EDGE_"),
}
# PENSTOCK_PIDS_<name> in the file env: the short names, and the folders' names.
PID_NAMES = {
    "edge": ["EDGE"], "router": ["ROUTER"], "worker": ["WORKER", "ORCHESTRATOR_WORKER"],
    "store": ["STORE", "EVENT_STORE"], "control": ["CONTROL", "CONTROL_PLANE"],
    "nats": ["NATS"], "postgres": ["POSTGRES"], "modelsim": ["MODELSIM"],
}
PG_USER = "penstock"
START_S = 60   # to become ready; sanitizer builds on a busy machine are slow
STOP_S = 15    # after SIGTERM; the services' own grace is 10 s


class StackError(Exception):
    pass


# --- ports --------------------------------------------------------------------------------------

_reserved = {}  # port → its lock, held for the life of this process


def free_port():
    """A port below the range from which the kernel takes local ports of outgoing connections, so that it is still
    free when a killed server comes back to it. Locked against other stacks that are being set up."""
    folder = pathlib.Path("/tmp/penstock-ports")
    folder.mkdir(mode=0o1777, exist_ok=True)
    with contextlib.suppress(PermissionError):
        folder.chmod(0o1777)
    low = int(open("/proc/sys/net/ipv4/ip_local_port_range").read().split()[0])
    for _ in range(2000):
        port = random.randrange(10000, max(low, 11000))
        if port in _reserved:
            continue
        try:
            lock = open(folder / str(port), "a+")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        if port_is_free(port):
            _reserved[port] = lock
            return port
        lock.close()
    raise StackError("no free port")


def port_is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((HOST, port))
        except OSError:
            return False
    return True


# --- processes ----------------------------------------------------------------------------------

def start_time(pid):
    """In clock ticks since boot; with the pid it names a process for ever. None: there is none (or a zombie)."""
    try:
        fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def is_stopped(pid):
    """By SIGSTOP: it is there and does nothing."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] in "Tt"
    return False


def children(pid):
    """{pid: start time} of those that there are."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return {p: start_time(p) for p in map(int, open(f"/proc/{pid}/task/{pid}/children").read().split())}
    return {}


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def small_pages():
    ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE


def wait_for(what, check, timeout=START_S, step=0.02):
    """Calls check() until it is true; its last result. An exception of it counts as no."""
    end = time.monotonic() + timeout
    while True:
        try:
            result, why = check(), "not yet"
            if result:
                return result
        except StackError:
            raise
        except Exception as e:  # refused connections, half-started servers
            why = str(e) or type(e).__name__
        if time.monotonic() > end:
            raise StackError(f"{what}: not within {timeout:g} s ({why})")
        time.sleep(step)


def http(method, url, body=None, token=None, headers=None, timeout=10):
    """(status, headers, body); body is parsed if it is JSON."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=dict(headers or {}))
    if data is not None:
        request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            status, head, raw = answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as e:
        status, head, raw = e.code, e.headers, e.read()
    if "json" in (head.get("Content-Type") or ""):
        return status, head, json.loads(raw)
    return status, head, raw.decode(errors="replace")


# --- the operators' API -------------------------------------------------------------------------

class Control:
    """A small client of the control-plane: every call can be repeated.

    settled: is given the revision of the configuration that a change became, and returns when it is in force.
    """

    def __init__(self, url, key, settled=None):
        self.url, self.admin_key, self.settled = url, key, settled

    def call(self, method, path, body=None, ok=(200, 201, 202, 204), **kw):
        status, head, doc = http(method, f"{self.url}/v1{path}", body, self.admin_key, **kw)
        if status not in ok:
            raise StackError(f"{method} {path}: {status} {doc}")
        if self.settled and "Penstock-Config-Revision" in head:
            self.settled(int(head["Penstock-Config-Revision"]))
        return status, head, doc

    def put(self, path, body):
        """Makes or replaces: what is there is replaced only under its ETag."""
        status, head, doc = self.call("GET", path, ok=(200, 404))
        headers = {}
        if status == 200:
            if all(doc.get(k) == v for k, v in body.items()):
                return doc
            headers["If-Match"] = head["ETag"]
        return self.call("PUT", path, body, headers=headers)[2]

    def tenant(self, tenant, limits=None, **doc):
        self.put(f"/tenants/{tenant}", {"id": tenant, "name": doc.pop("name", tenant), **doc})
        if limits:
            status, head, _ = self.call("GET", f"/tenants/{tenant}/limits", ok=(200, 404))
            self.call("PUT", f"/tenants/{tenant}/limits", limits,
                      headers={"If-Match": head["ETag"]} if status == 200 else {})

    def key(self, tenant, **doc):
        """A new API key, pk_<id>_<secret>."""
        answer = self.call("POST", f"/tenants/{tenant}/keys", doc)[2]
        for member in ("token", "key", "secret"):
            if str(answer.get(member, "")).startswith("pk_"):
                return answer[member]
        raise StackError(f"no key in {sorted(answer)}")

    def event_type(self, tenant, name, klass, schema=None):
        self.put(f"/tenants/{tenant}/schemas/{name}/versions/1",
                 {"class": klass, "schema": schema or {}, "state": "active"})

    def model(self, name, url, **doc):
        self.put(f"/models/{name}", {"name": name, "kind": "openai", "url": url, **doc})

    def pipeline(self, name, stages, version=1, **doc):
        """A version never changes: another document needs another number."""
        path = f"/pipelines/{name}/versions/{version}"
        if self.call("GET", path, ok=(200, 404))[0] == 404:
            self.call("PUT", path, {"stages": stages, **doc})


# Takes a text, or {document}, and gives {title, summary, key_points, tokens}.
SUMMARIZE = [
    {"id": "prepare", "kind": "transform",
     "input": '(.input | if type == "object" then .document else . end)'
              ' | {document: ., title: ([splits("\\n") | select(startswith("#"))][0] // "" | ltrimstr("#") | ltrimstr(" "))}'},
    {"id": "draft", "kind": "chat", "needs": ["prepare"], "model": "sim-a", "max_tokens": 400,
     "input": '{messages: [{role: "system", content: "Name the key sentences of the document."},'
              ' {role: "user", content: .stages.prepare.document}]}'},
    {"id": "refine", "kind": "chat", "needs": ["draft"], "model": "sim-b", "max_tokens": 300,
     "input": '{messages: [{role: "system", content: "Condense to a title and a list."},'
              ' {role: "user", content: ("# " + .stages.prepare.title + "\\n\\n" + .stages.draft.text)}]}'},
    {"id": "assemble", "kind": "transform", "needs": ["refine"],
     "input": '{title: .stages.prepare.title, key_sentences: .stages.draft.text, summary: .stages.refine.text,'
              ' tokens: (.stages.draft.usage.total_tokens + .stages.refine.usage.total_tokens)}'},
]


# --- the stack ----------------------------------------------------------------------------------

class Stack:
    """One stack in one folder.

    bin: where the binaries are. fixed: the local stack's well-known ports (edge 7080, control 7081), else free
    ones. env: {"edge": {...}, "worker-2": {...}} adds settings to a kind or to one process; values None remove.
    die: the processes die with this one (tests, demo). fsync: PostgreSQL's; off only where nothing cuts the powerX
    """

    def __init__(self, folder, edges=1, routers=1, workers=1, stores=1, controls=1, bin=None, fixed=False, env=None,
                 die=False, fsync=True, knobs=None):
        self.dir = pathlib.Path(folder).absolute()
        self.bin = pathlib.Path(bin or ROOT / "build/release/bin").absolute()
        self.counts = {"control": controls, "store": stores, "router": routers, "worker": workers, "edge": edges}
        self.fixed, self.extra, self.die, self.fsync = fixed, env or {}, die, fsync
        self.knobs = knobs or {}
        self.children = {}  # name → Popen, of those that this process started
        for sub in ("", "log", "nats"):
            (self.dir / sub).mkdir(parents=True, exist_ok=True)
        self.state = {"ports": {}, "procs": {}}
        with contextlib.suppress(FileNotFoundError):
            self.state = json.loads((self.dir / "state.json").read_text())
        self.state.setdefault("admin_key", "ak_" + secrets.token_urlsafe(24))
        self.state.setdefault("pg_password", secrets.token_urlsafe(18))
        self.state.setdefault("resume_secret", secrets.token_urlsafe(32))

    # --- what it is made of

    def names(self):
        return ["nats", "postgres", "modelsim"] + [
            f"{kind}-{i}" for kind, n in self.counts.items() for i in range(1, n + 1)]

    def port(self, name):
        ports = self.state["ports"]
        if name not in ports:
            kind, _, i = name.partition("-")
            fixed = {"edge-1": 7080, "control-1": 7081}
            if kind == "edge" and i.isdigit() and int(i) > 1:
                fixed[name] = 7080 + int(i)
            ports[name] = fixed[name] if self.fixed and name in fixed else free_port()
        return ports[name]

    def url(self, name):
        return f"http://{HOST}:{self.port(name)}"

    @property
    def edge_url(self):
        return self.url("edge-1")

    @property
    def control_url(self):
        return self.url("control-1")

    @property
    def nats_url(self):
        return f"nats://{HOST}:{self.port('nats')}"

    @property
    def modelsim_url(self):
        return self.url("modelsim")

    @property
    def pg_dsn(self):
        return f"postgresql://{PG_USER}:{self.state['pg_password']}@{HOST}:{self.port('postgres')}/postgres"

    @property
    def admin_key(self):
        return self.state["admin_key"]

    def control(self):
        return Control(self.control_url, self.admin_key, self.settled)

    def save(self):
        tmp = self.dir / "state.json.new"
        tmp.touch(mode=0o600)
        tmp.write_text(json.dumps(self.state, indent=1))
        tmp.rename(self.dir / "state.json")

    # --- single processes

    def pid(self, name):
        """None if it does not run (any more)."""
        proc = self.state["procs"].get(name)
        if not proc:
            return None
        child = self.children.get(name)
        if child:
            child.poll()  # reaps
        # A start of None: it was over before it could be looked at.
        return proc["pid"] if proc["start"] and start_time(proc["pid"]) == proc["start"] else None

    def log(self, name):
        return self.dir / "log" / f"{name}.log"

    def spawn(self, name, argv, env=None, prepare=None, **kw):
        full = {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")}
        full.update(env or {})
        steps = [step for step in (die_with_parent if self.die else None, prepare) if step]
        with open(self.log(name), "ab") as log:
            child = subprocess.Popen([str(a) for a in argv], env=full, stdin=subprocess.DEVNULL, stdout=log,
                                     stderr=log, start_new_session=True, cwd=kw.pop("cwd", self.dir),
                                     preexec_fn=(lambda: [step() for step in steps]) if steps else None, **kw)
        self.children[name] = child
        self.state["procs"][name] = {"pid": child.pid, "start": start_time(child.pid)}
        self.save()

    def start_one(self, name):
        """Starts it if it does not run; does not wait. Its port stays the same from start to start."""
        if self.pid(name):
            return
        kind = name.partition("-")[0]
        if kind == "nats":
            self._start_nats()
        elif kind == "postgres":
            self._start_postgres()
        elif kind == "modelsim":
            env = {"PENSTOCK_SIM_PORT": str(self.port(name))}
            env.update({f"PENSTOCK_SIM_{k.upper()}": str(v) for k, v in self.knobs.items()})
            self.spawn(name, [self.bin / "penstock-modelsim"], env)
        else:
            self.spawn(name, [self.bin / SERVICES[kind][0]], self.settings(name))

    def settings(self, name):
        """The environment of a service."""
        kind = name.partition("-")[0]
        prefix = SERVICES[kind][1]
        env = {"PENSTOCK_NATS_URL": self.nats_url, "PENSTOCK_INSTANCE": name,
               "PENSTOCK_ADMIN_PORT": str(self.port(f"admin-{name}"))}
        if kind in ("edge", "control"):
            env[prefix + "PORT"] = str(self.port(name))
            env[prefix + "URL"] = self.url(name)
        if kind == "edge":
            env[prefix + "STATIC_DIR"] = str(ROOT / "clients/js")  # the example page, and the client that it loads
        if kind == "edge":  # production's are 10 s and 120 s; a local stack shall stop at once
            env.update(PENSTOCK_EDGE_DRAIN_MS="1000", PENSTOCK_EDGE_DRAIN_SPREAD_MS="1000")
            env[prefix + "RESUME_SECRET"] = self.state["resume_secret"]
        if kind in ("store", "control"):
            env["PENSTOCK_PG_DSN"] = self.pg_dsn
        if kind == "control":
            env["PENSTOCK_ADMIN_KEY"] = self.admin_key
        env.update(self.extra.get(kind, {}))
        env.update(self.extra.get(name, {}))
        return {k: str(v) for k, v in env.items() if v is not None}

    def _start_nats(self):
        # JetStream's own limit is derived from the free disk; the streams bound themselves (common/topology.c).
        (self.dir / "nats.conf").write_text(
            f'listen: "{HOST}:{self.port("nats")}"\n'
            f'http: "{HOST}:{self.port("nats-monitor")}"\n'
            f'jetstream {{ store_dir: "{self.dir}/nats", max_memory_store: 256MB, max_file_store: 64GB }}\n')
        self.spawn("nats", [shutil.which("nats-server", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
                            or "nats-server", "-c", self.dir / "nats.conf"],
                   prepare=small_pages)  # docs/operations.md, "Huge pages"

    # PostgreSQL will not run as root: then it runs as the package's user, who may not be able to come to our folder.

    def _pg_bin(self):
        versions = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name))
        if not versions:
            raise StackError("PostgreSQL is not installed (tools/deps.sh)")
        return versions[-1]

    def _pg_as(self, *extra):
        if os.geteuid() != 0:
            return []
        return ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups", *extra]

    def _pg_data(self):
        """The data folder, made and owned by whoever PostgreSQL runs as."""
        link = self.dir / "pg"
        if link.exists():
            return link.resolve()
        home = self.dir / "pg"
        if self._pg_as() and subprocess.run(self._pg_as() + ["test", "-x", str(self.dir)], cwd="/",
                                            stderr=subprocess.DEVNULL).returncode != 0:
            # Not named by the folder: one that was deleted leaves its data here, with a password that is gone.
            home = pathlib.Path("/var/tmp/penstock-pg-" + secrets.token_hex(8))
            home.mkdir(mode=0o700)
            if link.is_symlink():
                link.unlink()
            link.symlink_to(home)
        home.mkdir(mode=0o700, exist_ok=True)
        if self._pg_as():
            shutil.chown(home, "postgres", "postgres")
        return home

    def _pg_init(self, data):
        if (data / "PG_VERSION").exists():
            return
        # The password goes in by a pipe, not by a file or an argument.
        r, w = os.pipe()
        os.write(w, self.state["pg_password"].encode() + b"\n")
        os.close(w)
        if self._pg_as():
            os.fchown(r, pwd.getpwnam("postgres").pw_uid, -1)  # /dev/stdin is opened anew, by that user
        done = subprocess.run(
            self._pg_as() + [str(self._pg_bin() / "initdb"), "-D", str(data), "-U", PG_USER, "--auth=scram-sha-256",
                             "--pwfile=/dev/stdin", "-E", "UTF8", "--locale=C.UTF-8"]
            + ([] if self.fsync else ["--no-sync"]), stdin=r, capture_output=True, text=True, cwd="/")
        os.close(r)
        if done.returncode != 0:
            raise StackError(f"initdb: {done.stderr}")

    def _start_postgres(self):
        data = self._pg_data()
        self._pg_init(data)
        # A killed postmaster leaves its lock file; a process that got its number would keep it from starting.
        # The pid was checked before: ours does not run.
        with contextlib.suppress(FileNotFoundError):
            (data / "postmaster.pid").unlink()
        # A socket's path must be short.
        sockets = str(data) if len(str(data)) < 90 else ""
        options = {"listen_addresses": HOST, "port": self.port("postgres"), "unix_socket_directories": sockets,
                   "max_connections": 100, "log_min_messages": "warning"}
        if not self.fsync:
            options.update({"fsync": "off", "full_page_writes": "off"})
        # Changing the user clears the signal of a dying parent: setpriv sets it again.
        prefix = self._pg_as(*(["--pdeathsig", "INT"] if self.die else []))
        self.spawn("postgres", prefix + [self._pg_bin() / "postgres", "-D", data]
                   + [a for k, v in options.items() for a in ("-c", f"{k}={v}")], cwd="/")

    def is_ready(self, name):
        kind = name.partition("-")[0]
        if self.pid(name) is None:
            raise StackError(f"{name} ended: see {self.log(name)}\n{self.tail(name)}")
        if kind == "postgres":
            return subprocess.run([str(self._pg_bin() / "pg_isready"), "-q", "-h", HOST, "-p",
                                   str(self.port("postgres")), "-t", "1"]).returncode == 0
        if kind == "nats":
            return http("GET", self.url("nats-monitor") + "/healthz?js-enabled-only=true", timeout=2)[0] == 200
        if kind == "modelsim":
            return http("GET", self.url(name) + "/readyz", timeout=2)[0] == 200
        return http("GET", self.url(f"admin-{name}") + "/readyz", timeout=2)[0] == 200

    def config_revision(self, name):
        """Of the configuration that is in force there; None: nothing listens yet (or any more)."""
        try:
            with socket.create_connection((HOST, self.port(f"admin-{name}")), timeout=5) as s:
                s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                text = b"".join(iter(lambda: s.recv(1 << 16), b""))
        except ConnectionError:
            return None
        return int(text.partition(b"\npenstock_config_revision ")[2].split()[0])

    def settled(self, revision):
        """Returns when this revision of the configuration is in force wherever somebody runs who follows it. Who
        starts reads all of it before it is ready."""
        def in_force(name):
            proc = self.state["procs"].get(name)
            if not proc or is_stopped(proc["pid"]):
                return True
            now = self.config_revision(name)
            return now is None or now >= revision
        for name in self.names():
            if name.partition("-")[0] in ("edge", "router", "worker", "control"):
                wait_for(f"revision {revision} of the configuration at {name}", lambda: in_force(name), step=0.002)

    def wait_ready(self, *names, timeout=START_S):
        for name in names or self.names():
            wait_for(f"{name} ready (log: {self.log(name)})", lambda: self.is_ready(name), timeout)

    def tail(self, name, lines=8):
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-lines:])
        return ""

    def kill(self, name, sig=signal.SIGKILL, timeout=STOP_S):
        """Sends the signal and waits for the end; its exit status where we are the parent, else None."""
        pid = self.pid(name)
        child = self.children.pop(name, None)
        # PostgreSQL does not start again before the last backend has noticed that its postmaster is gone.
        backends = children(pid) if pid and name == "postgres" else {}
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)
        if child:
            try:
                code = child.wait(timeout)
            except subprocess.TimeoutExpired:
                self.children[name] = child
                raise StackError(f"{name} does not end {timeout} s after signal {int(sig)}")
        else:
            wait_for(f"the end of {name}", lambda: self.pid(name) is None, timeout)
            code = None
        wait_for("the end of PostgreSQL's backends",
                 lambda: not any(t and start_time(p) == t for p, t in backends.items()), timeout)
        self.state["procs"].pop(name, None)
        self.save()
        return code

    def stop_one(self, name):
        # PostgreSQL's SIGTERM waits for clients for ever, its SIGINT does not; nats-server's is clean with both.
        sig = signal.SIGINT if name == "postgres" else signal.SIGTERM
        try:
            return self.kill(name, sig)
        except StackError:
            return self.kill(name, signal.SIGKILL)

    def restart(self, name, sig=signal.SIGKILL):
        self.kill(name, sig)
        self.start_one(name)
        self.wait_ready(name)

    # --- the whole

    def start(self, wait=True):
        """Idempotent: starts what does not run, stops what is beyond the counts."""
        well_known = [n for n in self.names() if self.fixed and n.startswith(("edge-", "control-1"))]
        for name in well_known:
            if not self.pid(name) and not port_is_free(self.port(name)):
                raise StackError(f"port {self.port(name)} ({name}) is in use by another program")
        if not any(self.pid(n) for n in self.state["procs"]):
            # Nobody of ours holds the ports of last time: whatever does now keeps them.
            for name, port in list(self.state["ports"].items()):
                if name not in well_known and not port_is_free(port):
                    del self.state["ports"][name]
        for name in [n for n in self.state["procs"] if n not in self.names()]:
            self.stop_one(name)
        for name in ("nats", "postgres", "modelsim"):
            self.start_one(name)
        self.wait_ready("nats", "postgres", "modelsim")
        # The control-plane first: it and the event-store bring the schema, the others wait for neither.
        for name in self.names()[3:]:
            self.start_one(name)
        if wait:
            self.wait_ready()
        return self

    def stop(self):
        """The services first, so that each can finish and say good-bye; then what they stand on."""
        names = [n for n in self.state["procs"] if self.pid(n)]
        base = ("modelsim", "nats", "postgres")
        services = [n for n in names if n not in base]
        for name in services:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid(name) or 0, signal.SIGTERM) if self.pid(name) else None
        for name in services + [n for n in base if n in names]:
            self.stop_one(name)
        self.state["procs"] = {}
        self.save()
        with contextlib.suppress(FileNotFoundError):
            (self.dir / "env").unlink()

    def purge(self):
        data = (self.dir / "pg").resolve()
        if data.parent == pathlib.Path("/var/tmp") and data.name.startswith("penstock-pg-"):
            shutil.rmtree(data, ignore_errors=True)
        shutil.rmtree(self.dir, ignore_errors=True)

    def provision(self):
        """What the local stack has from the start: tenant demo with a key, two event types, two models and the
        pipeline summarize."""
        c = self.control()
        c.tenant("demo", name="Demo")
        c.event_type("demo", "chat.message", "durable", {
            "type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}})
        c.event_type("demo", "cursor.move", "ephemeral")
        for model in ("sim-a", "sim-b"):
            c.model(model, self.modelsim_url + "/v1", model=model)
        c.pipeline("summarize", SUMMARIZE)
        if "key" not in self.state:
            self.state["key"] = c.key("demo", name="local stack")
            self.save()

    def write_env(self):
        edges = [self.url(f"edge-{i}") for i in range(1, self.counts["edge"] + 1)]
        env = {"PENSTOCK_EDGE_URL": edges[0], "PENSTOCK_EDGE_URLS": ",".join(edges),
               "PENSTOCK_CONTROL_URL": self.control_url, "PENSTOCK_ADMIN_KEY": self.admin_key,
               "PENSTOCK_NATS_URL": self.nats_url, "PENSTOCK_PG_DSN": self.pg_dsn,
               "PENSTOCK_MODELSIM_URL": self.modelsim_url, "PENSTOCK_TENANT": "demo",
               "PENSTOCK_KEY": self.state.get("key", "")}
        for kind, words in PID_NAMES.items():
            pids = [str(self.pid(n)) for n in self.names() if n.partition("-")[0] == kind and self.pid(n)]
            for word in words:
                env[f"PENSTOCK_PIDS_{word}"] = ",".join(pids)
        path = self.dir / "env"
        path.touch(mode=0o600)
        path.write_text("".join(f"{k}={v}\n" for k, v in env.items()))
        return env

    def status(self):
        """[(name, pid or None, "ready" or why not, url)]"""
        rows = []
        for name in self.names():
            pid, word = self.pid(name), "down"
            if pid:
                try:
                    word = "ready" if self.is_ready(name) else "not ready"
                except Exception as e:
                    word = f"not ready ({e})"
            url = {"nats": self.nats_url, "postgres": f"{HOST}:{self.port('postgres')}"}.get(name)
            if name.partition("-")[0] in ("edge", "control", "modelsim"):
                url = self.url(name)
            rows.append((name, pid, word, url or self.url(f"admin-{name}")))
        return rows

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()


# --- commands -----------------------------------------------------------------------------------

@contextlib.contextmanager
def locked(folder):
    """One up or down at a time."""
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    with open(pathlib.Path(folder) / "lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def saved_counts(folder):
    with contextlib.suppress(FileNotFoundError, KeyError, json.JSONDecodeError):
        return json.loads((pathlib.Path(folder) / "state.json").read_text())["counts"]
    return {}


def local(args, use_saved):
    """The local stack; counts as asked for, or (down, status) as it was started."""
    asked = {k: getattr(args, k + "s") for k in SERVICES}
    if use_saved:
        asked = {k: v or saved_counts(args.dir).get(k) or 1 for k, v in asked.items()}
    counts = {k + "s": v or 1 for k, v in asked.items()}
    stack = Stack(args.dir, bin=args.bin, fixed=True, **counts)
    stack.state["counts"] = stack.counts
    return stack


def show_status(stack):
    rows = stack.status()
    for name, pid, word, url in rows:
        print(f"{name:<12} {pid or '-':>8}  {word:<10} {url}")
    return all(word == "ready" for _, _, word, _ in rows)


def cmd_up(args):
    with locked(args.dir):
        stack = local(args, False)
        stack.start()
        stack.provision()
        env = stack.write_env()
        show_status(stack)
    print(f"\nEdge {env['PENSTOCK_EDGE_URL']}, control-plane {env['PENSTOCK_CONTROL_URL']}; settings and keys in "
          f"{os.path.relpath(stack.dir / 'env')}.\nTry: set -a; . {os.path.relpath(stack.dir / 'env')}; set +a; "
          f"{os.path.relpath(stack.bin)}/penstock --help\n"
          f"A page to play with: {env['PENSTOCK_EDGE_URL']}/example/#key={env['PENSTOCK_KEY']}")
    return 0


def cmd_down(args):
    if not pathlib.Path(args.dir).exists():
        return 0
    with locked(args.dir):
        stack = local(args, True)
        n = sum(1 for name in stack.state["procs"] if stack.pid(name))
        stack.stop()
        if args.purge:
            stack.purge()
    print(f"stopped {n} processes" + (", removed the data" if args.purge else ""))
    return 0


def cmd_status(args):
    if not (pathlib.Path(args.dir) / "state.json").exists():
        print("there is no local stack (make up)")
        return 3
    return 0 if show_status(local(args, True)) else 3


def main():
    parser = argparse.ArgumentParser(description="the local stack", epilog="see the Makefile: make up, down, status, demo")
    parser.add_argument("command", choices=["up", "down", "status", "demo"])
    parser.add_argument("--dir", default=str(ROOT / ".run"))
    parser.add_argument("--bin", default=str(ROOT / "build/release/bin"))
    parser.add_argument("--purge", action="store_true", help="down: removes the data as well")
    for kind in SERVICES:
        parser.add_argument(f"--{kind}s", type=int, default=None, metavar="N")
    args = parser.parse_args()
    try:
        if args.command == "demo":
            import demo  # beside this file
            return demo.run(args)
        return {"up": cmd_up, "down": cmd_down, "status": cmd_status}[args.command](args)
    except StackError as e:
        print(f"stack: {e}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
