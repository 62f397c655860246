"""The slow path (docs/decisions/0022): parked tasks wait in PostgreSQL and come back through admission, once, whoever
is killed meanwhile."""
import time

import pytest

import audit
from conftest import Tenant, running_stack
from stack import http, wait_for
from transitions import Log

RATE = 50


@pytest.fixture(scope="module")
def broken():
    with running_stack(edges=1, routers=2, workers=1, stores=2,
                       env={"store": {"PENSTOCK_STORE_RELEASE_PER_S": RATE},
                            "worker": {"PENSTOCK_WORKER_ACK_WAIT_MS": 2000, "PENSTOCK_WORKER_GRACE_MS": 500}}) as stack:
        yield stack


@pytest.fixture
def stack(broken):
    for name in broken.names():
        broken.start_one(name)
    broken.wait_ready()
    return broken


def metric(stack, name, what):
    text = http("GET", stack.url(f"admin-{name}") + "/metrics")[2]
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(what))


def stores(stack, what):
    return sum(metric(stack, n, what) for n in ("store-1", "store-2") if stack.pid(n))


def leader(stack):
    return wait_for("an event-store that releases", lambda: next(
        (n for n in ("store-1", "store-2") if stack.pid(n) and metric(stack, n, "penstock_store_release_leading")), None))


def submit(tenant, n, **more):
    tasks = []
    for i in range(n):
        status, _, answer = tenant.http("POST", "/v1/tasks", {"pipeline": "noop", "key": f"k{i}", "input": i, **more})
        assert status == 202, answer
        tasks.append(answer["task"])
    return tasks


def park(stack, tenant, n, not_before, **more):
    """Tasks that no worker has seen, parked. None runs afterwards: the caller starts one."""
    stack.kill("worker-1")
    tasks = submit(tenant, n, **more)
    with Log(stack) as log:
        for task in tasks:
            log.park(tenant.id, task, not_before)
    return tasks


def state(tenant, task):
    status, _, doc = tenant.http("GET", f"/v1/tasks/{task}")
    assert status == 200, doc
    return doc


def wait_states(stack, tasks, state, timeout=60):
    wait_for(f"{len(tasks)} tasks {state}", lambda: audit.rows(
        stack, "SELECT count(*) FROM tasks WHERE task = ANY(%s) AND state = %s", tasks, state)[0][0] == len(tasks),
        timeout, 0.1)


def check_once(stack, tenant, tasks, not_before=0):
    """Each was taken up once behind its parking, not before its time, with the next attempt of its stage."""
    for task in tasks:
        events = audit.transitions(stack, tenant.id, task)
        types = [t for t, _ in events]
        behind = events[types.index("task.parked") + 1:]
        assert [t for t, _ in behind].count("task.started") == 1, types
        assert types.count("task.completed") == 1 and types[-1] == "task.completed"
        assert behind[0][0] == "task.started" and behind[0][1]["run"] == 2
        assert [d["attempt"] for t, d in behind if t == "task.stage.started" and d["stage"] == "s1"] == [2]
    early = audit.rows(stack, "SELECT channel FROM events WHERE tenant = %s AND type = 'task.started' AND router = '' AND "
                       "data LIKE '%%\"run\":2%%' AND extract(epoch FROM time) < %s", tenant.id, not_before)
    assert early == []


def test_parked_until_its_time(stack):
    tenant = Tenant(stack)
    at = time.time() + 3
    tasks = park(stack, tenant, 5, at)
    stack.start_one("worker-1")
    wait_states(stack, tasks, "parked")
    doc = state(tenant, tasks[0])
    assert doc["state"] == "parked" and doc["release_at"] == int(at * 1000)
    assert [s["state"] for s in doc["stages"]] == ["parked"]
    wait_states(stack, tasks, "completed")
    check_once(stack, tenant, tasks, at)
    assert "release_at" not in state(tenant, tasks[0])
    assert audit.rows(stack, "SELECT count(*) FROM tasks WHERE release_at IS NOT NULL AND tenant = %s", tenant.id) == [(0,)]


def test_rate(stack):
    """Whatever is due at once, no more than the rate comes back."""
    tenant = Tenant(stack)
    at = time.time() + 6
    tasks = park(stack, tenant, 3 * RATE, at)
    assert time.time() < at, "too slow for this test"
    stack.start_one("worker-1")
    wait_states(stack, tasks, "completed")
    took = audit.rows(stack, "SELECT extract(epoch FROM max(at) - min(at))::float8 FROM (SELECT max(time) AS at FROM events "
                      "WHERE tenant = %s AND type = 'task.started' GROUP BY channel) x", tenant.id)[0][0]
    assert took > 2, f"{3 * RATE} tasks within {took} s at {RATE}/s"
    check_once(stack, tenant, tasks, at)


@pytest.mark.parametrize("name", ["leader", "router-1", "router-2", "postgres", "nats"])
def test_killed_in_mid_release(stack, name):
    """Killed while tasks are on their way back, and away for a while."""
    tenant = Tenant(stack)
    tasks = park(stack, tenant, 4 * RATE, time.time() + 2)
    stack.start_one("worker-1")
    before = stores(stack, 'penstock_store_releases_total{result="released"}')
    wait_for("the first ones", lambda: stores(stack, 'penstock_store_releases_total{result="released"}') >= before + 10)
    victim = leader(stack) if name == "leader" else name
    stack.kill(victim)
    if victim in ("postgres", "nats"):
        time.sleep(1)  # away: that is the test
    if name == "leader":
        other = "store-2" if victim == "store-1" else "store-1"
        assert leader(stack) == other
    stack.start_one(victim)
    wait_states(stack, tasks, "completed", 90)
    check_once(stack, tenant, tasks)


def test_limits_hold(stack):
    """A tenant whose queue is full gets its tasks back as places get free, and is in nobody's way."""
    small, other = Tenant(stack), Tenant(stack)
    at = time.time() + 4
    tasks = park(stack, small, 25, at)
    others = park(stack, other, 20, at)
    assert time.time() < at, "too slow for this test"
    stack.control().put(f"/tenants/{small.id}/limits", {"tasks_running": 1, "tasks_queued": 2})
    refused = stores(stack, 'penstock_store_releases_total{result="refused"}')
    wait_for("the full queue", lambda: stores(stack, 'penstock_store_releases_total{result="refused"}') > refused)
    waiting = "SELECT count(*) FROM tasks WHERE tenant = %s AND release_at IS NOT NULL"
    wait_for("the other's tickets", lambda: audit.rows(stack, waiting, other.id) == [(0,)])
    assert audit.rows(stack, waiting, small.id)[0][0] > 15
    stack.start_one("worker-1")
    wait_states(stack, others + tasks, "completed", 90)
    check_once(stack, small, tasks, at)


def test_cancelled_while_parked(stack):
    tenant = Tenant(stack)
    at = time.time() + 2
    kept, gone = park(stack, tenant, 2, at)
    assert tenant.http("DELETE", f"/v1/tasks/{gone}")[0] == 202
    stack.start_one("worker-1")
    wait_states(stack, [gone], "cancelled")
    wait_states(stack, [kept], "completed")
    assert [t for t, _ in audit.transitions(stack, tenant.id, gone)][-2:] == ["task.parked", "task.cancelled"]


def test_deadline_while_parked(stack):
    """It is not waited for beyond it."""
    tenant = Tenant(stack)
    tasks = park(stack, tenant, 1, time.time() + 3600, deadline_ms=3000)
    stack.start_one("worker-1")
    wait_states(stack, tasks, "expired")


@pytest.mark.parametrize("name", ["leader", "router-1", "postgres"])
def test_killed_in_mid_redrive(stack, name):
    """Each dead letter lives again once, whoever is killed while they do."""
    tenant = Tenant(stack)
    stack.kill("worker-1")
    tasks = submit(tenant, 100)
    with Log(stack) as log:
        for task in tasks:
            log.write(tenant.id, task, ("task.started", {"worker": "w-gone", "claim": 1, "run": 1}),
                      ("task.failed", {"stage": "s1", "reason": "test", "message": "m"}))
    wait_states(stack, tasks, "failed")
    stack.start_one("worker-1")
    doc = stack.control().call("POST", "/dead-letters:redrive", {"tenant": tenant.id, "per_s": 40})[2]
    assert doc["total"] == 100

    def done():
        return audit.rows(stack, "SELECT count(*) FROM redrive_items WHERE redrive = %s AND state = 'done'", doc["id"])[0][0]
    wait_for("the first ones", lambda: done() >= 10)
    victim = leader(stack) if name == "leader" else name
    stack.kill(victim)
    if name == "postgres":
        time.sleep(1)  # away: that is the test
    stack.start_one(victim)
    wait_states(stack, tasks, "completed", 90)
    wait_for("the order's end", lambda: audit.rows(
        stack, "SELECT state FROM redrives WHERE id = %s", doc["id"]) == [("done",)])
    assert done() == 100
    for task in tasks:
        types = [t for t, _ in audit.transitions(stack, tenant.id, task)]
        behind = types[types.index("task.failed") + 1:]
        assert behind[0] == "task.redriven" and behind[-1] == "task.completed", types
        assert behind.count("task.redriven") == behind.count("task.started") == behind.count("task.completed") == 1
