"""Bounds and what is said at them: of a connection, of a tenant, of a model target, of time."""
import asyncio
import datetime
import os
import secrets
import signal
import time

import pytest
import websockets

import audit
from client import Client, Refused
from conftest import Tenant, chat, end_stack, make_stack, provision
from stack import http, wait_for


@pytest.fixture(scope="module")
def narrow():
    """An edge with little room."""
    stack = make_stack(env={"edge": {"PENSTOCK_EDGE_CONNECT_MS": 400, "PENSTOCK_EDGE_IN_FLIGHT": 4,
                                     "PENSTOCK_EDGE_PING_MS": 300, "PENSTOCK_EDGE_PONG_MS": 100,
                                     "PENSTOCK_EDGE_CONNECTIONS": 5, "PENSTOCK_EDGE_SUBSCRIPTIONS": 3}})
    try:
        yield provision(stack.start())
    finally:
        end_stack(stack)


async def test_who_does_not_connect_is_closed(narrow):
    c = await Client(narrow.edge_url).open()
    start = time.monotonic()
    assert await c.wait_close(5) == 4001
    assert 0.2 <= time.monotonic() - start < 3
    frame = [f for f in c.frames if f["op"] == "error"]
    assert all(f["code"] == "unauthenticated" for f in frame)


async def test_subscriptions_of_a_connection(stack, tenant):
    async with Client(stack.edge_url, tenant.key) as c:
        most = 128
        await asyncio.gather(*[c.subscribe(f"room.{i}") for i in range(most)])
        with pytest.raises(Refused) as refused:
            await c.subscribe("one.more")
        frame = refused.value.frame
        assert frame["code"] == "overloaded" and frame["details"]["limit"] == "connection.subscriptions"
        with pytest.raises(Refused) as refused:
            await c.subscribe("room.0")
        assert refused.value.code == "conflict"
        await c.call(op="unsubscribe", channel="room.0")
        await c.subscribe("one.more")
        await c.publish("one.more", {"n": 1})
        await c.wait_event("one.more", "chat.message")


async def test_commands_in_flight(narrow):
    """More than four at once without an answer: refused at once, and the others are answered."""
    t = Tenant(narrow)
    routers = [narrow.pid(name) for name in narrow.names() if name.startswith("router-")]
    async with Client(narrow.edge_url, t.key) as c:
        for pid in routers:  # so that nothing is answered before all is sent
            os.kill(pid, signal.SIGSTOP)
        try:
            calls = [asyncio.ensure_future(c.publish("room.1", {"n": i}, key=f"k{i}")) for i in range(60)]
            while sum(call.done() for call in calls) < 56:
                await asyncio.sleep(0.01)
        finally:
            for pid in routers:
                os.kill(pid, signal.SIGCONT)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        good = [a for a in answers if isinstance(a, dict)]
        bad = [a for a in answers if not isinstance(a, dict)]
        assert len(good) == 4 and len(bad) == 56
        for refused in bad:
            assert refused.code == "overloaded" and refused.frame["temporary"], refused.frame
            assert refused.frame["retry_after_ms"] > 0
    audit.check_events(narrow, t.id, [("room.1", {"n": i}, a) for i, a in enumerate(answers) if isinstance(a, dict)])


async def test_connections_of_an_edge(narrow):
    t = Tenant(narrow)
    there = []
    try:
        for _ in range(5):
            there.append(await Client(narrow.edge_url, t.key).__aenter__())
        with pytest.raises(websockets.InvalidStatusCode) as refused:
            await Client(narrow.edge_url).open({"Authorization": f"Bearer {t.key}"})
        assert refused.value.status_code == 503 and int(refused.value.headers["Retry-After"]) >= 1
        await there[0].call(op="ping")
    finally:
        for c in there:
            await c.__aexit__()
    wait_for("room for another", lambda: "penstock_edge_connections 0" in http(
        "GET", narrow.url("admin-edge-1") + "/metrics")[2])
    async with Client(narrow.edge_url, t.key) as c:
        await c.call(op="ping")


async def test_a_peer_without_pongs_is_closed(narrow):
    t = Tenant(narrow)
    c = Client(narrow.edge_url, t.key)
    async with c:
        async def silent(*a):
            return None
        c.ws.pong = silent  # by which the library answers
        assert await c.wait_close(5) == 4103


async def test_burst_then_rate(stack):
    """As much as the burst at once, and what comes later at the rate: GCRA, on the router's clock."""
    t = Tenant(stack, {"events_per_s": 20, "burst": 20})
    async with Client(stack.edge_url, t.key) as c:
        wait = 0
        for i in range(200):  # until it is empty
            try:
                await c.publish("room.1", {"n": i})
            except Refused as e:
                assert e.code == "rate_limited" and e.frame["details"]["limit"] == "tenant.events_per_s", e.frame
                wait = e.frame["retry_after_ms"]
                break
        assert 0 < wait <= 1000
        start, n = time.monotonic(), 0
        while n < 20:
            try:
                await c.publish("room.1", {"m": n})
                n += 1
            except Refused as e:
                await asyncio.sleep(e.frame["retry_after_ms"] / 1000)
        assert 0.5 <= time.monotonic() - start < 10  # 20 more at 20/s


async def test_limits_change_while_it_runs(stack):
    t = Tenant(stack, {"events_per_s": 1, "burst": 1, "mode": "enforce"})

    def statuses():
        return [t.http("POST", "/v1/events", {"channel": "r", "type": "chat.message", "data": 1})[0] for _ in range(5)]
    wait_for("the limit", lambda: 429 in statuses())
    c = stack.control()
    tag = c.call("GET", f"/tenants/{t.id}/limits")[1]["ETag"]
    c.call("PUT", f"/tenants/{t.id}/limits", {"events_per_s": 1, "burst": 1, "mode": "shadow"}, headers={"If-Match": tag})
    wait_for("the shadow", lambda: statuses() == [202] * 5)
    limited = [line for i in (1, 2) for line in http("GET", stack.url(f"admin-router-{i}") + "/metrics")[2].splitlines()
               if "limited" in line and "shadow" in line and not line.endswith(" 0")]
    assert limited, "what would have been refused is counted"


# --- models ---------------------------------------------------------------------------------

@pytest.fixture
def model(stack):
    """model("hang_rate=1"): a pipeline of one call to a model of its own with that behaviour."""
    def make(knobs, **more):
        name = "sim-" + secrets.token_hex(5)
        c = stack.control()
        turned = {k: float(v) for k, v in (knob.split("=") for knob in knobs.split(","))}
        assert http("POST", stack.modelsim_url + "/sim/knobs", {"model": name, **turned})[0] == 200
        c.model(name, stack.modelsim_url + "/v1", model=name)
        c.pipeline(name, [chat("talk", name, **more)])
        return name
    return make


async def run(stack, tenant, pipeline, **more):
    """(frames of the task's transitions)"""
    async with Client(stack.edge_url, tenant.key) as c:
        accepted = await wait_task(c, pipeline, more)
        await c.wait_end(accepted["task"])
        frames = c.events(accepted["channel"])
    audit.wait_task(stack, tenant.id, accepted["task"])
    return frames


async def wait_task(c, pipeline, more):
    """The router hears of a new pipeline by watch."""
    for _ in range(200):
        try:
            return await c.task(pipeline, "One. Two. Three.", "k", **more)
        except Refused as e:
            assert e.code == "not_found", e
            await asyncio.sleep(0.02)
    raise AssertionError(f"{pipeline} is not known")


def failures(frames):
    return [f["data"] for f in frames if f["type"] == "task.stage.failed"]


async def test_a_failing_model(stack, tenant, model):
    frames = await run(stack, tenant, model("fail_rate=1,fail_status=503", retry={
        "max_attempts": 3, "initial_ms": 10, "factor": 2, "max_ms": 50}))
    failed = failures(frames)
    assert [f["attempt"] for f in failed] == [1, 2, 3]
    assert [f["final"] for f in failed] == [False, False, True]
    assert all(f["reason"] and f["message"] for f in failed) and all("retry_at" in f for f in failed[:2])
    end = frames[-1]
    assert end["type"] == "task.failed" and end["data"]["stage"] == "talk" and end["data"]["reason"]


async def test_a_model_that_recovers(stack, tenant, model):
    frames = await run(stack, tenant, model("fail_rate=1,fail_status=500,fail_count=2"))
    assert [f["attempt"] for f in failures(frames)] == [1, 2]
    assert frames[-1]["type"] == "task.completed" and frames[-1]["data"]["output"]["text"]


async def test_a_request_that_is_wrong_is_not_repeated(stack, tenant, model):
    frames = await run(stack, tenant, model("fail_rate=1,fail_status=400"))
    assert [(f["attempt"], f["final"]) for f in failures(frames)] == [(1, True)]
    assert frames[-1]["type"] == "task.failed"


async def test_a_stream_that_is_cut(stack, tenant, model):
    """What came before the cut is void: a reset, and the whole answer again."""
    name = model("cut_rate=1,cut_after=2,cut_count=1,token_ms=60")
    async with Client(stack.edge_url, tenant.key) as c:
        task = (await wait_task(c, name, {}))["task"]
        end = await c.wait_end(task)
        assert end["type"] == "task.completed"
        assert [f["attempt"] for f in c.frames if f["op"] == "reset"] == [2]
        assert "".join(d["data"] for d in c.deltas(task, "talk") if d["attempt"] == 2) == end["data"]["output"]["text"]


async def test_a_model_that_hangs(stack, tenant, model):
    frames = await run(stack, tenant, model("hang_rate=1,hang_count=1", timeout_ms=400))
    assert len(failures(frames)) == 1 and "time" in failures(frames)[0]["reason"]
    assert frames[-1]["type"] == "task.completed"


async def test_retry_after_is_honoured(stack, tenant, model):
    frames = await run(stack, tenant, model("fail_rate=1,fail_status=429,fail_count=1,retry_after=2"))
    failed = failures(frames)
    assert len(failed) == 1 and frames[-1]["type"] == "task.completed"
    starts = [f for f in frames if f["type"] == "task.stage.started"]
    when = [_ms(f["time"]) for f in starts]
    assert when[1] - when[0] >= 1950, "the other side said two seconds"
    assert failed[0]["retry_at"] - when[0] >= 1950


def _ms(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000


async def test_a_deadline(stack, tenant, model):
    start = time.monotonic()
    frames = await run(stack, tenant, model("hang_rate=1"), deadline_ms=500)
    assert frames[-1]["type"] == "task.expired" and time.monotonic() - start < 10
    assert [f["type"] for f in frames].count("task.stage.started") == 1


async def test_cancel_while_it_waits_for_a_retry(stack, tenant, model):
    name = model("fail_rate=1,fail_status=503", retry={"max_attempts": 5, "initial_ms": 60000, "factor": 1, "max_ms": 60000})
    async with Client(stack.edge_url, tenant.key) as c:
        task = (await wait_task(c, name, {}))["task"]
        await c.wait_event(f"task.{task}", "task.stage.failed")
        await c.call(op="cancel", task=task)
        assert (await c.wait_end(task))["type"] == "task.cancelled"
        again = await c.call(op="cancel", task=task)  # twice is once
        assert again["task"] == task
    audit.check_task(stack, tenant.id, task, [], "cancelled")


async def test_one_model_down_does_not_hold_up_another(stack, tenant, model):
    bad = model("hang_rate=1", timeout_ms=5000)
    async with Client(stack.edge_url, tenant.key) as c:
        await wait_task(c, bad, {})
        for i in range(20):
            await c.task(bad, {"document": f"{i}."}, f"bad-{i}")
        start = time.monotonic()
        task = (await c.task("quick", {"document": "One. Two."}, "good"))["task"]
        assert (await c.wait_end(task))["type"] == "task.completed"
        assert time.monotonic() - start < 3


async def test_tokens_a_minute(stack):
    """What a minute has passes at once; the next task says when there is room again, and another tenant goes on."""
    stack.control().pipeline("thousand", [chat("talk", "slow", max_tokens=1000)])
    t, other = Tenant(stack, {"tokens_per_min": 3600}), Tenant(stack)
    async with Client(stack.edge_url, t.key) as c, Client(stack.edge_url, other.key) as d:
        tasks = []
        with pytest.raises(Refused) as refused:
            while len(tasks) < 60:  # a token in 16 ms
                tasks.append((await c.task("thousand", "Text.", f"k{len(tasks)}"))["task"])
        frame = refused.value.frame
        assert frame["code"] == "rate_limited" and frame["scope"] == "tenant" and frame["temporary"], frame
        assert frame["details"]["limit"] == "tenant.tokens_per_min" and 0 < frame["retry_after_ms"] <= 60000, frame
        assert len(tasks) >= 3
        await c.task("noop", {}, "no-model")  # takes no tokens
        tasks_of_other = [(await d.task("thousand", "Text.", f"k{i}"))["task"] for i in range(4)]
        for task in tasks:
            assert (await c.wait_end(task))["type"] == "task.completed"
        for task in tasks_of_other:
            assert (await d.wait_end(task))["type"] == "task.completed"


async def test_tokens_a_minute_are_settled(stack, model):
    """Each task is charged a minute's worth when it is let in, and gets back at its end what it did not take."""
    name = model("fail_rate=0", max_tokens=1000)
    t = Tenant(stack, {"tokens_per_min": 1100})
    async with Client(stack.edge_url, t.key) as c:
        await wait_task(c, name, {})

        async def next_one(i):
            while True:
                try:
                    return (await c.task(name, {"document": "Text."}, f"k{i}"))["task"]
                except Refused as refused:
                    assert refused.frame["details"]["limit"] == "tenant.tokens_per_min", refused.frame
                    await asyncio.sleep(0.05)

        for i in range(5):
            task = await asyncio.wait_for(next_one(i), 20)
            assert (await c.wait_end(task))["type"] == "task.completed"
