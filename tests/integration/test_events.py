"""Events between clients: classes, order, replay, and the limits of a tenant."""
import asyncio
import json
import re
import time

import pytest

import audit
import rawws
from client import Client, Refused
from conftest import Tenant
from stack import http, wait_for


async def test_durable_events_reach_everybody_in_order(stack, tenant):
    async with Client(stack.url("edge-1"), tenant.key) as pub, Client(stack.url("edge-1"), tenant.key) as s1, \
            Client(stack.url("edge-2"), tenant.key) as s2:
        for c in (s1, s2):
            at = await c.subscribe("room.1")
            assert at["offset"] == 0 and len(at["epoch"]) == 16
        acked = []
        for i in range(50):
            acked.append(("room.1", {"n": i}, await pub.publish("room.1", {"n": i}, key=f"k{i}")))
        for c in (s1, s2):
            await c.wait(lambda f: f["op"] == "event" and f["data"] == {"n": 49})
            got = c.events("room.1")
            assert [f["data"]["n"] for f in got] == list(range(50))
            assert [f["offset"] for f in got] == [a["offset"] for _, _, a in acked]
            assert [f["prev"] for f in got] == [0] + [a["offset"] for _, _, a in acked[:-1]]
            assert all(f["type"] == "chat.message" and f["version"] == 1 and f["time"].endswith("Z") for f in got)
    audit.check_events(stack, tenant.id, acked)


async def test_subscribe_after_an_offset(stack, tenant):
    """The log first and then live, without a hole, from wherever one left."""
    async with Client(stack.edge_url, tenant.key) as pub:
        answers = [await pub.publish("room.1", {"n": i}) for i in range(20)]
        async with Client(stack.url("edge-2"), tenant.key) as c:
            fresh = await c.subscribe("room.9")
            task = asyncio.create_task(c.subscribe(
                "room.1", {"epoch": fresh["epoch"], "offset": answers[9]["offset"]}))
            more = [await pub.publish("room.1", {"n": i}) for i in range(20, 40)]
            assert (await task)["recovered"] is True
            await c.wait(lambda f: f["op"] == "event" and f["data"] == {"n": 39})
            assert [f["data"]["n"] for f in c.events("room.1")] == list(range(10, 40))
            assert c.events("room.1")[-1]["offset"] == more[-1]["offset"]
        async with Client(stack.edge_url, tenant.key) as c:
            await c.subscribe("room.1", {"epoch": fresh["epoch"], "offset": 0})
            await c.wait(lambda f: f["op"] == "event" and f["data"] == {"n": 39})
            assert [f["data"]["n"] for f in c.events("room.1")] == list(range(40))
        async with Client(stack.edge_url, tenant.key) as c:  # an epoch that is not ours is said, never silence
            answer = await c.subscribe("room.1", {"epoch": "00000000deadbeef", "offset": 5})
            assert answer["recovered"] is False and answer["epoch"] == fresh["epoch"]


async def test_history_pages(stack, tenant):
    async with Client(stack.edge_url, tenant.key) as c:
        answers = [await c.publish("room.1", {"n": i}) for i in range(25)]
    audit.wait_stored(stack, tenant.id, [a["event_id"] for a in answers])
    seen, after = [], 0
    while True:
        status, _, page = tenant.http("GET", f"/v1/channels/room.1/events?after={after}&limit=10")
        assert status == 200 and len(page["events"]) <= 10
        if not page["events"]:
            break
        seen += page["events"]
        after = page["events"][-1]["offset"]
    assert [e["data"]["n"] for e in seen] == list(range(25))
    assert [e["offset"] for e in seen] == [a["offset"] for a in answers]


async def test_ephemeral_events_are_live_only(stack, tenant):
    async with Client(stack.url("edge-1"), tenant.key) as pub, Client(stack.url("edge-2"), tenant.key) as c:
        await c.subscribe("room.1")
        answer = await pub.publish("room.1", {"x": 1}, type="cursor.move")
        assert answer.get("offset", 0) == 0
        frame = await c.wait_event("room.1", "cursor.move")
        assert frame["data"] == {"x": 1} and "offset" not in frame
        fence = await pub.publish("room.1", {"fence": 1})
    audit.wait_stored(stack, tenant.id, [fence["event_id"]])
    assert [t for _, _, t, _ in audit.channel_rows(stack, tenant.id, "room.1")] == ["chat.message"]


async def test_unsubscribe(stack, tenant):
    async with Client(stack.edge_url, tenant.key) as c:
        await c.subscribe("room.1")
        await c.publish("room.1", {"n": 1})
        await c.wait_event("room.1", "chat.message")
        await c.call(op="unsubscribe", channel="room.1")
        await c.publish("room.1", {"n": 2})
        await c.subscribe("room.2")
        await c.publish("room.2", {"fence": 1})
        await c.wait_event("room.2", "chat.message")
        assert [f["data"] for f in c.events("room.1")] == [{"n": 1}]


async def test_data_comes_back_as_it_was_sent(stack, tenant):
    odd = {"z": 1, "a": [1.50, -0.0, 1e300, None, True], "text": "äöü \u2028 \U0001f6b0 \" \\ \n", "": {}, "big": 2**53}
    async with Client(stack.edge_url, tenant.key) as c:
        await c.subscribe("room.1")
        answer = await c.publish("room.1", odd)
        assert (await c.wait_event("room.1", "chat.message"))["data"] == odd
    audit.check_events(stack, tenant.id, [("room.1", odd, answer)])


async def test_rate_limit_says_when_to_come_back(stack):
    t = Tenant(stack, {"events_per_s": 5, "burst": 10})
    async with Client(stack.edge_url, t.key) as c:
        accepted, refused = [], []
        for i in range(40):
            try:
                accepted.append(("room.1", {"n": i}, await c.publish("room.1", {"n": i}, key=f"k{i}")))
            except Refused as e:
                refused.append(e.frame)
        assert 1 <= len(accepted) <= 30 and refused
        for frame in refused:
            assert frame["code"] == "rate_limited" and frame["scope"] == "tenant" and frame["temporary"]
            assert 0 < frame["retry_after_ms"] <= 5000
        # Who waits as long as he was told gets through.
        await asyncio.sleep(refused[-1]["retry_after_ms"] / 1000)
        accepted.append(("room.1", {"n": 99}, await c.publish("room.1", {"n": 99}, key="k99")))
    statuses = [t.http("POST", "/v1/events", {"channel": "room.1", "type": "chat.message", "data": i})
                for i in range(20)]
    limited = [(head, doc) for status, head, doc in statuses if status == 429]
    assert limited
    assert int(limited[0][0]["Retry-After"]) >= 1 and limited[0][1]["code"] == "rate_limited"
    audit.check_events(stack, t.id, accepted)


async def test_one_tenants_limit_is_not_anothers(stack, tenant):
    limited = Tenant(stack, {"events_per_s": 1, "burst": 3})
    async with Client(stack.edge_url, limited.key) as a, Client(stack.edge_url, tenant.key) as b:
        with pytest.raises(Refused):
            for i in range(20):
                await a.publish("room.1", {"n": i})
        for i in range(20):
            await b.publish("room.1", {"n": i})


async def test_shadow_limits_refuse_nobody(stack):
    t = Tenant(stack, {"events_per_s": 1, "burst": 1, "mode": "shadow"})
    async with Client(stack.edge_url, t.key) as c:
        for i in range(10):
            await c.publish("room.1", {"n": i})


async def test_many_sockets_of_a_channel(stack, tenant):
    """More than 256 sockets of each reactor (docs/decisions/0033): behind a write to all of them frames gather for 5 ms at least
    (a reactor may have 16 sockets less than another).
    Each event comes to each socket, once and in order, and several of them by one write."""
    def counted():
        text = http("GET", stack.url("admin-edge-1") + "/metrics")[2]
        return [int(re.search(rf"^penstock_edge_{name}_total (\d+)", text, re.M).group(1))
                for name in ("writes", "frames_sent", "sent_bytes")]

    events = 120
    listening = next(line for line in (stack.dir / "log/edge-1.log").open() if '"listening"' in line)
    sockets = [rawws.Raw(stack, tenant.key) for _ in range(280 * json.loads(listening)["reactors"])]
    try:
        for s in sockets:
            s.send(1, b'{"op":"subscribe","id":"s","channel":"room.1"}')
        assert all(json.loads(s.read()[1])["op"] == "subscribed" for s in sockets)
        before, start = counted(), time.monotonic()
        async with Client(stack.url("edge-2"), tenant.key) as pub:
            for i in range(events):
                await pub.send(op="publish", id=f"p{i}", channel="room.1", type="chat.message", data={"n": i})
                await asyncio.sleep(0.001)
            await pub.wait(lambda f: f.get("id") == f"p{events - 1}")
        wait_for("all of it on its way", lambda: counted()[1] - before[1] >= events * len(sockets), 20)
        elapsed_ms = (time.monotonic() - start) * 1000
        writes, _, size = (new - old for new, old in zip(counted(), before))
        for s in sockets:
            got = []
            while len(got) < events:
                frame = json.loads(s.read()[1])
                if frame["op"] == "event":  # and not a new resume token
                    got.append(frame)
            assert [f["data"]["n"] for f in got] == list(range(events))
            assert [f["prev"] for f in got] == [0] + [f["offset"] for f in got[:-1]]
        # A write for each of them would be 120; just when a reactor writes is what test_gather_edge measures.
        assert writes / len(sockets) <= events * 3 / 4, (writes, elapsed_ms, size)
    finally:
        for s in sockets:
            s.close()
