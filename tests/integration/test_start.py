"""Starting, being asked, and ending: settings, admin ports, a start from the bucket alone, and SIGTERM."""
import re
import shutil
import signal
import subprocess

import pytest

import audit
from client import Client
from conftest import BIN, PIPELINES, SUSPECT, Tenant
from stack import SERVICES, START_S, Stack, http, wait_for
from traffic import Traffic

BINARIES = {kind: binary for kind, (binary, _) in SERVICES.items()}
# What a service cannot start without.
NEEDED = {"store": {"PENSTOCK_PG_DSN": "postgresql://nobody@127.0.0.1:9/none"},
          "control": {"PENSTOCK_PG_DSN": "postgresql://nobody@127.0.0.1:9/none",
                      "PENSTOCK_ADMIN_KEY": "ak_0123456789abcdef"}}


def start(kind, env=None, args=()):
    """Runs to its end."""
    return subprocess.run([str(BIN / BINARIES[kind]), *args], env={"PATH": "/usr/bin", **NEEDED.get(kind, {}), **(env or {})},
                          capture_output=True, text=True, timeout=20)


# --- the local stack ------------------------------------------------------------------------

def test_a_folder_that_was_deleted_and_made_anew(tmp_path):
    """rm -rf of a checkout and a new one at the same place: what PostgreSQL kept outside of it, where its user may
    not enter the folder, is not taken for the new stack's, whose password it does not know."""
    tmp_path.chmod(0o700)
    made = []
    for _ in range(2):
        stack = Stack(tmp_path / "run", bin=BIN, die=True, fsync=False)
        try:
            stack.start_one("postgres")
            stack.wait_ready("postgres")
            assert audit.rows(stack, "SELECT 1") == [(1,)]
        finally:
            stack.kill("postgres")
            made.append((tmp_path / "run" / "pg").resolve())
            shutil.rmtree(tmp_path / "run")
    for data in made:
        shutil.rmtree(data, ignore_errors=True)


# --- settings -------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", BINARIES)
def test_help_and_version(kind):
    done = start(kind, args=["--help"])
    assert done.returncode == 0 and BINARIES[kind] in done.stdout and not done.stderr
    for name in ("PENSTOCK_NATS_URL", "PENSTOCK_ADMIN_PORT", SERVICES[kind][1]):
        assert name in done.stdout
    assert start(kind, args=["--version"]).stdout.startswith(BINARIES[kind])


@pytest.mark.parametrize("kind", BINARIES)
def test_settings_that_are_wrong(kind):
    """The variable is named, and the status is 2."""
    prefix = SERVICES[kind][1]
    for name, value in ((prefix + "NO_SUCH_THING", "1"), ("PENSTOCK_PARTS", "0"), ("PENSTOCK_PARTS", "many"),
                        ("PENSTOCK_PARTS", ""), ("PENSTOCK_PARTS", "16x"), ("PENSTOCK_ADMIN_PORT", "65536"),
                        ("PENSTOCK_ADMIN_PORT", "-1"), ("PENSTOCK_STREAM_REPLICAS", "99999999999999999999"),
                        ("PENSTOCK_LOG_LEVEL", "loud"), ("PENSTOCK_INSTANCE", "a b"), ("PENSTOCK_INSTANCE", "a:b")):
        done = start(kind, {name: value})
        assert done.returncode == 2 and name in done.stderr, (name, value, done)
    done = start(kind, args=["--no-such-thing"])
    assert done.returncode == 2 and "--no-such-thing" in done.stderr


@pytest.mark.parametrize("kind, name", [("store", "PENSTOCK_PG_DSN"), ("control", "PENSTOCK_PG_DSN"),
                                        ("control", "PENSTOCK_ADMIN_KEY")])
def test_settings_that_are_missing(kind, name):
    env = {k: v for k, v in NEEDED[kind].items() if k != name}
    done = subprocess.run([str(BIN / BINARIES[kind])], env={"PATH": "/usr/bin", **env}, capture_output=True, text=True,
                          timeout=20)
    assert done.returncode == 2 and name in done.stderr


@pytest.mark.parametrize("kind", BINARIES)
@pytest.mark.parametrize("name, value", [("PENSTOCK_NATS_URL", ""), ("PENSTOCK_NATS_URL", "rubbish:// x"),
                                         ("PENSTOCK_ADMIN_ADDR", "nowhere")])
def test_settings_that_are_seen_to_be_wrong_later(kind, name, value):
    """Whatever keeps a service from starting ends it with 2, and the log says what it was."""
    done = start(kind, {SERVICES[kind][1] + "PORT": "0", name: value} if kind in ("edge", "control") else {name: value})
    assert done.returncode == 2, done
    said = [line for line in done.stderr.splitlines() if '"level":"error"' in line]
    assert said and any(word in said[0] for word in ("NATS URL", "admin port")), done.stderr


def test_a_secret_is_not_shown():
    done = start("control", {"PENSTOCK_ADMIN_KEY": "short-secret"})
    assert done.returncode == 2 and "PENSTOCK_ADMIN_KEY" in done.stderr and "short-secret" not in done.stderr


# --- the admin port -------------------------------------------------------------------------

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*\})? '
                    r'([-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|Inf)|NaN)\Z')


@pytest.mark.parametrize("kind", SERVICES)
def test_metrics(stack, kind):
    """Prometheus text 0.0.4: each family is told once, before its samples; nothing twice; buckets that grow."""
    status, head, text = http("GET", stack.url(f"admin-{kind}-1") + "/metrics")
    assert status == 200 and head["Content-Type"].startswith("text/plain; version=0.0.4")
    assert text.endswith("\n")
    types, seen, buckets = {}, set(), {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, type = line.split(" ")
            assert name not in types and type in ("counter", "gauge", "histogram", "summary"), line
            types[name] = type
            assert type != "counter" or name.endswith("_total"), line
        elif line.startswith("# HELP ") or not line:
            continue
        else:
            match = SAMPLE.match(line)
            assert match, line
            name, labels, value = match.groups()
            assert name.startswith("penstock_"), line
            family = re.sub(r"_(bucket|sum|count)\Z", "", name) if name not in types else name
            assert family in types, line
            assert (name, labels) not in seen, line
            seen.add((name, labels))
            if name.endswith("_bucket") and family != name:
                series = (family, re.sub(r'le="[^"]*",?', "", labels))
                assert float(value) >= buckets.get(series, 0), line
                buckets[series] = float(value)
    assert len(types) >= 5


@pytest.mark.parametrize("kind", SERVICES)
def test_admin_port(stack, kind):
    url = stack.url(f"admin-{kind}-1")
    for path in ("/livez", "/readyz"):
        assert http("GET", url + path)[0] == 200
    assert http("GET", url + "/nothing")[0] == 404
    assert http("POST", url + "/livez", {})[0] == 405


def test_without_anything_it_waits(private):
    """Neither NATS nor PostgreSQL are there: alive, not ready and saying why, and ready once they are."""
    stack = private(start=False)
    for name in stack.names()[3:]:
        stack.start_one(name)
    for name in stack.names()[3:]:
        url = stack.url(f"admin-{name}")
        wait_for(f"{name} alive", lambda: http("GET", url + "/livez")[0] == 200)
        status, _, why = http("GET", url + "/readyz")
        assert status == 503 and why, name
    for name in stack.names()[:3]:
        stack.start_one(name)
    stack.wait_ready()


# --- from the bucket ------------------------------------------------------------------------

async def test_the_data_path_starts_from_the_bucket(private):
    """PostgreSQL, the event-store and the control-plane are down; edge, router and worker begin anew and work."""
    stack = private()
    tenant = Tenant(stack)
    for name in ("control-1", "store-1", "postgres"):
        stack.kill(name)
    for name in ("edge-1", "router-1", "worker-1"):
        stack.kill(name)
    for name in ("edge-1", "router-1", "worker-1"):
        stack.start_one(name)
    stack.wait_ready("edge-1", "router-1", "worker-1")
    async with Client(stack.edge_url, tenant.key) as c:
        await c.subscribe("room.1")
        answer = await c.publish("room.1", {"n": 1})
        await c.wait_event("room.1", "chat.message")
        task = (await c.task("quick", {"document": "One. Two."}, "k"))["task"]
        assert (await c.wait_end(task))["type"] == "task.completed"
    for name in ("postgres", "store-1", "control-1"):
        stack.start_one(name)
    stack.wait_ready()
    audit.check_events(stack, tenant.id, [("room.1", {"n": 1}, answer)])
    audit.check_task(stack, tenant.id, task, [s["id"] for s in PIPELINES["quick"]])


# --- the end --------------------------------------------------------------------------------

def check_said(stack, name):
    log = stack.log(name).read_text(errors="replace")
    assert not [w for w in SUSPECT if w in log], log[-4000:]
    assert '"msg":"stopping"' in log or '"stop' in log, log[-500:]


def test_sigterm_without_load(private):
    stack = private()
    for name in stack.names()[3:]:
        assert stack.kill(name, signal.SIGTERM, 10) == 0, stack.tail(name)
        check_said(stack, name)


def test_sigint_is_the_same(private):
    stack = private()
    for name in stack.names()[3:]:
        assert stack.kill(name, signal.SIGINT, 10) == 0, stack.tail(name)


def test_sigterm_under_load(private):
    """All clients go on while each is stopped: within the grace, with 0, and what was acknowledged is there."""
    stack = private(edges=2)
    tenant = Tenant(stack)
    with Traffic(stack, tenant, publishers=6, taskers=4, pipeline="slow", task_pause=0.2) as t:
        for name in ("worker-1", "router-1", "store-1", "edge-1", "control-1"):
            t.go_on(3)
            assert stack.kill(name, signal.SIGTERM, 12) == 0, stack.tail(name)
            check_said(stack, name)
            stack.start_one(name)
            stack.wait_ready(name)
        t.go_on(3)
    t.verify()


def test_sigterm_before_it_is_ready(private):
    """No server is there, and it has not been connected ever."""
    stack = private(start=False)
    for name in stack.names()[3:]:
        stack.start_one(name)
        wait_for(f"{name} alive", lambda: http("GET", stack.url(f"admin-{name}") + "/livez")[0] == 200, START_S)
        assert stack.kill(name, signal.SIGTERM, 10) == 0, stack.tail(name)


def test_sigterm_while_the_servers_are_gone(private):
    stack = private()
    for name in ("nats", "postgres"):
        stack.kill(name)
    for name in stack.names()[3:]:
        assert stack.kill(name, signal.SIGTERM, 12) == 0, stack.tail(name)


def test_a_port_that_is_taken(stack):
    for kind, name in (("edge", "PENSTOCK_EDGE_PORT"), ("control", "PENSTOCK_CONTROL_PORT"), ("router", "PENSTOCK_ADMIN_PORT"),
                       ("worker", "PENSTOCK_ADMIN_PORT"), ("store", "PENSTOCK_ADMIN_PORT")):
        done = start(kind, {name: str(stack.port("modelsim"))})
        assert done.returncode == 2 and str(stack.port("modelsim")) in done.stderr, done
