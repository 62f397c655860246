"""Holes in a channel: what can be repaired is, what cannot is told, and then it goes on. Never silence.

Live deliveries that must be missed are forged: an event of the stream, sent to the edges once more with another place
and the place before it, looks exactly like one behind which another was lost.
"""
import contextlib
import json
import uuid

import psycopg2
import pytest

import audit
from client import Client
from conftest import Tenant, end_stack, make_stack, provision
from natsraw import Nats
from stack import http, wait_for

EVENTS = "EVENTS"


@pytest.fixture
def alone():
    """A stack of one's own, whose edge is not patient."""
    stack = make_stack(env={"edge": {"PENSTOCK_EDGE_GAP_MS": 3000}})
    try:
        yield provision(stack.start())
    finally:
        end_stack(stack)


def subject(nats, tenant, channel):
    """Which part it is only the hash knows; the stream knows the subject."""
    state = nats.api(f"STREAM.INFO.{EVENTS}", subjects_filter=f"pen.evt.*.{tenant}.{channel}")["state"]
    (found,) = state["subjects"]
    return found


def forge(nats, tenant, channel, offset, prev):
    """As if the stream had republished the channel's last event at offset, behind one at prev."""
    stored = subject(nats, tenant, channel)
    body = nats.request(f"$JS.API.DIRECT.GET.{EVENTS}", b'{"last_by_subj":"%s"}' % stored.encode())
    head = (f"NATS/1.0\r\nNats-Stream: {EVENTS}\r\nNats-Subject: {stored}\r\nNats-Sequence: {offset}\r\n"
            f"Nats-Last-Sequence: {prev}\r\n\r\n").encode()
    nats.publish(stored.replace("pen.evt.", "pen.live.", 1), body, head=head)


def stored_up_to(stack, offset):
    wait_for(f"{offset} in PostgreSQL",
             lambda: (audit.rows(stack, "SELECT max(seq) FROM store_position")[0][0] or 0) >= offset)


def trim(nats, below):
    assert nats.api(f"STREAM.PURGE.{EVENTS}", seq=below)["success"]
    assert nats.stream_state(EVENTS)["first_seq"] == below


def delete_rows(stack, where, *args):
    with contextlib.closing(psycopg2.connect(stack.pg_dsn)) as conn, conn, conn.cursor() as cur:
        cur.execute(f"DELETE FROM events WHERE {where}", args)


def gaps(c, channel):
    return [f for f in c.frames if f["op"] == "gap" and f["channel"] == channel]


async def publish(c, channel, n, start=0):
    return [await c.publish(channel, {"n": i}) for i in range(start, start + n)]


async def test_expired_positions_and_gaps(alone):
    t = Tenant(alone)
    async with Client(alone.edge_url, t.key) as a, Client(alone.edge_url, t.key) as b, Client(alone.edge_url, t.key) as d:
        place = await a.subscribe("room.1")
        sent = await publish(a, "room.1", 10)
        last = sent[-1]["offset"]
        stored_up_to(alone, last)
        # Only PostgreSQL has it: everything is still there.
        with Nats(alone.nats_url) as nats:
            trim(nats, last + 1)
            at = {"epoch": place["epoch"], "offset": sent[2]["offset"]}
            again = await b.subscribe("room.1", at)
            assert again["recovered"] and again["offset"] == at["offset"]
            await b.wait(lambda f: f["op"] == "event" and f["offset"] == last)
            assert [f["offset"] for f in b.events("room.1")] == [s["offset"] for s in sent[3:]]
            assert not gaps(b, "room.1")
            # Now the first eight are nowhere any more, of any channel.
            cut = sent[7]["offset"]
            delete_rows(alone, "seq <= %s", cut)
            answer = await d.subscribe("room.1", at)
            assert not answer["recovered"] and answer["offset"] == cut
            # Also by a reactor that knows nothing of the channel yet.
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(8):
                    e = await stack.enter_async_context(Client(alone.edge_url, t.key))
                    answer = await e.subscribe("room.1", at)
                    assert not answer["recovered"] and answer["offset"] == cut
            await d.wait(lambda f: f["op"] == "event" and f["offset"] == last)
            assert [f["offset"] for f in d.events("room.1")] == [s["offset"] for s in sent[8:]]
            (gap,) = gaps(d, "room.1")
            assert (gap["from"], gap["to"], gap["reason"], gap["replayable"]) == (
                at["offset"] + 1, cut, "expired", False)
            # A missed delivery of which nobody has anything any more: the place before belongs to somebody else.
            other = await a.publish("room.2", {"n": 1})
            stored_up_to(alone, other["offset"])
            forge(nats, t.id, "room.2", other["offset"] + 1000, other["offset"])  # no hole: not told
            forged = await publish(a, "room.1", 1, 10)
            await a.wait(lambda f: f["op"] == "event" and f["offset"] == forged[0]["offset"])
            for extra in range(3):
                await a.publish("room.2", {"n": extra})
            hole = (await a.publish("room.2", {"n": 9}))["offset"]
            stored_up_to(alone, hole)
            forge(nats, t.id, "room.1", hole + 1, hole)
            gap = await a.wait(lambda f: f["op"] == "gap")
            assert (gap["channel"], gap["from"], gap["to"], gap["reason"], gap["replayable"]) == (
                "room.1", forged[0]["offset"] + 1, hole, "expired", False)
            # And it goes on behind it.
            await a.wait(lambda f: f["op"] == "event" and f["offset"] == hole + 1)
            more = await publish(a, "room.1", 3, 20)
            await a.wait(lambda f: f["op"] == "event" and f["offset"] == more[-1]["offset"])
            assert len(gaps(a, "room.1")) == 1


async def test_missed_deliveries_are_read_from_the_log(alone):
    """Nothing is lost, so nothing is told: the hole is filled, also if the log itself is a moment late."""
    t = Tenant(alone)
    async with Client(alone.edge_url, t.key) as a:
        await a.subscribe("room.1")
        (first,) = await publish(a, "room.1", 1)
        await a.wait_event("room.1", "chat.message")
        # The edge hears of the 40th of the events to come before there is any of them.
        with Nats(alone.nats_url) as nats:
            stored = subject(nats, t.id, "room.1")
            body = nats.request(f"$JS.API.DIRECT.GET.{EVENTS}", b'{"last_by_subj":"%s"}' % stored.encode())
            missed = [first["offset"] + 1 + i for i in range(40)]
            forge(nats, t.id, "room.1", missed[-1] + 1, missed[-1])
            for offset in missed:
                id = str(uuid.uuid4()).encode()
                ack = json.loads(nats.request(stored, body.replace(first["event_id"].encode(), id)))
                assert ack["seq"] == offset, ack
        await a.wait(lambda f: f["op"] == "event" and f["offset"] == missed[-1])
        assert [f["offset"] for f in a.events("room.1")][1:41] == missed
        assert not gaps(a, "room.1")


async def test_what_cannot_be_read_for_long(alone):
    t = Tenant(alone)
    async with Client(alone.edge_url, t.key) as a:
        place = await a.subscribe("room.1")
        (first,) = await publish(a, "room.1", 1)
        await a.wait_event("room.1", "chat.message")
        hole = (await publish(a, "room.2", 5))[-1]["offset"]
        stored_up_to(alone, hole)
        last = await a.publish("room.2", {"n": "kept"})
        with Nats(alone.nats_url) as nats:
            trim(nats, last["offset"])
            alone.stop_one("store-1")
            (later,) = await publish(a, "room.1", 1, 1)
            # The channel's first one in the stream says nothing of what was before: nobody can be asked, for long.
            gap = await a.wait(lambda f: f["op"] == "gap")
            assert (gap["from"], gap["reason"], gap["replayable"]) == (first["offset"] + 1, "missed", True), gap
            assert hole <= gap["to"] < later["offset"]
            await a.wait(lambda f: f["op"] == "event" and f["offset"] == later["offset"])
        # Live goes on, and somebody who wants what only PostgreSQL has is told to come later.
        (live,) = await publish(a, "room.1", 1, 2)
        await a.wait(lambda f: f["op"] == "event" and f["offset"] == live["offset"])
        alone.start_one("store-1")
        alone.wait_ready("store-1")
        async with Client(alone.edge_url, t.key) as b:
            await b.subscribe("room.1", {"epoch": place["epoch"], "offset": gap["from"] - 1})
            await b.wait(lambda f: f["op"] == "event" and f["offset"] == live["offset"])
            assert [f["offset"] for f in b.events("room.1")] == [later["offset"], live["offset"]]


async def test_the_stream_is_replayed_without_the_event_store(alone):
    t = Tenant(alone)
    async with Client(alone.edge_url, t.key) as a, Client(alone.edge_url, t.key) as b:
        sent = await publish(a, "room.1", 300)
        alone.stop_one("store-1")
        await b.subscribe("room.1", {"epoch": "", "offset": 0})
        await b.wait(lambda f: f["op"] == "event" and f["offset"] == sent[-1]["offset"])
        assert [f["offset"] for f in b.events("room.1")] == [s["offset"] for s in sent]
        status, _, page = t.http("GET", "/v1/channels/room.1/events?after=0&limit=200")
        assert status == 200 and len(page["events"]) == 200 and page["more"]


async def test_the_log_is_made_anew(alone):
    t = Tenant(alone)
    async with Client(alone.edge_url, t.key) as a:
        place = await a.subscribe("room.1")
        sent = await publish(a, "room.1", 5)
        stored_up_to(alone, sent[-1]["offset"])
        with Nats(alone.nats_url) as nats:
            conf = nats.api(f"STREAM.INFO.{EVENTS}")["config"]
            assert nats.api(f"STREAM.DELETE.{EVENTS}")["success"]
            assert "error" not in nats.api(f"STREAM.CREATE.{EVENTS}", **conf)
        assert await a.wait_close(15) == 4301
    async with Client(alone.edge_url, t.key) as b:
        answer = await b.subscribe("room.1", {"epoch": place["epoch"], "offset": sent[1]["offset"]})
        assert not answer["recovered"] and answer["epoch"] != place["epoch"]

        async def accepted():
            with contextlib.suppress(Exception):
                return await b.publish("room.1", {"anew": True}, key="anew")
        answer = None
        while not answer:
            answer = await accepted()
        await b.wait(lambda f: f["op"] == "event" and f["data"] == {"anew": True})
