"""Bad input at every door gets the protocol's error, never a crash: sockets, HTTP, the bus. What lives before a test
lives after it, by the same process ids."""
import asyncio
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


# --- sockets: JSON ------------------------------------------------------------------------------

OK = {"op": "publish", "id": "x", "channel": "room.1", "type": "chat.message", "data": {}}
BAD_FRAMES = [
    # (what is sent, the error's code)
    ({**OK, "channel": None}, "bad_request"),
    ({**OK, "channel": "room 1"}, "bad_request"),
    ({**OK, "channel": "room.*"}, "bad_request"),
    ({**OK, "channel": "a..b"}, "bad_request"),
    ({**OK, "channel": "x" * 200}, "bad_request"),
    ({**OK, "channel": "room.1\r\nPUB x 0\r\n"}, "bad_request"),
    ({**OK, "channel": "task.11111111-1111-4111-8111-111111111111"}, "forbidden"),
    ({**OK, "type": "task.completed"}, "forbidden"),
    ({**OK, "type": "no.such.type"}, "unknown_type"),
    ({**OK, "version": 99}, "unknown_type"),
    ({**OK, "key": "k" * 300}, "bad_request"),
    ({**OK, "key": ""}, "bad_request"),
    ({**OK, "key": "ä"}, "bad_request"),
    ({**OK, "key": 7}, "bad_request"),
    ({**OK, "unknown": 1}, "bad_request"),
    ({k: v for k, v in OK.items() if k != "data"}, "bad_request"),
    ({"op": "task", "id": "x", "pipeline": "nosuch", "key": "k", "input": 1}, "not_found"),
    ({"op": "task", "id": "x", "pipeline": "noop", "input": 1}, "bad_request"),
    ({"op": "task", "id": "x", "pipeline": "noop", "key": "k", "input": 1, "deadline_ms": -5}, "bad_request"),
    ({"op": "cancel", "id": "x", "task": "not-a-uuid"}, "bad_request"),
    ({"op": "cancel", "id": "x", "task": "11111111-1111-4111-8111-111111111111"}, "not_found"),
    ({"op": "subscribe", "id": "x", "channel": "room.>"}, "bad_request"),
    ({"op": "subscribe", "id": "x", "channel": "room.1", "after": {"epoch": "", "offset": -1}}, "bad_request"),
    ({"op": "subscribe", "id": "x", "channel": "room.1", "after": 7}, "bad_request"),
    ({"op": "unsubscribe", "id": "x", "channel": "never.was"}, "not_found"),
    ({"op": "dance", "id": "x"}, "bad_request"),
    ({"op": "connect", "id": "x", "token": "pk_a_b"}, "bad_request"),
]


@pytest.mark.parametrize("frame,code", BAD_FRAMES, ids=lambda v: json.dumps(v)[:60] if isinstance(v, dict) else v)
async def test_bad_frame_is_answered_and_the_socket_stays(stack, tenant, frame, code):
    async with Client(stack.edge_url, tenant.key) as c:
        with pytest.raises(Refused) as refused:
            await c.call(**frame)
        answer = refused.value.frame
        assert answer["code"] == code, answer
        assert answer["message"] and answer["scope"] in ("connection", "channel", "tenant")
        assert answer["temporary"] is False
        assert (await c.call(op="ping"))["op"] == "pong"


NOT_JSON = ["", "nonsense", "[]", "7", "null", '{"op":', '{"op":"ping","op":"ping"}', '{"op":"ping"} x', "{" * 5000,
            "[" * 100000 + "]" * 100000, '{"op":"ping","id":"\\ud800"}', '{"op":"ping","id":"\x01"}']


@pytest.mark.parametrize("text", NOT_JSON, ids=lambda t: repr(t[:24]))
async def test_what_is_no_message(stack, tenant, text):
    """An error, a close with a code of the protocol, or both; never silence."""
    async with Client(stack.edge_url, tenant.key) as c:
        await c.ws.send(text)
        try:
            assert (await c.wait(lambda f: f["op"] == "error"))["code"] in ("bad_request", "too_large")
        except ConnectionError:
            assert c.close_code in (4002, 1009)


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


async def test_binary_frame_on_a_text_protocol(stack, tenant):
    async with Client(stack.edge_url, tenant.key) as c:
        await c.ws.send(b"\x00\x01\x02")
        try:
            assert (await c.wait(lambda f: f["op"] == "error"))["code"] == "bad_request"
        except ConnectionError:
            assert c.close_code in (4002, 1003)


@pytest.mark.parametrize("token", ["", "x", "pk_", "pk_nosuch_secret", "pk_a_b_c_d", "x" * 4000, "a.b.c"])
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
        if how == "query" and token == "":  # as good as none: the first frame may bring one
            await c.send(op="connect", token=token)
        assert await c.wait_close() in (4001, 4002)
        assert not [f for f in c.frames if f["op"] == "connected"]


async def test_nothing_before_connect(stack, tenant):
    c = await Client(stack.edge_url).open()
    await c.send(op="subscribe", id="x", channel="room.1")
    try:
        assert (await c.wait(lambda f: f["op"] == "error"))["code"] == "unauthenticated"
    except ConnectionError:
        assert c.close_code in (4001, 4002)
    await c.ws.close()
    c = await Client(stack.edge_url).open()
    await c.send(op="connect", token=tenant.key)
    assert (await c.wait(lambda f: f["op"] == "connected"))["tenant"] == tenant.id
    await c.ws.close()


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


# --- sockets: bytes -----------------------------------------------------------------------------

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


def frame(opcode, payload=b"", fin=True, masked=True, rsv=0, length=None):
    n = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    mark = 0x80 if masked else 0
    head += bytes([mark | n]) if n < 126 else bytes([mark | 126]) + n.to_bytes(2, "big") if n < 65536 else \
        bytes([mark | 127]) + n.to_bytes(8, "big")
    return head + (b"\0\0\0\0" if masked else b"") + payload


BAD_BYTES = {
    "unmasked": (frame(1, b"{}", masked=False), 1002),
    "reserved bit": (frame(1, b"{}", rsv=2), 1002),
    "unknown opcode": (frame(5), 1002),
    "unknown control": (frame(0xb), 1002),
    "long ping": (frame(9, b"x" * 126), 1002),
    "ping in pieces": (frame(9, b"x", fin=False), 1002),
    "continuation of nothing": (frame(0, b"x"), 1002),
    "text within text": (frame(1, b"{", fin=False) + frame(1, b"}"), 1002),
    "not UTF-8": (frame(1, b"\xff\xfe"), 1007),
    "UTF-8 cut off": (frame(1, b"\xe2\x82"), 1007),
    "surrogate": (frame(1, b'"\xed\xa0\x80"'), 1007),
    "close with one byte": (frame(8, b"\x03"), 1002),
    "close with a forbidden code": (frame(8, (1005).to_bytes(2, "big")), 1002),
    "endless": (frame(1, b"", length=1 << 62), 1009),
    "length with the top bit": (frame(1, b"", length=1 << 63), 1002),
}


@pytest.mark.parametrize("name", BAD_BYTES)
def test_bytes_that_rfc_6455_forbids(stack, tenant, name):
    data, code = BAD_BYTES[name]
    with raw_socket(stack, tenant) as s:
        s.sendall(data)
        got = until_closed(s)
    while got[:1] == b"\x81":  # an error frame may come before
        got = got[4 + int.from_bytes(got[2:4], "big") if got[1] == 126 else 2 + got[1]:]
    assert got[:1] == b"\x88", f"no close frame: {got[:80]!r}"
    assert int.from_bytes(got[2:4], "big") == code


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


def test_a_message_in_many_pieces(stack, tenant):
    """Fragments, with a ping between them, byte by byte on the wire."""
    text = json.dumps({"op": "ping", "id": "p"}).encode()
    data = b"".join([frame(1, text[:3], fin=False), frame(9, b"hello"), frame(0, text[3:10], fin=False),
                     frame(0, text[10:])])
    with raw_socket(stack, tenant) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(data)):
            s.sendall(data[i:i + 1])
        got = b""
        while b'"pong"' not in got:
            got += s.recv(65536)
    assert b"\x8a\x05hello" in got


def test_sockets_that_go_away_in_the_middle(stack, tenant):
    for cut in (1, 4, 20, 40):
        for _ in range(10):
            s = raw_socket(stack, tenant)
            s.sendall(frame(1, json.dumps(OK).encode())[:cut])
            s.close()


# --- HTTP ---------------------------------------------------------------------------------------

EVENT = {"channel": "room.1", "type": "chat.message", "data": {}}
BAD_HTTP = [
    ("POST", "/v1/events", b"", 400, "bad_request"),
    ("POST", "/v1/events", b"{", 400, "bad_request"),
    ("POST", "/v1/events", b"[]", 400, "bad_request"),
    ("POST", "/v1/events", b"\xff\xfe", 400, "bad_request"),
    ("POST", "/v1/events", {**EVENT, "channel": "a b"}, 400, "bad_request"),
    ("POST", "/v1/events", {**EVENT, "type": "no.such"}, 422, "unknown_type"),
    ("POST", "/v1/events", {**EVENT, "op": "publish"}, 400, "bad_request"),
    ("POST", "/v1/events", {**EVENT, "data": "x" * 300000}, 413, "too_large"),
    ("POST", "/v1/tasks", {"pipeline": "nosuch", "key": "k", "input": 1}, 404, "not_found"),
    ("POST", "/v1/tasks", {"pipeline": "noop", "input": 1}, 400, "bad_request"),
    ("GET", "/v1/tasks/not-a-uuid", None, 404, "not_found"),
    ("GET", "/v1/tasks/11111111-1111-4111-8111-111111111111", None, 404, "not_found"),
    ("DELETE", "/v1/tasks/11111111-1111-4111-8111-111111111111", None, 404, "not_found"),
    ("GET", "/v1/channels/a%20b/events", None, 400, "bad_request"),
    ("GET", "/v1/channels/room.1/events?after=-1", None, 400, "bad_request"),
    ("GET", "/v1/channels/room.1/events?limit=100000", None, 400, "bad_request"),
    ("GET", "/v1/nosuch", None, 404, "not_found"),
    ("GET", "/v1/channels/..%2f..%2fetc/events", None, 404, "not_found"),
    ("PUT", "/v1/events", EVENT, 405, "method_not_allowed"),
]


@pytest.mark.parametrize("method,path,body,status,code", BAD_HTTP, ids=lambda v: str(v)[:40])
def test_bad_http_at_the_edge(tenant, method, path, body, status, code):
    got, head, problem = tenant.http(method, path, body)
    assert (got, problem["code"]) == (status, code), problem
    assert head["Content-Type"].startswith("application/problem+json")
    assert problem["status"] == status and problem["detail"] and len(problem["trace_id"]) == 32


def test_no_token_over_http(stack):
    for token in (None, "x", "pk_nosuch_secret"):
        status, head, problem = http("POST", stack.edge_url + "/v1/events", EVENT, token)
        assert status == 401 and problem["code"] == "unauthenticated" and head["WWW-Authenticate"]


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


def test_raw_http_nonsense(stack):
    """At every port that speaks HTTP."""
    rng = random.Random(2)
    urls = [stack.edge_url, stack.control_url] + [stack.url(f"admin-{n}") for n in stack.names()[3:]]
    for url in urls:
        parts = urllib.parse.urlsplit(url)
        for data in (b"", b"\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
                     b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
                     b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
                     b"POST /v1/tenants HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                     b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n", rng.randbytes(500)):
            with socket.create_connection((parts.hostname, parts.port), 10) as s:
                with contextlib.suppress(OSError):  # it may hang up in the middle
                    s.sendall(data)
                    s.shutdown(socket.SHUT_WR)
        assert http("GET", url + "/v1/nosuch")[0] in (401, 404)


def test_bad_input_at_the_operators_door(stack, tenant):
    url, key = stack.control_url, stack.admin_key
    for method, path, body, status in [
            ("POST", "/v1/tenants", b"{", 400), ("POST", "/v1/tenants", {"id": "a b"}, 422),
            ("POST", "/v1/tenants", {}, 422), ("PUT", f"/v1/tenants/{tenant.id}/limits", {"burst": -1}, 428),
            ("GET", "/v1/tenants/nosuch", None, 404), ("GET", "/v1/nosuch", None, 404),
            ("PUT", "/v1/models/m", {"kind": "openai", "url": "file:///etc/passwd"}, 422),
            ("PUT", "/v1/pipelines/p/versions/1", {"stages": []}, 422),
            ("PUT", "/v1/pipelines/p/versions/1", {"stages": [{"id": "a", "kind": "transform", "needs": ["a"]}]}, 422),
            ("PUT", "/v1/pipelines/p/versions/1", {"stages": [{"id": "a", "kind": "transform", "input": ".["}]}, 422),
            ("PATCH", f"/v1/tenants/{tenant.id}", {"name": "x"}, 428)]:
        got, head, doc = http(method, url + path, body, key)
        assert got == status, (method, path, got, doc)
        assert doc["code"] and head["Content-Type"].startswith("application/problem+json")
    for token in (None, "x", stack.admin_key + "x", tenant.key):
        assert http("GET", url + "/v1/tenants", token=token)[0] == 401
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


async def test_questions_that_are_garbage_are_answered(stack, tenant):
    loop = asyncio.get_running_loop()
    with Nats(stack.nats_url) as nats:
        part = part_of(nats, tenant.id)
        for subject in (f"pen.cmd.{part}", "pen.store.replay", "pen.store.task", "pen.store.timeline"):
            answer = await loop.run_in_executor(None, nats.request, subject, b"\xff\xff\xff")
            assert answer is None or b"bad_request" in answer, (subject, answer)


# --- documents in the bucket --------------------------------------------------------------------

async def test_garbage_in_the_configuration(stack, tenant):
    """A document that does not parse is passed over; the one before stays in force."""
    bad = [b"", b"{", b"[]", b"null", b'{"id": 7}', b"\xff", b'{"id":"' + tenant.id.encode() + b'","limits":{"burst":-5}}']
    with Nats(stack.nats_url) as nats:
        for key in (f"tenant.{tenant.id}", f"key.{tenant.key.split('_')[1]}", f"type.{tenant.id}.chat.message",
                    "pipeline.noop.1", "model.quick", "nonsense", "tenant.", "pipeline.x.notanumber"):
            for doc in bad:
                nats.publish(f"$KV.pen_config.{key}", doc)
        # An object here would be a member: whoever may write into this bucket may be a router.
        for key in ("edge.x", "router.x", "nonsense", "worker.y.z"):
            for doc in bad[:4]:
                nats.publish(f"$KV.pen_members.{key}", doc)
        nats.ping()
    async with Client(stack.url("edge-2"), tenant.key) as c:
        answer = await c.publish("room.1", {"n": 1})
        task = (await c.task("quick", "One sentence is enough here.", "k"))["task"]
        assert (await c.wait_end(task))["type"] == "task.completed"
    audit.check_events(stack, tenant.id, [("room.1", {"n": 1}, answer)])
