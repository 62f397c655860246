"""penstock.v1.protobuf by Google's library: the same conversation as in JSON, and the same events beside it, plain and
compressed."""
import asyncio
import contextlib

import pytest

import audit
from client import Client, Refused
from pbclient import PbClient, encode, schema
from test_bad_input import PUBLISH, SUBSCRIBE, TASK


@contextlib.asynccontextmanager
async def everybody(stack, tenant, edge="edge-1"):
    """A client of each kind: JSON and protobuf, plain and compressed."""
    async with contextlib.AsyncExitStack() as exits:
        clients = []
        for cls in (Client, PbClient):
            for compression in (None, "deflate"):
                c = cls(stack.url(edge), tenant.key)
                c.compression = compression
                clients.append(await exits.enter_async_context(c))
                assert c.ws.subprotocol == cls.protocol
                assert bool(c.ws.extensions) == bool(compression)
        yield clients


def told(client, op, channel):
    return [f for f in client.frames if f["op"] == op and f.get("channel") == channel]


async def test_everybody_sees_the_same_events(stack, tenant):
    """Sizes on both sides of the bound of compression; text, numbers, nothing; durable and ephemeral."""
    datas = [{"n": 1}, None, 0, "grüße 🐧 \\ \"", [1.5, True, {"a": {"b": []}}], {"text": "x" * 100}, {"text": "word " * 200},
             {"data": {"op": "event", "data": 1}}, ["ä" * 5000], {"long": "z" * 60000}]
    async with everybody(stack, tenant) as clients:
        for c in clients:
            await c.subscribe("room.1")
        for i, data in enumerate(datas):
            await clients[i % 4].publish("room.1", data, key=f"k{i}")
            await clients[i % 4].publish("room.1", data, type="cursor.move")
        for c in clients:
            await c.publish("room.1", {"fence": c.connected["session"]})
        for c in clients:
            await c.wait(lambda f: f["op"] == "event" and f["data"] == {"fence": clients[-1].connected["session"]})
        # Ephemeral ones may come between the durable ones in another order.
        first = clients[0].events("room.1", "chat.message")
        assert [f["data"] for f in first[:len(datas)]] == datas and len(first) == len(datas) + 4
        for c in clients:
            assert c.events("room.1", "chat.message") == first
            moves = {f["event_id"]: f for f in c.events("room.1", "cursor.move")}
            assert moves == {f["event_id"]: f for f in clients[0].events("room.1", "cursor.move")}
            assert len(moves) == len(datas)


async def test_everybody_reads_the_same_history(stack, tenant):
    async with PbClient(stack.url("edge-2"), tenant.key) as pub:
        answers = [await pub.publish("room.2", {"n": i, "text": "t" * (i * 20)}) for i in range(150)]
    assert [a["offset"] for a in answers] == sorted(a["offset"] for a in answers)
    async with everybody(stack, tenant) as clients:
        at = await clients[0].subscribe("room.x")
        for c in clients:
            got = await c.subscribe("room.2", {"epoch": at["epoch"], "offset": answers[9]["offset"]})
            assert got["recovered"] is True and got["offset"] == answers[9]["offset"]
        for c in clients:
            await c.wait(lambda f: f["op"] == "event" and f["offset"] == answers[-1]["offset"])
            assert [f["data"]["n"] for f in c.events("room.2")] == list(range(10, 150))
            assert c.events("room.2") == clients[0].events("room.2")
    async with everybody(stack, tenant) as clients:   # an unknown epoch, and from the beginning
        for c in clients:
            answer = await c.subscribe("room.2", {"epoch": "00000000deadbeef", "offset": 5})
            assert answer["recovered"] is False and answer["epoch"] == at["epoch"]


async def test_a_task_with_its_deltas(stack, tenant):
    """Whoever starts it, everybody who follows it sees the same transitions and the same stream of text."""
    async with everybody(stack, tenant) as clients:
        starter = clients[3]
        accepted = await starter.task("slow", {"document": "A text to speak about, with \"quotes\".\n"}, "pb", priority=-3,
                                      deadline_ms=60000)
        channel = f"task.{accepted['task']}"
        assert accepted["channel"] == channel and accepted["duplicate"] is False
        for c in clients[:3]:
            await c.subscribe(channel, {"offset": 0})
        again = await starter.task("slow", {"document": "A text to speak about, with \"quotes\".\n"}, "pb", priority=-3,
                                   deadline_ms=60000)
        assert again["duplicate"] is True and again["task"] == accepted["task"]
        for c in clients:
            assert (await c.wait_end(accepted["task"]))["type"] == "task.completed"
        events = clients[0].events(channel)
        assert events[0]["type"] == "task.accepted" and events[-1]["data"]["output"]["text"]
        for c in clients:
            assert c.events(channel) == events
            deltas = c.deltas(accepted["task"], "talk")
            # The first token comes after 300 ms: by then all of them listened.
            assert deltas == clients[0].deltas(accepted["task"], "talk") and deltas
            assert "".join(f["data"] for f in deltas) == events[-1]["data"]["output"]["text"]


async def test_cancel_ack_ping_unsubscribe(stack, tenant):
    async with PbClient(stack.edge_url, tenant.key) as c:
        assert c.connected["limits"]["frame_bytes"] == 65536 and c.connected["tenant"] == tenant.id
        assert await c.call(op="ping", id="päng") == {"op": "pong", "id": "päng"}
        await c.subscribe("room.1")
        first = await c.publish("room.1", {"n": 1}, key="k", version=1)
        assert (await c.publish("room.1", {"n": 1}, key="k", version=1))["duplicate"] is True
        with pytest.raises(Refused) as refused:
            await c.publish("room.1", {"n": 2}, key="k")
        assert refused.value.code == "conflict"
        await c.wait_event("room.1", "chat.message")
        await c.send(op="ack", channel="room.1", offset=first["offset"])
        task = (await c.task("slow", "x", "to be cancelled"))["task"]
        await c.call(op="cancel", task=task)
        assert (await c.wait_end(task))["type"] == "task.cancelled"
        assert (await c.call(op="unsubscribe", channel="room.1"))["channel"] == "room.1"
        await c.publish("room.1", {"n": 3})
        await c.call(op="ping")
        assert [f["data"] for f in c.events("room.1")] == [{"n": 1}]
    audit.wait_stored(stack, tenant.id, [first["event_id"]])


async def test_connect_and_resume(stack, tenant):
    c = await PbClient(stack.url("edge-1")).open()
    await c.send(op="connect", token=tenant.key)
    connected = await c.wait(lambda f: f["op"] == "connected")
    await c.lose()
    async with PbClient(stack.url("edge-2"), resume=c.resume) as again:
        assert again.connected["session"] == connected["session"]
    c = await PbClient(stack.url("edge-1")).open()
    await c.send(op="connect", token="pk_a_b")
    assert (await c.wait(lambda f: f["op"] == "error"))["code"] == "unauthenticated"
    assert await c.wait_close() == 4001


WRONG = ["", "a b", "a..b", "ü", "x" * 300]
BAD = [{**PUBLISH, "channel": w} for w in WRONG] + [{**SUBSCRIBE, "channel": w} for w in WRONG]
BAD += [{**PUBLISH, "type": w} for w in WRONG] + [{**TASK, "pipeline": w} for w in WRONG]
BAD += [{**TASK, "key": w} for w in ("", "ü", "x" * 300, "a\nb")] + [{**TASK, "priority": w} for w in (101, -101)]
BAD += [{**TASK, "deadline_ms": 2**31}, {**PUBLISH, "version": 2**31}, {"op": "cancel", "id": "x", "task": "no-id"}]
BAD += [{**m, what: w} for m, what in ((PUBLISH, "data"), (TASK, "input"))
        for w in ("a\0b", "\ud800", {"a\0": 1}, 2**63, [-2**64], 10**400)]
OTHERS = [{**PUBLISH, "type": "never.declared"}, {**PUBLISH, "version": 99}, {**TASK, "pipeline": "nowhere"},
          {"op": "cancel", "task": "0197a000-0000-7000-8000-000000000000"}, {"op": "ack", "channel": "not.mine", "offset": 1},
          {**PUBLISH, "channel": "task.0197a000-0000-7000-8000-000000000000"}, {**PUBLISH, "type": "task.completed"}]


async def refusal(c, message, id):
    with pytest.raises(Refused) as refused:
        await c.call(**{**message, "id": id})
    return {k: v for k, v in refused.value.frame.items() if k not in ("id", "message")}


async def test_refused_alike(stack, tenant):
    """Code, scope and details are those that JSON gets; the connection lives on."""
    async with Client(stack.edge_url, tenant.key) as a, PbClient(stack.edge_url, tenant.key) as b:
        for i, message in enumerate(BAD + OTHERS):
            assert await refusal(a, message, f"m{i}") == await refusal(b, message, f"m{i}"), message
            assert not a.closed and not b.closed, message


async def test_no_messages_at_all(stack, tenant):
    frame = schema().ClientFrame
    unknown = encode({"op": "ping", "id": "u"}) + b"\xa0\x06\x01"
    for data, code in ((b"", 4002), (b"\xff\xff", 4002), (b'{"op":"ping","id":1}', 4002),
                       (frame(id="x").SerializeToString(), 4002), (unknown, None)):
        c = await PbClient(stack.edge_url, tenant.key).open({"Authorization": f"Bearer {tenant.key}"})
        await c.wait(lambda f: f["op"] == "connected")
        await c.ws.send(data)
        answer = await c.wait(lambda f: f["op"] == "error")
        assert answer["code"] == "bad_request", data
        if code:
            assert await c.wait_close() == code, data
        else:
            assert answer["id"] == "u" and (await c.call(op="ping"))["op"] == "pong"
            await c.ws.close()


async def test_too_large(stack, tenant):
    for size, message in ((70000, {**PUBLISH, "id": "large"}), (300000, {**TASK, "id": "large"})):
        async with PbClient(stack.edge_url, tenant.key) as c:
            await c.task("noop", "x" * 200000, f"large {size}")
            with contextlib.suppress(ConnectionError):
                await c.send(**{**message, "data" if message["op"] == "publish" else "input": "x" * size})
            assert (await c.wait(lambda f: f["op"] == "error"))["code"] == "too_large"
            assert await c.wait_close() == 1009


async def test_many_at_once(stack, tenant):
    """Commands of one connection are answered by their ids, whatever the order."""
    async with PbClient(stack.edge_url, tenant.key) as c:
        answers = await asyncio.gather(*[c.publish("room.many", {"n": i}, key=f"n{i}") for i in range(200)])
        assert len({a["event_id"] for a in answers}) == 200
