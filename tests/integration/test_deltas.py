"""A model's answer is whole for who comes late, or comes back in the middle of it: on every protocol, each piece once."""
import asyncio

import pytest

from client import Client
from conftest import chat
from natsraw import Nats
from pbclient import PbClient
from sse import Stream
from stack import wait_for

DOCUMENT = "A penstock feeds a turbine. The gate decides how much water goes through. " * 4

KINDS = {"json": Client, "protobuf": PbClient}


def whole(deltas, end, attempt=1):
    """Each piece once and in order, and nothing of other attempts."""
    assert [(d["attempt"], d["index"]) for d in deltas] == [(attempt, i) for i in range(len(deltas))]
    output = end["data"]["output"]
    assert "".join(d["data"] for d in deltas) == output.get("second", output)["text"]


def start(tenant, key, pipeline="slow"):
    """Once it is known everywhere."""
    body = {"pipeline": pipeline, "key": key, "input": DOCUMENT}
    return wait_for(f"{pipeline}", lambda: tenant.http("POST", "/v1/tasks", body)[2].get("task"))


@pytest.mark.parametrize("kind", KINDS)
async def test_cut_off_in_mid_answer(stack, tenant, kind):
    """The socket is cut again and again, without a word, and another edge goes on."""
    task = start(tenant, f"cut-{kind}")
    channel, seen, position = f"task.{task}", {}, None
    for i, pieces in enumerate((2, 6, 12)):
        c = await KINDS[kind](stack.url(f"edge-{1 + i % 2}"), tenant.key).__aenter__()
        answer = await c.subscribe(channel, position)
        await c.wait(lambda f, n=pieces: f["op"] == "delta" and f["index"] >= n)
        assert [d["index"] for d in c.deltas(task, "talk")] == list(range(len(c.deltas(task, "talk"))))
        last = c.events(channel)
        position = {"epoch": answer["epoch"], "offset": last[-1]["offset"] if last else answer["offset"]}
        seen |= {d["index"]: d["data"] for d in c.deltas(task, "talk")}
        await c.lose()
    async with KINDS[kind](stack.edge_url, tenant.key) as c:
        await c.subscribe(channel, position)
        end = await c.wait_end(task)
        whole(c.deltas(task, "talk"), end)
        seen |= {d["index"]: d["data"] for d in c.deltas(task, "talk")}
        done = await c.wait_event(channel, "task.stage.completed", where=lambda f: f["data"]["stage"] == "talk")
        assert c.frames.index(done) > c.frames.index(c.deltas(task, "talk")[-1])
        offsets = [e["offset"] for e in c.events(channel)]
        assert offsets == sorted(set(offsets)) and offsets[0] > position["offset"]
    assert "".join(seen[i] for i in sorted(seen)) == end["data"]["output"]["text"]


async def test_many_come_late(stack, tenant):
    """From now on, from the beginning, and by the same key again; all have the same answer."""
    task = start(tenant, "late")
    channel = f"task.{task}"
    async with Client(stack.edge_url, tenant.key) as first:
        await first.subscribe(channel)
        await first.wait(lambda f: f["op"] == "delta" and f["index"] >= 4)
        late = [await Client(stack.url(f"edge-{1 + i % 2}"), tenant.key).__aenter__() for i in range(6)]
        try:
            for i, c in enumerate(late):
                if i < 2:
                    await c.subscribe(channel)
                elif i < 4:
                    await c.subscribe(channel, {"offset": 0})
                else:
                    assert (await c.task("slow", DOCUMENT, "late"))["duplicate"]
            ends = await asyncio.gather(*(c.wait_end(task) for c in (first, *late)))
            for c, end in zip((first, *late), ends):
                whole(c.deltas(task, "talk"), end)
            for c in late[2:]:
                assert [e["type"] for e in c.events(channel)][:2] == ["task.accepted", "task.started"]
        finally:
            for c in late:
                await c.__aexit__()


def test_server_sent_events(stack, tenant):
    task = start(tenant, "sse")
    path = f"/v1/channels/task.{task}/stream"
    with Stream(stack.edge_url, path, tenant.key) as first:
        first.wait("delta", lambda d: d["index"] >= 3)
    with first.again() as s:
        end = s.wait("event", lambda e: e["type"] == "task.completed")
        whole(s.got("delta"), end)


async def test_what_ended_is_not_told_again(stack, tenant):
    """Of the stage that is done there is its record, of the one under way its text."""
    two = f"two-{tenant.id}"
    stack.control().pipeline(two, [chat("first", "quick"), chat("second", "slow", ["first"])])
    task = start(tenant, "two", two)
    channel = f"task.{task}"
    async with Client(stack.edge_url, tenant.key) as first:
        await first.subscribe(channel)
        await first.wait(lambda f: f["op"] == "delta" and f["stage"] == "second" and f["index"] >= 2)
        async with Client(stack.edge_url, tenant.key) as c:
            await c.subscribe(channel)
            end = await c.wait_end(task)
            assert c.deltas(task, "first") == []
            whole(c.deltas(task, "second"), end)


async def test_far_back_in_a_long_stream(stack, tenant):
    """Where others have said so much meanwhile that the beginning must be searched for."""
    nats = Nats(stack.nats_url)
    noise = [nats.publish(f"pen.dlt.0.{tenant.id}.noise", b"x") for _ in range(6000)]
    task = start(tenant, "far")
    async with Client(stack.edge_url, tenant.key) as first:
        await first.subscribe(f"task.{task}")
        await first.wait(lambda f: f["op"] == "delta" and f["index"] >= 2)
        for _ in noise:
            nats.publish(f"pen.dlt.0.{tenant.id}.noise", b"x")
        nats.ping()
        await first.wait(lambda f: f["op"] == "delta" and f["index"] >= 6)
        async with Client(stack.url("edge-2"), tenant.key) as c:
            await c.subscribe(f"task.{task}")
            end = await c.wait_end(task)
            whole(c.deltas(task, "talk"), end)
