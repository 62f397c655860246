"""Bounds and garbage that need more than one message (test_bad_input.py has the single ones). What lives before a
test lives after it, by the same process ids, and the main road is open."""
import contextlib
import json
import random
import socket
import urllib.parse

import pytest
import websockets

import audit
from client import Client, Refused
from natsraw import Nats
from stack import http, wait_for


@pytest.fixture(autouse=True)
def survivors(stack, tenant):
    """After each test here: nobody has died, and the main road is open."""
    before = {n: stack.pid(n) for n in stack.names()}
    yield
    assert {n: stack.pid(n) for n in stack.names()} == before and None not in before.values()
    stack.wait_ready()
    status, _, accepted = tenant.http("POST", "/v1/tasks", {"pipeline": "noop", "key": "after", "input": 1})
    assert status == 202, accepted
    assert audit.wait_task(stack, tenant.id, accepted["task"])[0] == "completed"


# --- sockets ------------------------------------------------------------------------------------

OK = {"op": "publish", "id": "x", "channel": "room.1", "type": "chat.message", "data": {}}


async def test_too_large(stack, tenant):
    """Said, and the socket closed; a task's input may be larger than an event."""
    for ask, size in (("publish", 70000), ("task", 300000)):
        async with Client(stack.edge_url, tenant.key) as c:
            assert (await c.call(op="ping"))["op"] == "pong"
            await c.task("noop", "x" * 200000, "large")
            with contextlib.suppress(websockets.ConnectionClosed):
                if ask == "publish":
                    await c.send(**{**OK, "data": "x" * size})
                else:
                    await c.send(op="task", id="x", pipeline="noop", key="larger", input="x" * size)
            assert (await c.wait(lambda f: f["op"] == "error"))["code"] == "too_large"
            assert await c.wait_close() == 1009


@pytest.mark.parametrize("token", ["x", "pk_", "pk_nosuch_secret", "pk_a_b_c_d", "x" * 4000, "a.b.c"])
async def test_bad_token(stack, token):
    """In the header, the query and the first frame: 401 at the upgrade, or closed with 4001."""
    for how in ("header", "query", "frame"):
        c = Client(stack.edge_url)
        try:
            if how == "header":
                await c.open({"Authorization": f"Bearer {token}"})
            elif how == "query":
                await c.open(query="?access_token=" + urllib.parse.quote(token))
            else:
                await c.open()
                await c.send(op="connect", token=token)
        except websockets.InvalidStatusCode as e:
            assert e.status_code in (400, 401) and how != "frame"
            continue
        assert await c.wait_close() in (4001, 4002)
        assert not [f for f in c.frames if f["op"] == "connected"]


async def test_bound_of_subscriptions(stack, tenant):
    async with Client(stack.edge_url, tenant.key) as c:
        limit = c.connected["limits"]["subscriptions"]
        for i in range(limit):
            await c.subscribe(f"room.{i}")
        with pytest.raises(Refused) as refused:
            await c.subscribe("one.more")
        assert refused.value.code == "overloaded"
        await c.call(op="unsubscribe", channel="room.0")
        await c.subscribe("one.more")


def raw_socket(stack, tenant):
    """A socket behind its handshake, and what the server has already said."""
    parts = urllib.parse.urlsplit(stack.edge_url)
    s = socket.create_connection((parts.hostname, parts.port), 10)
    s.sendall((f"GET /v1/ws HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
               f"Sec-WebSocket-Protocol: penstock.v1.json\r\nAuthorization: Bearer {tenant.key}\r\n\r\n").encode())
    got = b""
    while b'"connected"' not in got:
        more = s.recv(65536)
        assert more, got
        got += more
    return s


def until_closed(s):
    s.settimeout(20)
    got = b""
    try:
        while more := s.recv(65536):
            got += more
    except ConnectionResetError:
        pass
    return got


def frame(opcode, payload):
    """A client's, masked with zeros."""
    n = len(payload)
    return bytes([0x80 | opcode]) + (bytes([0x80 | n]) if n < 126 else b"\xfe" + n.to_bytes(2, "big")) + bytes(4) + payload


def test_random_bytes(stack, tenant):
    rng = random.Random(1)
    for _ in range(40):
        with raw_socket(stack, tenant) as s:
            data = bytearray(frame(1, json.dumps(OK).encode()) * 3 + frame(9, b"ping"))
            for _ in range(rng.randrange(1, 12)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            until_closed(s)


def test_sockets_that_go_away_in_the_middle(stack, tenant):
    for cut in (1, 4, 20, 40):
        for _ in range(10):
            s = raw_socket(stack, tenant)
            s.sendall(frame(1, json.dumps(OK).encode())[:cut])
            s.close()


# --- HTTP ---------------------------------------------------------------------------------------

EVENT = {"channel": "room.1", "type": "chat.message", "data": {}}


def test_key_in_two_places_must_agree(tenant):
    status, _, problem = tenant.http("POST", "/v1/events", {**EVENT, "key": "a"}, headers={"Idempotency-Key": "b"})
    assert status == 400 and problem["code"] == "bad_request"


def test_traceparent_is_continued(stack, tenant):
    trace = "0af7651916cd43dd8448eb211c80319c"
    status, _, answer = tenant.http("POST", "/v1/events", EVENT, headers={
        "traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    assert status == 202
    audit.wait_stored(stack, tenant.id, [answer["event_id"]])
    assert trace in audit.rows(stack, "SELECT trace FROM events WHERE event_id = %s", answer["event_id"])[0][0]
    _, _, problem = tenant.http("POST", "/v1/events", {}, headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    assert problem["trace_id"] == trace


def test_a_stale_state_is_not_written_over(stack, tenant):
    url, key = stack.control_url, stack.admin_key
    tag = http("GET", url + f"/v1/tenants/{tenant.id}", token=key)[1]["ETag"]
    doc = {"id": tenant.id, "name": "new"}
    assert http("PUT", url + f"/v1/tenants/{tenant.id}", doc, key, headers={"If-Match": '"stale"'})[0] == 412
    assert http("PUT", url + f"/v1/tenants/{tenant.id}", doc, key, headers={"If-Match": tag})[0] == 200


# --- the bus ------------------------------------------------------------------------------------

def garbage(rng):
    yield b""
    yield b"\x00" * 10
    yield b"\xff" * 100
    yield b'{"json": true}'
    yield b"\x0a\xff\xff\xff\xff\x0f" + b"x" * 20     # a text that is longer than the message
    yield b"\x0a\x03a\x00b\x12\x04\xff\xfe\xfd\xfc"   # NUL and no UTF-8 in texts
    for _ in range(100):
        yield rng.randbytes(rng.randrange(1, 300))


async def test_garbage_on_the_bus(stack, tenant):
    """Every subject that a service takes from: commands, the queue, the log, live, deltas, controls, questions."""
    rng = random.Random(3)
    with Nats(stack.nats_url) as nats:
        part = int(wait_for("the tenant's part", lambda: part_of(nats, tenant.id)))
        subjects = [f"pen.cmd.{part}", f"pen.ctl.end.{part}", "pen.ctl.cancel", f"pen.live.{part}.{tenant.id}.room.1",
                    f"pen.evt.{part}.{tenant.id}.junk", f"pen.dlt.{part}.{tenant.id}.junk",
                    f"pen.task.default.{tenant.id}", f"pen.wait.{part}.{tenant.id}",
                    "pen.store.replay", "pen.store.task", "pen.store.timeline", "pen.evt.notanumber.x", "pen.evt.0",
                    f"pen.cmd.{part}.more"]
        async with Client(stack.edge_url, tenant.key) as c:
            await c.subscribe("room.1")
            await c.subscribe("junk")
            for subject in subjects:
                for data in garbage(rng):
                    nats.publish(subject, data, "_INBOX.nobody" if rng.random() < 0.5 else "")
            nats.ping()
            # What is good passes behind what is bad.
            answer = await c.publish("room.1", {"n": 1}, key="behind")
            await c.wait(lambda f: f["op"] == "event" and f["data"] == {"n": 1})
            assert (await c.task("noop", {"n": 1}, "behind"))["task"]
        audit.check_events(stack, tenant.id, [("room.1", {"n": 1}, answer)])
        # What could not be an event is kept aside, not lost.
        aside = audit.rows(stack, "SELECT count(*) FROM quarantine WHERE subject = %s",
                           f"pen.evt.{part}.{tenant.id}.junk")[0][0]
        assert aside >= 100
        # And the queue is not blocked by tickets that nobody can read.
        wait_for("the ready queue to be empty", lambda: nats.stream_state("TASKS")["messages"] == 0, 60)
        wait_for("the backlog to be empty", lambda: nats.stream_state("BACKLOG")["messages"] == 0, 60)


def part_of(nats, tenant):
    """Of the warm-up events in the log, without computing the hash."""
    info = nats.api("STREAM.INFO.EVENTS", subjects_filter=f"pen.evt.*.{tenant}.>")
    subjects = info["state"].get("subjects") or {}
    return next(iter(subjects)).split(".")[2] if subjects else None


# --- documents in the bucket --------------------------------------------------------------------

async def test_garbage_in_the_configuration(stack, tenant):
    """A document that does not parse is passed over; the one before stays in force."""
    bad = [b"", b"{", b"[]", b"null", b'{"id": 7}', b"\xff", b'{"id":"' + tenant.id.encode() + b'","limits":{"burst":-5}}']
    with Nats(stack.nats_url) as nats:
        for key in (f"tenant.{tenant.id}", f"key.{tenant.key.split('_')[1]}", f"type.{tenant.id}.chat.message",
                    "pipeline.noop.1", "model.quick", "nonsense", "tenant.", "pipeline.x.notanumber"):
            for doc in bad:
                nats.publish(f"$KV.pen_config.{key}", doc)
        for key in ("edge.x", "router.x", "nonsense", "worker.y.z"):
            for doc in [*bad, b'{"service":"router","id":"y"}', b'{"service":"edge","id":"x.y"}']:
                nats.publish(f"$KV.pen_members.{key}", doc)
        nats.ping()
    async with Client(stack.url("edge-2"), tenant.key) as c:
        answer = await c.publish("room.1", {"n": 1})
        task = (await c.task("quick", "One sentence is enough here.", "k"))["task"]
        assert (await c.wait_end(task))["type"] == "task.completed"
    audit.check_events(stack, tenant.id, [("room.1", {"n": 1}, answer)])
