"""One idempotency key, at most one event or task (DESIGN 4, 9.2), by whichever door it comes."""
import asyncio

import pytest

import audit
from client import Client, Refused
from conftest import PIPELINES
from stack import http

STAGES = [s["id"] for s in PIPELINES["noop"]]


async def test_event_key_twice_and_with_another_payload(stack, tenant):
    async with Client(stack.edge_url, tenant.key) as c, Client(stack.url("edge-2"), tenant.key) as other:
        await c.subscribe("room.1")
        one = await c.publish("room.1", {"n": 1}, key="k1")
        two = await c.publish("room.1", {"n": 1}, key="k1")
        three = await other.publish("room.1", {"n": 1}, key="k1")
        assert not one["duplicate"] and two["duplicate"] and three["duplicate"]
        assert {a["event_id"] for a in (two, three)} == {one["event_id"]}
        assert {a["offset"] for a in (two, three)} == {one["offset"]}
        status, _, four = tenant.http("POST", "/v1/events", {"channel": "room.1", "type": "chat.message",
                                                            "data": {"n": 1}}, headers={"Idempotency-Key": "k1"})
        assert status == 202 and four["duplicate"] and four["event_id"] == one["event_id"]

        with pytest.raises(Refused) as refused:
            await other.publish("room.1", {"n": 2}, key="k1")
        assert refused.value.code == "conflict"
        status, _, problem = tenant.http("POST", "/v1/events", {"channel": "room.1", "type": "chat.message",
                                                               "key": "k1", "data": {"n": 3}})
        assert status == 422 and problem["code"] == "conflict"

        await c.publish("room.1", {"fence": 1})
        await c.wait(lambda f: f["op"] == "event" and f["data"] == {"fence": 1})
        assert [f["data"] for f in c.events("room.1")] == [{"n": 1}, {"fence": 1}]
    audit.check_events(stack, tenant.id, [("room.1", {"n": 1}, one)])


async def test_event_key_at_the_same_time(stack, tenant):
    """Twenty at once from two connections on two edges, and by HTTP: one event."""
    async with Client(stack.url("edge-1"), tenant.key) as a, Client(stack.url("edge-2"), tenant.key) as b:
        loop = asyncio.get_running_loop()
        asks = [c.publish("room.2", {"same": True}, key="race") for _ in range(8) for c in (a, b)]
        asks += [loop.run_in_executor(None, lambda e=e: http(
            "POST", stack.url(e) + "/v1/events", {"channel": "room.2", "type": "chat.message", "key": "race",
                                                  "data": {"same": True}}, tenant.key)[2])
                 for e in ("edge-1", "edge-2") for _ in range(2)]
        answers = await asyncio.gather(*asks)
    assert len({a["event_id"] for a in answers}) == 1, answers
    assert len({a["offset"] for a in answers}) == 1, answers
    assert sum(not a["duplicate"] for a in answers) == 1, answers
    audit.check_events(stack, tenant.id, [("room.2", {"same": True}, answers[0])])
    assert len(audit.channel_rows(stack, tenant.id, "room.2")) == 1


async def test_different_payloads_at_the_same_time(stack, tenant):
    """One wins; every other is told so."""
    async with Client(stack.url("edge-1"), tenant.key) as a, Client(stack.url("edge-2"), tenant.key) as b:
        answers = await asyncio.gather(*[c.publish("room.3", {"n": i}, key="race") for i, c in enumerate([a, b] * 5)],
                                       return_exceptions=True)
    won = [a for a in answers if isinstance(a, dict)]
    lost = [a for a in answers if not isinstance(a, dict)]
    assert len(won) == 1 and {a.code for a in lost} == {"conflict"}, answers
    audit.wait_stored(stack, tenant.id, [won[0]["event_id"]])
    assert len(audit.channel_rows(stack, tenant.id, "room.3")) == 1


async def test_task_key(stack, tenant):
    async with Client(stack.url("edge-1"), tenant.key) as a, Client(stack.url("edge-2"), tenant.key) as b:
        asks = [c.task("noop", {"n": 1}, "t1") for _ in range(5) for c in (a, b)]
        loop = asyncio.get_running_loop()
        asks.append(loop.run_in_executor(None, lambda: tenant.http(
            "POST", "/v1/tasks", {"pipeline": "noop", "key": "t1", "input": {"n": 1}})[2]))
        answers = await asyncio.gather(*asks)
        assert len({x["task"] for x in answers}) == 1, answers
        assert sum(not x["duplicate"] for x in answers) == 1, answers
        task = answers[0]["task"]
        await a.wait_end(task)
        again = await b.task("noop", {"n": 1}, "t1")  # also after it has ended
        assert again["task"] == task and again["duplicate"]
        for more in ({"pipeline": "noop", "input": {"n": 2}}, {"pipeline": "quick", "input": {"n": 1}}):
            with pytest.raises(Refused) as refused:
                await a.task(key="t1", **more)
            assert refused.value.code == "conflict"
        assert tenant.http("POST", "/v1/tasks", {"pipeline": "noop", "key": "t1", "input": 5})[0] == 422
    audit.check_task(stack, tenant.id, task, STAGES)


async def test_a_key_is_told_apart_by_kind(stack, tenant):
    """The same word for an event and for a task is two things."""
    async with Client(stack.edge_url, tenant.key) as c:
        event = await c.publish("room.1", {"n": 1}, key="word")
        task = await c.task("noop", {"n": 1}, "word")
        assert not event["duplicate"] and not task["duplicate"]
        await c.wait_end(task["task"])
