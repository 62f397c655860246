"""Starting, ending and being looked at: settings, ports, signals, and a data path that needs no database."""
import os
import re
import signal
import subprocess

import pytest

import audit
from client import Client
from conftest import BIN, PIPELINES, Tenant, check_logs, provision
from stack import SERVICES, StackError, http, wait_for

NAMES = {"edge": "edge-1", "router": "router-1", "worker": "worker-1", "store": "store-1", "control": "control-1"}


@pytest.mark.parametrize("kind", SERVICES)
def test_admin_port(stack, kind):
    url = stack.url(f"admin-{NAMES[kind]}")
    assert http("GET", url + "/livez")[0] == 200
    assert http("GET", url + "/readyz")[0] == 200
    status, head, text = http("GET", url + "/metrics")
    assert status == 200 and head["Content-Type"].startswith("text/plain") and "version=0.0.4" in head["Content-Type"]
    typed = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    for name, value in re.findall(r"^([a-zA-Z_:][\w:]*)(?:\{[^}\n]*\})? (\S+)$", text, re.M):
        float(value)
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        assert name in typed or base in typed, f"{name} has no type"
        assert name.startswith("penstock_"), name
    for name, kind_ in typed.items():
        assert (kind_ == "counter") == name.endswith("_total"), (name, kind_)
    assert http("GET", url + "/nosuch")[0] == 404


@pytest.mark.parametrize("kind", SERVICES)
def test_settings(stack, kind):
    """--help shows the table; what is unknown, malformed, out of range or missing is named, and ends it at once."""
    binary, prefix = str(BIN / SERVICES[kind][0]), SERVICES[kind][1]
    plain = {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")}
    good = {**plain, **stack.settings(NAMES[kind]), "PENSTOCK_ADMIN_PORT": "0", "PENSTOCK_INSTANCE": "another"}
    if kind in ("edge", "control"):
        good[prefix + "PORT"] = "0"

    def run(*args, **env):
        return subprocess.run([binary, *args], env={**plain, **env}, capture_output=True, text=True, timeout=20)
    shown = run("--help")
    assert shown.returncode == 0 and "PENSTOCK_NATS_URL" in shown.stdout and prefix in shown.stdout
    assert run("--version").returncode == 0
    for name, value in [(prefix + "NO_SUCH", "1"), ("PENSTOCK_ADMIN_PORT", "seven"), ("PENSTOCK_ADMIN_PORT", "70000"),
                        ("PENSTOCK_PARTS", "0"), ("PENSTOCK_LOG_LEVEL", "loud"), ("PENSTOCK_NATS_URL", "nonsense://")]:
        done = subprocess.run([binary], env={**good, name: value}, capture_output=True, text=True, timeout=20)
        assert done.returncode not in (0, -signal.SIGSEGV, -signal.SIGABRT), (name, value, done)
        assert name in done.stderr or "nats" in done.stderr.lower(), (name, done.stderr)
    if kind in ("store", "control"):
        missing = {k: v for k, v in good.items() if k != "PENSTOCK_PG_DSN"}
        assert "PENSTOCK_PG_DSN" in subprocess.run([binary], env=missing, capture_output=True, text=True,
                                                   timeout=20).stderr
        secret = stack.state["pg_password"]
        assert secret not in stack.log(NAMES[kind]).read_text()
    assert run("--no-such-option").returncode not in (0, -signal.SIGSEGV)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_each_service_clean(private, sig):
    """Exit 0 within its grace, with clients and tasks under way, and nothing on stderr that a sanitizer says."""
    stack = private()
    tenant = Tenant(stack)
    for i in range(20):
        assert tenant.http("POST", "/v1/tasks", {"pipeline": "noop", "key": f"k{i}", "input": i})[0] == 202
    for kind in ("worker", "edge", "router", "store", "control"):
        assert stack.kill(NAMES[kind], sig, timeout=30) == 0, f"{kind}: {stack.tail(NAMES[kind])}"
    check_logs(stack)


@pytest.mark.parametrize("kind", SERVICES)
def test_it_starts_alone_and_ends_alone(private, kind):
    """No NATS, no PostgreSQL: it waits, says that it is not ready and why, and ends at once when told."""
    stack = private(start=False)
    name = NAMES[kind]
    stack.start_one(name)
    url = stack.url(f"admin-{name}")
    wait_for("its admin port", lambda: http("GET", url + "/livez")[0] == 200, 30)
    status, _, why = http("GET", url + "/readyz")
    assert status == 503 and why
    assert stack.kill(name, signal.SIGTERM, timeout=30) == 0, stack.tail(name)


def test_the_order_of_starts_does_not_matter(private):
    """The services first, then what they stand on."""
    stack = private(start=False)
    for name in reversed(stack.names()):
        stack.start_one(name)
    stack.wait_ready()
    provision(stack)
    tenant = Tenant(stack)
    status, _, accepted = tenant.http("POST", "/v1/tasks", {"pipeline": "noop", "key": "k", "input": 1})
    assert status == 202
    audit.check_task(stack, tenant.id, accepted["task"], [s["id"] for s in PIPELINES["noop"]])


async def test_the_data_path_starts_from_the_bucket(private):
    """Edge, router and worker start and work while PostgreSQL, event-store and control-plane are down; what they
    acknowledged is in PostgreSQL once it is back."""
    stack = private()
    tenant = Tenant(stack)
    off, fast = ("control-1", "store-1", "postgres"), ("edge-1", "router-1", "worker-1")
    for name in off:
        stack.stop_one(name)
    for name in fast:
        stack.kill(name)
        stack.start_one(name)
    stack.wait_ready(*fast)
    acked = []
    async with Client(stack.edge_url, tenant.key) as c:
        await c.subscribe("room.1")
        for i in range(10):
            acked.append(("room.1", {"n": i}, await c.publish("room.1", {"n": i}, key=f"k{i}")))
        await c.wait(lambda f: f["op"] == "event" and f["data"] == {"n": 9})
        task = (await c.task("quick", "A sentence for the model to say again.", "k"))["task"]
        assert (await c.wait_end(task))["type"] == "task.completed"
    for name in reversed(off):
        stack.start_one(name)
    stack.wait_ready()
    audit.check_events(stack, tenant.id, acked)
    audit.check_task(stack, tenant.id, task, ["talk"])


def test_a_whole_stack_comes_back(private):
    """Everything is stopped and started again on the same data: nothing is forgotten."""
    stack = private()
    tenant = Tenant(stack)
    status, _, first = tenant.http("POST", "/v1/events", {"channel": "room.1", "type": "chat.message", "key": "k",
                                                         "data": {"n": 1}})
    assert status == 202
    stack.stop()
    assert [stack.pid(n) for n in stack.names()] == [None] * len(stack.names())
    stack.start()
    stack.provision()
    again = wait_for("the repeat", lambda: (lambda r: r[0] == 202 and r[2])(tenant.http(
        "POST", "/v1/events", {"channel": "room.1", "type": "chat.message", "key": "k", "data": {"n": 1}})))
    assert again["event_id"] == first["event_id"] and again["duplicate"]
    audit.check_events(stack, tenant.id, [("room.1", {"n": 1}, first)])


def test_two_services_cannot_take_one_port(stack):
    """The second says so and ends."""
    env = {**{k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")}, **stack.settings("edge-1"),
           "PENSTOCK_ADMIN_PORT": "0", "PENSTOCK_INSTANCE": "another"}
    done = subprocess.run([str(BIN / "penstock-edge")], env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode not in (0, -signal.SIGSEGV, -signal.SIGABRT)
    assert str(stack.port("edge-1")) in done.stderr, done.stderr


def test_stack_only_signals_what_it_started(private):
    """A process id that was used again belongs to somebody else."""
    stack = private(start=False)
    with subprocess.Popen(["sleep", "60"]) as other:
        stack.state["procs"]["edge-1"] = {"pid": other.pid, "start": 1}
        assert stack.pid("edge-1") is None
        stack.kill("edge-1")
        assert other.poll() is None
        other.kill()
    with pytest.raises(StackError):
        stack.start_one("edge-1")
        stack.kill("edge-1")
        stack.is_ready("edge-1")


def test_stack_knows_that_what_ended_at_once_ended(private):
    """So fast that there was nothing left to look at when it was noted."""
    stack = private(start=False)
    with subprocess.Popen(["true"]) as over:
        pass
    stack.state["procs"]["edge-1"] = {"pid": over.pid, "start": None}
    assert stack.pid("edge-1") is None
