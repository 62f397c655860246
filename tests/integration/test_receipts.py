"""What edges report of deliveries, as `penstock audit deliveries` shows it; and what may be acknowledged."""
import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess

import pytest

from client import Client
from conftest import BIN, Tenant, end_stack, make_stack, provision
from stack import http, wait_for


@pytest.fixture(scope="module")
def stack():
    """Edges that report often, and spill early."""
    stack = make_stack(edges=2, env={"edge": {
        "PENSTOCK_EDGE_RECEIPTS_MS": 200, "PENSTOCK_EDGE_OUT_SOFT_BYTES": 65536}})
    try:
        yield provision(stack.start())
    finally:
        end_stack(stack)


@pytest.fixture
def tenant(stack):
    return Tenant(stack)


def deliveries(stack, event_id):
    return stack.control().call("GET", f"/events/{event_id}/deliveries", ok=(200, 404))[2]


async def until(stack, event_id, expected, timeout=30):
    """Waits until the audit says {session: state}; the document."""
    end = asyncio.get_running_loop().time() + timeout
    while True:
        doc = await asyncio.to_thread(deliveries, stack, event_id)
        got = {d["session"]: d["state"] for d in doc.get("deliveries", [])}
        if got == expected:
            return doc
        assert asyncio.get_running_loop().time() < end, f"not {expected} but {doc}"
        await asyncio.sleep(0.05)


def by_session(doc):
    return {d["session"]: d for d in doc["deliveries"]}


async def test_an_event_at_each_of_its_sessions(stack, tenant):
    async with contextlib.AsyncExitStack() as s:
        async def client(edge):
            return await s.enter_async_context(Client(stack.url(edge), tenant.key))
        acks, silent, absent, left, late, behind, other = [await client(e) for e in (
            "edge-1", "edge-2", "edge-1", "edge-1", "edge-1", "edge-2", "edge-1")]
        for c in (acks, silent, absent, left):
            place = await c.subscribe("room.1")
        await other.subscribe("room.2")
        await left.call(op="unsubscribe", channel="room.1")
        await absent.lose()
        sent = await silent.publish("room.1", {"n": 1})
        for c in (acks, silent):
            await c.wait_event("room.1", "chat.message")
        await acks.send(op="ack", channel="room.1", offset=sent["offset"])
        await late.subscribe("room.1")
        await behind.subscribe("room.1", {"epoch": place["epoch"], "offset": place["offset"]})
        await behind.wait_event("room.1", "chat.message")
        id = {name: c.connected["session"] for name, c in
              (("acks", acks), ("silent", silent), ("absent", absent), ("behind", behind))}
        doc = await until(stack, sent["event_id"], {
            id["acks"]: "acknowledged", id["silent"]: "sent", id["absent"]: "missed", id["behind"]: "sent"})
        assert (doc["tenant"], doc["channel"], doc["type"]) == (tenant.id, "room.1", "chat.message")
        assert doc["event_id"] == sent["event_id"] and doc["offset"] == sent["offset"] and not doc["truncated"]
        assert doc["counts"] == {"acknowledged": 1, "sent": 2, "missed": 1, "pending": 0, "spilled": 0}
        one = by_session(doc)
        assert one[id["acks"]]["edge"] == "edge-1" and one[id["silent"]]["edge"] == "edge-2"
        assert one[id["acks"]]["acknowledged"] and one[id["acks"]]["acked_to"] == sent["offset"]
        assert one[id["acks"]]["acked_at"] and not one[id["silent"]]["acknowledged"]
        assert one[id["acks"]]["principal"] == tenant.key.split("_")[1]
        assert one[id["absent"]]["reason"] == "absent" and one[id["absent"]]["close_code"] == 1006
        # A later event is another matter for each of them.
        next = await silent.publish("room.1", {"n": 2})
        await late.wait_event("room.1", "chat.message")
        await until(stack, next["event_id"], {
            id["acks"]: "sent", id["silent"]: "sent", late.connected["session"]: "sent", id["absent"]: "missed",
            id["behind"]: "sent"})


async def test_who_comes_back_for_it_has_not_missed_it(stack, tenant):
    async with Client(stack.url("edge-1"), tenant.key) as p:
        async with Client(stack.url("edge-1"), tenant.key) as a:
            place = await a.subscribe("room.1")
            await a.lose()
        sent = await p.publish("room.1", {"n": 1})
        session = a.connected["session"]
        doc = await until(stack, sent["event_id"], {session: "missed"})
        async with Client(stack.url("edge-2"), resume=a.resume) as b:
            await b.subscribe("room.1", {"epoch": place["epoch"], "offset": place["offset"]})
            await b.wait_event("room.1", "chat.message")
            doc = await until(stack, sent["event_id"], {session: "sent"})
            assert by_session(doc)[session]["sockets"] == 2 and by_session(doc)[session]["edge"] == "edge-2"
            await b.send(op="ack", channel="room.1", offset=sent["offset"])
            await until(stack, sent["event_id"], {session: "acknowledged"})
        # Its socket is closed now; what it had is not taken back.
        doc = await until(stack, sent["event_id"], {session: "acknowledged"})
        wait_for("its end", lambda: "closed_at" in by_session(deliveries(stack, sent["event_id"]))[session])


async def test_what_may_be_acknowledged(stack, tenant):
    async with Client(stack.edge_url, tenant.key) as c:
        async def ack(channel, offset):
            """Nobody answers a good one: what comes first is the pong behind it."""
            at = len(c.frames)
            await c.send(op="ack", channel=channel, offset=offset)
            await c.send(op="ping", id="behind")
            frame = await c.wait(lambda f: f["op"] in ("error", "pong"), at=at)
            if frame["op"] == "error":
                await c.wait(lambda f: f["op"] == "pong", at=at)
            return frame.get("code")
        assert await ack("room.1", 1) == "not_found"
        place = await c.subscribe("room.1")
        assert await ack("room.1", place["offset"]) is None
        assert await ack("room.1", place["offset"] + 1) == "bad_request"
        first = await c.publish("room.1", {"n": 1})
        second = await c.publish("room.1", {"n": 2})
        await c.wait(lambda f: f["op"] == "event" and f["event_id"] == second["event_id"])
        assert await ack("room.1", second["offset"] + 1) == "bad_request"
        assert await ack("room.1", 2 ** 60) == "bad_request"
        assert await ack("room.1", second["offset"]) is None
        assert await ack("room.1", first["offset"]) is None  # cumulative: an older one takes nothing back
        session = c.connected["session"]
        for sent in (first, second):
            await until(stack, sent["event_id"], {session: "acknowledged"})
        doc = await until(stack, second["event_id"], {session: "acknowledged"})
        assert by_session(doc)[session]["acked_to"] == second["offset"]
        # A task's channel is one as well.
        task = await c.task("noop", {}, "acked")
        end = await c.wait_end(task["task"])
        assert await ack(task["channel"], end["offset"]) is None
        assert await ack(task["channel"], end["offset"] + 1) == "bad_request"
        await until(stack, end["event_id"], {session: "acknowledged"})


async def test_a_socket_that_does_not_read(stack):
    """What waits in the edge is not sent; what is left to the log is spilled, until it was read after all."""
    tenant = Tenant(stack, limits={"bytes_per_s": 1 << 30})
    async with Client(stack.url("edge-1"), tenant.key) as slow, Client(stack.url("edge-1"), tenant.key) as p:
        await slow.subscribe("room.1")
        await p.subscribe("room.1")
        slow.ws.transport.pause_reading()
        me, pub = slow.connected["session"], p.connected["session"]
        text = secrets.token_hex(30000)  # nothing that compression could make small

        async def is_spilled(sent):
            doc = await asyncio.to_thread(deliveries, stack, sent["event_id"])
            return by_session(doc).get(me, {}).get("state") == "spilled" if "deliveries" in doc else False
        for n in range(400):
            last = await p.publish("room.1", {"n": n, "text": text})
            if n % 20 == 19 and await is_spilled(last):
                break
        doc = await until(stack, last["event_id"], {me: "spilled", pub: "sent"})
        assert by_session(doc)[me]["spilled"] and not by_session(doc)[pub]["spilled"]
        slow.ws.transport.resume_reading()
        await slow.wait(lambda f: f["op"] == "event" and f["event_id"] == last["event_id"], timeout=60)
        doc = await until(stack, last["event_id"], {me: "sent", pub: "sent"})
        assert by_session(doc)[me]["spilled"], "it came late"
        assert [f["data"]["n"] for f in slow.events("room.1")] == list(range(n + 1))


async def test_an_edge_that_says_nothing_any_more(private):
    """Killed with the socket open: nobody closes its subscriptions, but the audit knows."""
    own = private(edges=2, env={"edge": {"PENSTOCK_EDGE_RECEIPTS_MS": 200}})
    tenant = Tenant(own)
    async with Client(own.url("edge-2"), tenant.key) as p:
        async with Client(own.url("edge-1"), tenant.key) as c:
            await c.subscribe("room.1")
            before = await p.publish("room.1", {"n": 1})
            session = c.connected["session"]
            await until(own, before["event_id"], {session: "sent"})
            own.kill("edge-1")
        after = await p.publish("room.1", {"n": 2})
        doc = await until(own, after["event_id"], {session: "missed"})
        assert by_session(doc)[session]["reason"] == "edge_lost"
        await until(own, before["event_id"], {session: "sent"})


async def test_receipts_wait_for_the_log(private):
    """While the event-store is away they wait in their stream."""
    own = private(env={"edge": {"PENSTOCK_EDGE_RECEIPTS_MS": 200}})
    tenant = Tenant(own)
    own.kill("store-1")
    async with Client(own.edge_url, tenant.key) as c:
        await c.subscribe("room.1")
        sent = await c.publish("room.1", {"n": 1})
        await c.wait_event("room.1", "chat.message")
        await c.send(op="ack", channel="room.1", offset=sent["offset"])
        wait_for("a receipt", lambda: "penstock_edge_receipts_total 0" not in http(
            "GET", own.url("admin-edge-1") + "/metrics")[2])
        session = c.connected["session"]
    assert own.kill("edge-1", signal.SIGTERM) == 0
    own.start_one("store-1")
    own.wait_ready("store-1")
    doc = await until(own, sent["event_id"], {session: "acknowledged"})
    assert by_session(doc)[session]["close_code"] == 1000


async def test_the_operators_command(stack, tenant):
    def penstock(*args, ok=True):
        env = {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")}
        env.update(PENSTOCK_CONTROL_URL=stack.control_url, PENSTOCK_ADMIN_KEY=stack.admin_key)
        done = subprocess.run([str(BIN / "penstock"), *args], capture_output=True, text=True, env=env, timeout=60)
        assert (done.returncode == 0) is ok, done
        return done.stdout if ok else done.stderr
    async with Client(stack.edge_url, tenant.key) as c:
        await c.subscribe("room.1")
        sent = await c.publish("room.1", {"n": 1})
        session = c.connected["session"]
        await until(stack, sent["event_id"], {session: "sent"})
        doc = json.loads(penstock("-o", "json", "audit", "deliveries", sent["event_id"]))
        assert [d["session"] for d in doc["deliveries"]] == [session]
        table = penstock("audit", "deliveries", sent["event_id"])
        assert session in table and "STATE" in table and "1 sent" in table and "edge-1" in table
    assert "not_found" in penstock("audit", "deliveries", session, ok=False)
    assert "bad_request" in penstock("audit", "deliveries", "nonsense", ok=False)
    penstock("audit", "--last", "1")
