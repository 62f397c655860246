"""DESIGN 8: what is killed, and what users see of it. Each test has clients that go on all the time, and in the end
everything that was acknowledged is in PostgreSQL exactly once and in order."""
import asyncio
import datetime
import os
import signal
import time

import pytest

import audit
from client import Client, Refused
from conftest import PIPELINES, Tenant, running_stack
from receiver import Receiver, make, state
from stack import http, wait_for
from traffic import Traffic

DOCUMENT = "A penstock feeds a turbine. The gate decides how much water goes through. " * 4


@pytest.fixture(scope="module")
def broken():
    """Short waits, so that what is waited for in a test is what happens and not a default."""
    with running_stack(edges=2, routers=2, workers=2, stores=1, env={
        "worker": {"PENSTOCK_WORKER_ACK_WAIT_MS": 2000, "PENSTOCK_WORKER_GRACE_MS": 2000},
        "edge": {"PENSTOCK_EDGE_COMMAND_MS": 1500, "PENSTOCK_EDGE_DRAIN_MS": 500}}) as stack:
        yield stack


@pytest.fixture
def stack(broken):
    """Whole again at the start of each test, whatever the one before has left."""
    for name in broken.names():
        broken.start_one(name)
    broken.wait_ready()
    return broken


async def test_worker_killed_in_a_stage(stack, tenant):
    """Another resumes behind the last completed stage; what the dead one streamed is void."""
    async with Client(stack.edge_url, tenant.key) as c:
        task = (await c.task("slow", DOCUMENT, "resumed"))["task"]
        channel = f"task.{task}"
        await c.wait(lambda f: f["op"] == "delta" and f["task"] == task)
        first = c.events(channel, "task.started")[0]["data"]
        stack.kill(first["worker"])
        # Who comes now gets the answer that is being made, and nothing of what the dead one said.
        await c.wait(lambda f: f["op"] == "delta" and f["task"] == task and f["attempt"] == 2 and f["index"] >= 2)
        async with Client(stack.edge_url, tenant.key) as late:
            await late.subscribe(channel)
            end = await late.wait_end(task)
            assert [(f["op"], f["attempt"]) for f in late.frames if f["op"] in ("delta", "reset")][:2] == [("reset", 2), ("delta", 2)]
            text = [(d["attempt"], d["index"]) for d in late.deltas(task, "talk")]
            assert text == [(2, i) for i in range(len(text))]
            assert "".join(d["data"] for d in late.deltas(task, "talk")) == end["data"]["output"]["text"]
        end = await c.wait_end(task)
        assert end["type"] == "task.completed", end
        runs = [f["data"] for f in c.events(channel, "task.started")]
        assert [r["run"] for r in runs] == [1, 2] and runs[1]["worker"] != first["worker"]
        assert runs[1]["claim"] == runs[0]["claim"]
        starts = [(f["data"]["stage"], f["data"]["attempt"]) for f in c.events(channel, "task.stage.started")]
        assert starts == [("first", 1), ("talk", 1), ("talk", 2), ("last", 1)]
        reset = [f for f in c.frames if f["op"] == "reset" and f["task"] == task]
        assert [(f["stage"], f["attempt"]) for f in reset] == [("talk", 2)]
        again = [d for d in c.deltas(task, "talk") if d["attempt"] == 2]
        assert [d["index"] for d in again] == sorted({d["index"] for d in again})
        assert "".join(d["data"] for d in again) == end["data"]["output"]["text"]
        assert c.frames.index(reset[0]) < c.frames.index(again[0])
    audit.check_task(stack, tenant.id, task, [s["id"] for s in PIPELINES["slow"]])


def metric(stack, name, what):
    text = http("GET", stack.url(f"admin-{name}") + "/metrics")[2]
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(what))


async def test_worker_that_comes_back_too_late(stack, tenant):
    """Frozen in a stage until another has taken over and ended the task; what it then writes is refused by the
    stream, and nothing is there twice."""
    async with Client(stack.edge_url, tenant.key) as c:
        task = (await c.task("slow", DOCUMENT, "late"))["task"]
        channel = f"task.{task}"
        await c.wait(lambda f: f["op"] == "delta" and f["task"] == task)
        worker = c.events(channel, "task.started")[0]["data"]["worker"]
        lost = ("penstock_worker_writes_fenced_total", 'penstock_worker_tasks_total{result="ended_elsewhere"}')
        before = sum(metric(stack, worker, what) for what in lost)
        os.kill(stack.pid(worker), signal.SIGSTOP)
        try:
            end = await c.wait_end(task)
        finally:
            os.kill(stack.pid(worker), signal.SIGCONT)
        assert end["type"] == "task.completed", end
        assert [f["data"]["worker"] == worker for f in c.events(channel, "task.started")] == [True, False]
        wait_for("the late write to be refused, or the heartbeat to say that it would be",
                 lambda: sum(metric(stack, worker, what) for what in lost) > before)
        # What it streamed late belongs to a lower attempt, and the log is as the other one left it.
        again = [d for d in c.deltas(task, "talk") if d["attempt"] == 2]
        assert "".join(d["data"] for d in again) == end["data"]["output"]["text"]
    audit.check_task(stack, tenant.id, task, [s["id"] for s in PIPELINES["slow"]])


# Who is killed, the commands stop or not.
@pytest.mark.parametrize("name", ["router-1", "worker-1", "store-1", "postgres", "control-1", "edge-1", "nats"])
def test_killed_under_load(stack, tenant, name):
    with Traffic(stack, tenant) as t:
        t.go_on()
        stack.kill(name)
        if name != "nats":
            t.go_on(timeout=30)  # nobody waits for it to come back
        stack.start_one(name)
        stack.wait_ready()
        t.go_on()
        t.see_live()
    t.verify()


def test_killed_again_and_again(stack, tenant):
    """Before the last one's death is digested, the next one dies."""
    with Traffic(stack, tenant) as t:
        for name in ("router-1", "store-1", "router-2", "worker-2", "postgres", "edge-2", "nats", "worker-1"):
            t.go_on(3)
            stack.kill(name)
            stack.start_one(name)
        stack.wait_ready()
        t.go_on()
    t.verify()


@pytest.mark.parametrize("names", [["store-1"], ["postgres"], ["store-1", "postgres"]], ids="+".join)
def test_live_goes_on_without_the_log(stack, tenant, names):
    with Traffic(stack, tenant) as t:
        t.go_on()
        for name in names:
            stack.kill(name)
        t.go_on(20)
        t.see_live(20)
        for name in names:
            stack.start_one(name)
        stack.wait_ready()
    assert not t.refused, t.refused[:3]
    assert not t.lost
    t.verify()


async def test_everything_runs_without_the_control_plane(stack, tenant):
    stack.kill("control-1")
    async with Client(stack.url("edge-1"), tenant.key) as a, Client(stack.url("edge-2"), tenant.key) as b:
        await b.subscribe("room.1")
        answer = await a.publish("room.1", {"n": 1})
        assert (await b.wait_event("room.1", "chat.message"))["event_id"] == answer["event_id"]
        task = (await a.task("quick", DOCUMENT, "without"))["task"]
        assert (await a.wait_end(task))["type"] == "task.completed"
    assert tenant.http("GET", "/v1/channels/room.1/events?after=0&limit=10")[0] == 200
    audit.check_events(stack, tenant.id, [("room.1", {"n": 1}, answer)])
    audit.check_task(stack, tenant.id, task, [s["id"] for s in PIPELINES["quick"]])


async def test_sockets_stay_without_nats(stack, tenant):
    async with Client(stack.edge_url, tenant.key) as c:
        await c.subscribe("room.1")
        before = await c.publish("room.1", {"n": 1}, key="before")
        stack.kill("nats")
        for ask in (lambda: c.publish("room.1", {"n": 2}, key="during"),
                    lambda: c.publish("room.1", {"x": 2}, type="cursor.move"),
                    lambda: c.task("noop", {"n": 2}, "during")):
            with pytest.raises(Refused) as refused:
                await ask()
            frame = refused.value.frame
            assert frame["code"] == "unavailable" and frame["temporary"] and frame["retry_after_ms"] > 0, frame
        status, head, problem = tenant.http("POST", "/v1/events", {"channel": "room.1", "type": "chat.message",
                                                                  "data": {}})
        assert status == 503 and problem["code"] == "unavailable" and int(head["Retry-After"]) >= 1
        assert (await c.call(op="ping"))["op"] == "pong"
        assert http("GET", stack.url("admin-edge-1") + "/livez")[0] == 200
        stack.start_one("nats")
        stack.wait_ready()
        # The same socket, the same keys.
        again = await c.publish("room.1", {"n": 1}, key="before")
        assert again["duplicate"] and again["event_id"] == before["event_id"]
        after = await c.publish("room.1", {"n": 2}, key="during")
        await c.wait(lambda f: f["op"] == "event" and f["data"] == {"n": 2})
        task = (await c.task("noop", {"n": 2}, "during"))["task"]
        assert (await c.wait_end(task))["type"] == "task.completed"
        assert [f["data"] for f in c.events("room.1")] == [{"n": 1}, {"n": 2}]
    audit.check_events(stack, tenant.id, [("room.1", {"n": 1}, before), ("room.1", {"n": 2}, after)])


def test_router_killed_with_many_commands_in_flight(stack, tenant):
    """Both routers, twice, with all commands of many publishers under way: each key is one event."""
    with Traffic(stack, tenant, publishers=12, taskers=4) as t:
        for name in ("router-1", "router-2"):
            t.go_on(5)
            stack.restart(name)
        t.go_on(5)
    t.verify()


def test_stopped_in_the_polite_way_under_load(stack, tenant):
    """SIGTERM of each in turn: a rolling restart loses nothing and refuses nobody for good."""
    with Traffic(stack, tenant) as t:
        for name in ("router-1", "worker-1", "store-1", "control-1", "edge-1"):
            t.go_on(5)
            assert stack.kill(name, signal.SIGTERM) == 0, name
            stack.start_one(name)
            stack.wait_ready(name)
        t.go_on(5)
    t.verify()


def test_tenant_made_after_a_restart_of_everything(stack):
    """The configuration's watch lives on: a new tenant is known everywhere afterwards."""
    for name in ("nats", "postgres"):
        stack.kill(name)
        stack.start_one(name)
    stack.wait_ready()
    fresh = Tenant(stack)
    status, _, _ = wait_for("its first event", lambda: fresh.http(
        "POST", "/v1/events", {"channel": "room.1", "type": "chat.message", "data": 1}))
    assert status == 202


async def test_everybody_killed_in_a_webhook(stack, tenant):
    """The requests were made and nobody heard the answers: all of them are delivered once more, and then no more."""
    receiver = Receiver()
    try:
        receiver.hold.clear()
        hook = make(stack, tenant, receiver, "/hang", concurrent=2)
        async with Client(stack.edge_url, tenant.key) as c:
            acked = [await c.publish("room.1", {"n": i}) for i in range(6)]
        wait_for("requests", lambda: len(receiver.of("/hang")) >= 2)
        for name in ("store-1", "worker-1", "worker-2"):
            stack.kill(name)
        receiver.hold.set()
        for name in ("store-1", "worker-1", "worker-2"):
            stack.start_one(name)
        wait_for("all of it", lambda: state(stack, tenant, hook)["delivered"] == 6, 60)
        assert {r["id"] for r in receiver.of("/hang")} == {a["event_id"] for a in acked}
        doc = state(stack, tenant, hook)
        assert doc["queued"] == 0 and doc["failures"] == 0, "what nobody heard of is no attempt"
    finally:
        receiver.close()


def test_store_killed_while_schedules_fire(stack, tenant):
    """Killed between asking and noting, at whatever point: each due time is one task, and none is left out."""
    n = 40
    for i in range(n):
        stack.control().put(f"/tenants/{tenant.id}/schedules/s{i}", {"cron": "0 0 1 1 *", "pipeline": "noop"})

    def fired():
        return audit.rows(stack, "SELECT count(*) FROM control.schedules WHERE tenant = %s AND runs > 0", tenant.id)[0][0]
    store = "store-1"
    stack.kill(store)
    audit.execute(stack, "UPDATE control.schedules SET next_at = date_trunc('second', now()), doc = (doc::jsonb ||"
                  " '{\"missed\": \"run_once\"}')::json WHERE tenant = %s", tenant.id)
    for least in (1, n // 2, n):
        stack.start_one(store)
        wait_for(f"{least} schedules", lambda: fired() >= least, 60, 0.02)
        if least < n:
            stack.kill(store)
    wait_for("their tasks", lambda: audit.rows(
        stack, "SELECT count(*), count(DISTINCT task) FROM tasks WHERE tenant = %s AND state = 'completed'",
        tenant.id) == [(n, n)], 60)
    assert audit.rows(stack, "SELECT count(*) FROM events WHERE tenant = %s AND type = 'task.accepted'", tenant.id) == [(n,)]


def test_killed_while_delayed_tasks_fall_due(stack, tenant):
    """The store, a router, a worker, one after the other while the times come: each task runs, once, and none before its time."""
    n, names = 60, ("store-1", "router-1", "worker-1", "store-1", "router-2", "worker-2")
    first = time.time() + 3
    due, keys = {}, [f"k{i}" for i in range(n)]
    for i, key in enumerate(keys):
        at = datetime.datetime.fromtimestamp(first + i / 10, datetime.timezone.utc)
        code, _, answer = tenant.http("POST", "/v1/tasks", {"pipeline": "noop", "key": key, "input": i, "not_before": at.isoformat()})
        assert code == 202, answer
        due[answer["task"]] = at.timestamp()
    assert len(due) == n

    def begun():
        return audit.rows(stack, "SELECT count(DISTINCT channel) FROM events WHERE tenant = %s AND type = 'task.started'", tenant.id)[0][0]
    for i, name in enumerate(names):
        wait_for(f"{i * 8} tasks", lambda: begun() >= i * 8, 60, 0.02)
        stack.kill(name)
        stack.start_one(name)
    for task in due:
        audit.check_task(stack, tenant.id, task, [s["id"] for s in PIPELINES["noop"]])
    early = audit.rows(stack, "SELECT channel, type, extract(epoch FROM time)::float8 FROM events WHERE tenant = %s AND"
                       " channel LIKE 'task.%%' AND type <> 'task.accepted'", tenant.id)
    assert {channel for channel, _, _ in early} == {f"task.{task}" for task in due}
    assert not [row for row in early if row[2] < due[row[0].removeprefix("task.")] - 0.001]  # a time is kept in ms
    assert audit.rows(stack, "SELECT count(*) FROM tasks WHERE tenant = %s", tenant.id) == [(n,)]


async def test_store_killed_in_mid_replay(stack, tenant):
    """Between asking and noting, at whatever point: a channel sees each event, and each starts one task."""
    n, store = 120, "store-1"
    async with Client(stack.edge_url, tenant.key) as c:
        acked = await asyncio.gather(*(c.publish("room.1", {"n": i}) for i in range(n)))
        want = [a["event_id"] for a in acked]
        await asyncio.to_thread(audit.wait_stored, stack, tenant.id, want)
        await c.subscribe("again")
        post = stack.control().call
        body = {"tenant": tenant.id, "channel": "room.1", "per_s": 60}
        ids = [post("POST", "/replays", {**body, **target})[2]["id"] for target in ({"target": "again"}, {"pipeline": "noop"})]

        def sent():
            return [post("GET", f"/replays/{id}")[2]["sent"] for id in ids]
        for least in (1, n // 2, n):
            stack.start_one(store)
            await asyncio.to_thread(wait_for, f"{least} events", lambda: min(sent()) >= least, 60, 0.02)
            if least < n:
                stack.kill(store)
        seen = [f["event_id"] for f in c.frames if f["op"] == "event" and f["channel"] == "again"]
        assert set(seen) == set(want), "an event was left out"
    assert sent() == [n, n]
    rows = audit.rows(stack, "SELECT key FROM events WHERE tenant = %s AND type = 'task.accepted'", tenant.id)
    assert sorted(r[0] for r in rows) == sorted(f"replay.{ids[1]}.{id}" for id in want)
    wait_for("their tasks", lambda: audit.rows(
        stack, "SELECT count(*) FROM tasks WHERE tenant = %s AND state = 'completed'", tenant.id) == [(n,)], 60)


def test_store_killed_while_triggers_fire(stack, tenant):
    """Killed between looking, asking and noting, at whatever point: each event is one task, and none is left out."""
    n = 40
    stack.control().put(f"/tenants/{tenant.id}/triggers/t", {"type": "chat.message", "channel": "room.*", "pipeline": "noop"})
    store = "store-1"
    stack.kill(store)
    for i in range(n):
        assert tenant.http("POST", "/v1/events", {"channel": "room.1", "type": "chat.message", "data": i})[0] == 202

    def fired():
        return audit.rows(stack, "SELECT started FROM control.triggers WHERE tenant = %s", tenant.id)[0][0]
    for least in (1, n // 2, n):
        stack.start_one(store)
        wait_for(f"{least} events", lambda: fired() >= least, 60, 0.02)
        if least < n:
            stack.kill(store)
    wait_for("their tasks", lambda: audit.rows(
        stack, "SELECT count(*), count(DISTINCT task) FROM tasks WHERE tenant = %s AND state = 'completed'",
        tenant.id) == [(n, n)], 60)
    assert audit.rows(stack, "SELECT count(*), count(DISTINCT key) FROM events WHERE tenant = %s AND type = 'task.accepted'",
                      tenant.id) == [(n, n)] and fired() == n
