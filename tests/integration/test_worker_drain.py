"""A worker that is told to stop: calls end or are stopped, tasks go on elsewhere, and no attempt is spent (DESIGN 4,
9.3). Each test stops the one worker that runs its task and finds it started again."""
import asyncio
import functools
import os
import signal
import time

import pytest

import audit
from client import Client
from conftest import chat, end_stack, make_stack, provision
from receiver import Receiver, make, state
from stack import http, wait_for

DOCUMENT = "A penstock feeds a turbine. The gate decides how much water goes through. " * 4


@pytest.fixture(scope="module")
def pair():
    stack = make_stack(edges=1, routers=1, workers=2, stores=1)
    try:
        provision(stack.start())
        c = stack.control()
        c.pipeline("relay", [chat("one", "slow"), {"id": "between", "kind": "transform", "needs": ["one"],
                                                   "input": "{document: .stages.one.text}"},
                             chat("two", "quick", ["between"])])
        yield stack
    finally:
        end_stack(stack)


@pytest.fixture
def stack(pair):
    for name in pair.names():
        pair.start_one(name)
    pair.wait_ready()
    return pair


@pytest.fixture
def receiver():
    r = Receiver()
    yield r
    r.close()


async def begin(stack, c, pipeline, key):
    """Starts the task and waits for its first words; the task and the worker that runs it."""
    task = (await c.task(pipeline, DOCUMENT, key))["task"]
    await c.wait(lambda f: f["op"] == "delta" and f["task"] == task)
    return task, c.events(f"task.{task}", "task.started")[0]["data"]["worker"]


async def stop(stack, worker, signals=1):
    pid = stack.pid(worker)
    for i in range(signals):
        os.kill(pid, signal.SIGTERM)
        if i + 1 < signals:
            await asyncio.sleep(0.2)  # two signals that come at once are one
    return pid


def story(c, task):
    """What happened, without the transitions of the task as a whole."""
    return [(f["type"][len("task."):], f["data"].get("stage", ""), f["data"].get("attempt"), f["data"]["worker"])
            for f in c.events(f"task.{task}") if "worker" in f["data"]]


async def test_the_call_ends_and_the_task_goes_on_elsewhere(stack, tenant):
    async with Client(stack.edge_url, tenant.key) as c:
        task, worker = await begin(stack, c, "relay", "handed")
        await stop(stack, worker)
        end = await c.wait_end(task)
        assert end["type"] == "task.completed", end
        other = {"worker-1": "worker-2", "worker-2": "worker-1"}[worker]
        assert story(c, task) == [
            ("started", "", None, worker),
            ("stage.started", "one", 1, worker), ("stage.completed", "one", 1, worker),
            ("stage.started", "between", 1, worker), ("stage.completed", "between", 1, worker),
            ("handed_off", "", None, worker), ("started", "", None, other),
            ("stage.started", "two", 1, other), ("stage.completed", "two", 1, other)]
        assert not [f for f in c.frames if f["op"] == "reset"]
    wait_for("the worker to end", lambda: stack.pid(worker) is None)
    audit.check_task(stack, tenant.id, task, ["one", "between", "two"])


async def test_the_grace_is_over(stack, tenant):
    """By a second signal: the call is stopped, and the next worker's attempt is the second by number, the first by
    count: nothing failed."""
    async with Client(stack.edge_url, tenant.key) as c:
        task, worker = await begin(stack, c, "slow", "stopped")
        await stop(stack, worker, 2)
        wait_for("the worker to end", lambda: stack.pid(worker) is None, 5)
        end = await c.wait_end(task)
        assert end["type"] == "task.completed", end
        types = [(t, stage, attempt) for t, stage, attempt, _ in story(c, task)]
        assert ("handed_off", "", None) in types and ("stage.completed", "talk", 2) in types, types
        assert not c.events(f"task.{task}", "task.stage.failed")
        again = [d for d in c.deltas(task, "talk") if d["attempt"] == 2]
        assert "".join(d["data"] for d in again) == end["data"]["output"]["text"]
    audit.check_task(stack, tenant.id, task, ["first", "talk", "last"])


async def test_a_burst_over_rolling_restarts(stack, tenant):
    """Both workers are replaced one after the other under load; every task ends, at its first count of attempts."""
    async with Client(stack.edge_url, tenant.key) as c:
        tasks = [(await c.task("relay", DOCUMENT, f"r{i}"))["task"] for i in range(40)]
        for worker in ("worker-1", "worker-2"):
            await stop(stack, worker)
            await asyncio.to_thread(wait_for, f"the end of {worker}", lambda: stack.pid(worker) is None, 30)
            stack.start_one(worker)  # in this thread: it dies with the thread that starts it
            await asyncio.to_thread(stack.wait_ready, worker)
        begun = time.monotonic()
        for task in tasks:
            end = await c.wait_end(task)
            assert end["type"] == "task.completed", end
            assert not c.events(f"task.{task}", "task.stage.failed")
            assert {f["data"]["attempt"] for f in c.events(f"task.{task}", "task.stage.completed")} == {1}
        # No ticket was left lying for the 30 s that a dead worker's take.
        assert time.monotonic() - begun < 20
    for task in tasks[:5]:
        audit.check_task(stack, tenant.id, task, ["one", "between", "two"])


async def test_cancelled_in_a_call_that_is_drained(stack, tenant):
    """Cancellation reaches a worker that is about to stop, stops the upstream call, and is idempotent."""
    async with Client(stack.edge_url, tenant.key) as c:
        task, worker = await begin(stack, c, "slow", "cancelled")
        await stop(stack, worker)
        for _ in range(2):
            assert tenant.http("DELETE", f"/v1/tasks/{task}")[0] in (200, 202, 204)
        assert (await c.wait_end(task))["type"] == "task.cancelled"
        wait_for("the worker to end at once", lambda: stack.pid(worker) is None, 5)
        wait_for("the call upstream to be closed", lambda: sum(
            m["concurrent"] for m in http("GET", stack.modelsim_url + "/sim/stats")[2]["models"].values()) == 0, 5)
    log = audit.check_task(stack, tenant.id, task, [], state="cancelled")
    assert [t for t, _ in log].count("task.cancelled") == 1


async def test_drained_by_an_operator(stack, tenant, penstock, receiver):
    """Without a signal: what runs ends, the task goes on elsewhere, the process stays and takes nothing, also when it
    is started again; and takes tasks again when it is told so."""
    def worker(id):
        return stack.control().call("GET", f"/workers/{id}")[2]
    run = functools.partial(penstock, "-o", "json")
    async with Client(stack.edge_url, tenant.key) as c:
        task, name = await begin(stack, c, "relay", "drained")
        pid = stack.pid(name)
        assert run("worker", "drain", name, "--reason", "new kernel")["drain"] == {"id": name, "drained": True}
        end = await c.wait_end(task)
        assert end["type"] == "task.completed", end
        other = {"worker-1": "worker-2", "worker-2": "worker-1"}[name]
        assert [s for s in story(c, task) if s[0] in ("handed_off", "started")] == [
            ("started", "", None, name), ("handed_off", "", None, name), ("started", "", None, other)]
        assert not c.events(f"task.{task}", "task.stage.failed")
        wait_for("its drain", lambda: worker(name)["state"] == "drained")
        assert http("GET", stack.url(f"admin-{name}") + "/readyz")[0] == 503
        assert "slots" not in worker(name) and worker(other)["slots"] and stack.pid(name) == pid
        stack.kill(name)
        stack.start_one(name)
        wait_for("it to be back", lambda: worker(name)["live"] and worker(name)["state"] == "drained")
        tasks = [(await c.task("noop", {"n": i}, f"n{i}"))["task"] for i in range(20)]
        for task in tasks:
            await c.wait_end(task)
            assert c.events(f"task.{task}", "task.started")[0]["data"]["worker"] == other
        assert run("worker", "drain", other, "--reason", "both", "--grace", "0")["drain"]["grace_ms"] == 0
        wait_for("its drain", lambda: worker(other)["state"] == "drained")
        waits = (await c.task("noop", {}, "waits"))["task"]
        hook = make(stack, tenant, receiver)
        event = await c.publish("room.1", {})
        await asyncio.to_thread(audit.wait_stored, stack, tenant.id, [event["event_id"]])
        assert receiver.of() == [], "workers make the requests of webhooks"
        assert run("worker", "undrain", name, "--reason", "done")["drain"] is None
        await c.wait_end(waits)
        await asyncio.to_thread(wait_for, "its delivery", lambda: state(stack, tenant, hook)["delivered"] == 1)
        assert c.events(f"task.{waits}", "task.started")[0]["data"]["worker"] == name
    run("worker", "undrain", other, "--reason", "done")
    stack.wait_ready()
    assert {w["id"]: (w["live"], w["drain"]) for w in run("worker", "list")} == {n: (True, None) for n in (name, other)}
    assert stack.control().call("POST", "/workers/worker-9:drain", {}, ok=(404,), headers={"X-Audit-Reason": "no"})
    audit.check_task(stack, tenant.id, task, [f"s{i}" for i in range(1, 5)])
