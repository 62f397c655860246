"""Bad input to every door gets the error of PROTOCOL and nothing else happens: whoever is beside it goes on, and in the
end every service is alive and ready."""
import asyncio
import http.client
import json
import os
import socket
import struct
import urllib.parse

import pytest

import audit
from client import Client, Refused
from conftest import Tenant
from natsraw import Nats
from rawws import Raw
from stack import http as ask
from stack import wait_for


@pytest.fixture(autouse=True)
def everybody_lives(stack):
    """The same processes as before."""
    before = {name: stack.pid(name) for name in stack.names()}
    yield
    assert {name: stack.pid(name) for name in stack.names()} == before


@pytest.fixture(autouse=True, scope="module")
def everybody_is_ready(stack):
    yield
    stack.wait_ready(timeout=20)


# --- frames ---------------------------------------------------------------------------------

FRAMES = {
    "unmasked": (1002, lambda r: r.send(1, b'{"op":"ping","id":1}', mask=False)),
    "reserved bit 1": (1002, lambda r: r.send(1, b"{}", rsv=4)),
    "reserved bit 2": (1002, lambda r: r.send(1, b"{}", rsv=2)),
    "reserved bit 3": (1002, lambda r: r.send(1, b"{}", rsv=1)),
    "opcode 3": (1002, lambda r: r.send(3, b"x")),
    "opcode 11": (1002, lambda r: r.send(11, b"x")),
    "ping in fragments": (1002, lambda r: r.send(9, b"x", fin=False)),
    "ping of 126 bytes": (1002, lambda r: r.send(9, b"x" * 126)),
    "close of one byte": (1002, lambda r: r.send(8, b"x")),
    "close with a code that is none": (1002, lambda r: r.send(8, struct.pack(">H", 1005))),
    "continuation of nothing": (1002, lambda r: r.send(0, b"x")),
    "text within a fragmented text": (1002, lambda r: (r.send(1, b'{"op"', fin=False), r.send(1, b"{}"))),
    "text that is not UTF-8": (1007, lambda r: r.send(1, b'{"op":"ping","id":"\xff"}')),
    "a surrogate in UTF-8": (1007, lambda r: r.send(1, b'{"op":"ping","id":"\xed\xa0\x80"}')),
    "UTF-8 cut at the end": (1007, lambda r: r.send(1, b'{"op":"ping","id":"\xc3')),
    "close reason that is not UTF-8": (1007, lambda r: r.send(8, struct.pack(">H", 1000) + b"\xff")),
    "binary": (1003, lambda r: r.send(2, b"\0\1\2")),
    "more than any message": (1009, lambda r: r.send(1, b"", length=1 << 32)),
    "a length with its highest bit": ((1002, 1009), lambda r: r.send(1, b"", length=1 << 63)),
    "a publish that is too large": (1009, lambda r: r.send(1, json.dumps(
        {"op": "publish", "id": 1, "channel": "c", "type": "chat.message", "data": "x" * 70000}).encode())),
}


@pytest.mark.parametrize("name", FRAMES)
def test_bad_frames(stack, tenant, name):
    code, send = FRAMES[name]
    raw = Raw(stack, tenant.key)
    send(raw)
    got = raw.close_code()
    assert got == code or got in (code if isinstance(code, tuple) else ()), got


def test_a_message_byte_by_byte_and_in_fragments(stack, tenant):
    """Odd, but allowed."""
    raw = Raw(stack, tenant.key)
    text = '{"op":"ping","id":"äöü"}'.encode()
    raw.send(1, text[:20], fin=False)
    raw.send(9, b"between")
    for i in range(20, len(text)):
        raw.send(0, text[i:i + 1], fin=i == len(text) - 1)
    got = []
    while len(got) < 2:  # the server's own first ping may come between
        frame = raw.read()
        got += [frame] if frame[0] != 9 else []
    assert (10, b"between") in got
    assert {"op": "pong", "id": "äöü"} in [json.loads(body) for op, body in got if op == 1]


def test_half_a_frame_and_gone(stack, tenant):
    for cut in (b"\x81", b"\x81\xfe\xff", b"\x81\x85abcdhe"):
        raw = Raw(stack, tenant.key)
        raw.sock.sendall(cut)
        raw.sock.close()


# --- messages -------------------------------------------------------------------------------

PUBLISH = {"op": "publish", "id": "x", "channel": "room.1", "type": "chat.message", "data": {}}
TASK = {"op": "task", "id": "x", "pipeline": "noop", "key": "k", "input": {}}
SUBSCRIBE = {"op": "subscribe", "id": "x", "channel": "room.1"}
WRONG = ["", 1, None, [], {}, True, "a b", "a..b", "ü", "x" * 300]
BAD_MESSAGES = [{"op": "nothing", "id": "x"}, {"op": "connect", "id": "x", "token": 5},
                {"op": "ping", "id": "x", "more": 1}, {"op": "cancel", "id": "x", "task": "no-id"},
                {"op": "cancel", "id": "x"}, {"op": "unsubscribe", "id": "x"}, {"op": "ack", "id": "x"},
                {"op": "ack", "id": "x", "channel": "room.1", "offset": -1}]
BAD_MESSAGES += [{k: v for k, v in m.items() if k != gone} for m in (PUBLISH, TASK, SUBSCRIBE)
                 for gone in m if gone not in ("op", "id")]
BAD_MESSAGES += [{**PUBLISH, "channel": w} for w in WRONG] + [{**SUBSCRIBE, "channel": w} for w in WRONG]
BAD_MESSAGES += [{**PUBLISH, "type": w} for w in WRONG] + [{**TASK, "pipeline": w} for w in WRONG]
BAD_MESSAGES += [{**TASK, "key": w} for w in ("", 1, None, {}, "ü", "x" * 300, "a\nb")]
BAD_MESSAGES += [{**PUBLISH, "version": w} for w in (-1, 1.5, "1", 2**40, None)]
BAD_MESSAGES += [{**m, what: w} for m, what in ((PUBLISH, "data"), (TASK, "input"))
                 for w in ("a\0b", "\ud800", {"a\0": 1}, 2**63, [-2**64], 10**400)]  # JSON, but not taken
BAD_MESSAGES += [{**TASK, "deadline_ms": w} for w in (0, -1, 1.5, "1", 2**40, None)]
BAD_MESSAGES += [{**TASK, "priority": w} for w in (101, -101, "1", None)]
BAD_MESSAGES += [{**SUBSCRIBE, "after": w} for w in (1, "x", [], {}, {"offset": -1}, {"offset": "1"}, {"epoch": 1,
                 "offset": 1}, {"epoch": "", "offset": 1, "more": 1})]


async def test_bad_messages(stack, tenant):
    """Each is refused under its id, and the connection lives on."""
    async with Client(stack.edge_url, tenant.key) as c:
        for i, message in enumerate(BAD_MESSAGES):
            assert not c.closed, BAD_MESSAGES[i - 1]
            with pytest.raises(Refused) as refused:
                await c.call(**{**message, "id": f"m{i}"})
            frame = refused.value.frame
            assert frame["code"] == "bad_request" and not frame["temporary"] and frame["message"], (message, frame)
        await c.subscribe("room.1")
        await c.publish("room.1", {"fence": 1})
        await c.wait_event("room.1", "chat.message")
        assert [f["data"] for f in c.events("room.1")] == [{"fence": 1}]


@pytest.mark.parametrize("code, message", [
    ("unknown_type", {**PUBLISH, "type": "never.declared"}), ("unknown_type", {**PUBLISH, "version": 99}),
    ("not_found", {**TASK, "pipeline": "nowhere"}),
    ("not_found", {"op": "cancel", "task": "0197a000-0000-7000-8000-000000000000"}),
    ("not_found", {"op": "ack", "channel": "not.mine", "offset": 1}),
    ("forbidden", {**PUBLISH, "channel": "task.0197a000-0000-7000-8000-000000000000"}),
    ("forbidden", {**PUBLISH, "type": "task.completed"})], ids=lambda v: v if isinstance(v, str) else "")
async def test_what_may_not_be(stack, tenant, code, message):
    async with Client(stack.edge_url, tenant.key) as c:
        with pytest.raises(Refused) as refused:
            await c.call(**{**message, "id": "n"})
        assert refused.value.code == code


@pytest.mark.parametrize("text", ["", "x", "[]", "1", "null", '{"op":"ping"', '{"op":"ping","op":"ping","id":1} {}',
                                  '{"id":1}', '{"op":1}', '{op:"ping"}', "[" * 50000, '{"a":' * 5000])
async def test_no_messages_at_all(stack, tenant, text):
    """What has no operation is not this protocol: an error, and the end."""
    async with Client(stack.edge_url, tenant.key) as c:
        await c.ws.send(text)
        frame = await c.wait(lambda f: f["op"] == "error")
        assert frame["code"] == "bad_request"
        assert await c.wait_close() == 4002


@pytest.mark.parametrize("token", ["", "x", "pk_", "pk_a_b", "pk_" + "a" * 5000, "ey.J.J", "\u00fc"])
async def test_bad_tokens(stack, token):
    c = await Client(stack.edge_url).open()
    await c.send(op="connect", token=token)
    frame = await c.wait(lambda f: f["op"] == "error")
    assert frame["code"] in ("unauthenticated", "bad_request")
    assert await c.wait_close() == 4001


async def test_something_before_connect(stack):
    c = await Client(stack.edge_url).open()
    await c.send(**PUBLISH)
    assert (await c.wait(lambda f: f["op"] == "error"))["code"] == "unauthenticated"
    assert await c.wait_close() == 4001


# --- HTTP -----------------------------------------------------------------------------------

def check_problem(answer, status, code):
    got, head, doc = answer
    assert got == status, (got, doc)
    assert head["Content-Type"].startswith("application/problem+json"), head["Content-Type"]
    assert doc["code"] == code and doc["status"] == status and doc["title"] and len(doc["trace_id"]) == 32, doc


EVENT = {"channel": "room.1", "type": "chat.message", "data": {}}
EDGE = [
    ("POST", "/v1/events", b"", 400, "bad_request"), ("POST", "/v1/events", b"{", 400, "bad_request"),
    ("POST", "/v1/events", b"[]", 400, "bad_request"), ("POST", "/v1/events", b'"\xff"', 400, "bad_request"),
    ("POST", "/v1/events", {**EVENT, "channel": 5}, 400, "bad_request"),
    ("POST", "/v1/events", {**EVENT, "channel": "a b"}, 400, "bad_request"),
    ("POST", "/v1/events", {**EVENT, "more": 5}, 400, "bad_request"),
    ("POST", "/v1/events", {"channel": "room.1", "type": "chat.message"}, 400, "bad_request"),
    ("POST", "/v1/events", {**EVENT, "type": "never.declared"}, 422, "unknown_type"),
    ("POST", "/v1/events", {**EVENT, "channel": "task.x"}, 403, "forbidden"),
    ("POST", "/v1/events", {**EVENT, "data": "x" * 70000}, 413, "too_large"),
    ("POST", "/v1/events", {**EVENT, "data": "x" * 400000}, 413, "too_large"),
    ("POST", "/v1/tasks", {"pipeline": "noop", "input": 1}, 400, "bad_request"),
    ("POST", "/v1/tasks", {"pipeline": "nowhere", "input": 1, "key": "k"}, 404, "not_found"),
    ("POST", "/v1/tasks", {"pipeline": "noop", "input": 1, "key": "k", "deadline_ms": "5"}, 400, "bad_request"),
    ("GET", "/v1/tasks/no-id", None, 404, "not_found"),
    ("GET", "/v1/tasks/0197a000-0000-7000-8000-000000000000", None, 404, "not_found"),
    ("DELETE", "/v1/tasks/0197a000-0000-7000-8000-000000000000", None, 404, "not_found"),
    ("GET", "/v1/channels/a%20b/events", None, 400, "bad_request"),
    ("GET", "/v1/channels/room.1/events?after=-1", None, 400, "bad_request"),
    ("GET", "/v1/channels/room.1/events?after=x", None, 400, "bad_request"),
    ("GET", "/v1/channels/room.1/events?limit=0", None, 400, "bad_request"),
    ("GET", "/v1/channels/room.1/events?limit=99999999", None, 400, "bad_request"),
    ("GET", "/v1/nothing", None, 404, "not_found"), ("GET", "/", None, 404, "not_found"),
    ("GET", "/v1/events", None, 405, "method_not_allowed"), ("PUT", "/v1/tasks", {}, 405, "method_not_allowed"),
    ("POST", "/v1/ws", {}, 405, "method_not_allowed"), ("GET", "/v1/ws", None, 426, "upgrade_required"),
]


@pytest.mark.parametrize("method, path, body, status, code", EDGE, ids=lambda v: str(v)[:60])
def test_bad_http_at_the_edge(stack, tenant, method, path, body, status, code):
    check_problem(tenant.http(method, path, body), status, code)


@pytest.mark.parametrize("token", [None, "x", "pk_a_b", "pk_" + "a" * 3000])
def test_bad_tokens_by_http(stack, token):
    for method, path, body in (("POST", "/v1/events", EVENT), ("POST", "/v1/tasks", {"pipeline": "noop", "key": "k",
                               "input": 1}), ("GET", "/v1/channels/room.1/events?after=0&limit=1", None)):
        answer = ask(method, stack.edge_url + path, body, token)
        check_problem(answer, 401, "unauthenticated")
        assert answer[1]["WWW-Authenticate"].startswith("Bearer")


def test_a_trace_is_continued(stack, tenant):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    for base, token in ((stack.edge_url, tenant.key), (stack.control_url, stack.admin_key)):
        for parent, same in ((f"00-{trace}-00f067aa0ba902b7-01", True), (f"00-{trace.upper()}-00f067aa0ba902b7-01", False),
                             ("rubbish", False), (f"00-{'0' * 32}-00f067aa0ba902b7-01", False)):
            _, _, doc = ask("GET", base + "/v1/nothing", None, token, headers={"traceparent": parent})
            assert (doc["trace_id"] == trace) == same and len(doc["trace_id"]) == 32


CONTROL = [
    ("POST", "/v1/tenants", b"", 400, "bad_request"), ("POST", "/v1/tenants", b"{", 400, "bad_request"),
    ("POST", "/v1/tenants", b"[]", 422, "schema_invalid"), ("POST", "/v1/tenants", b'{"id":"\xff"}', 400, "bad_request"),
    ("POST", "/v1/tenants", {"id": 5}, 422, "schema_invalid"), ("POST", "/v1/tenants", {"id": "a.b"}, 422, "schema_invalid"),
    ("POST", "/v1/tenants", {}, 422, "schema_invalid"),
    ("POST", "/v1/tenants", {"id": "x", "more": 1}, 422, "schema_invalid"),
    ("POST", "/v1/tenants", {"id": "demo"}, 409, "conflict"),
    ("POST", "/v1/tenants", b" " * (2 << 20), 413, "too_large"),
    ("GET", "/v1/tenants/nobody", None, 404, "not_found"), ("GET", "/v1/nothing", None, 404, "not_found"),
    ("DELETE", "/v1/tenants", None, 405, "method_not_allowed"),
    ("DELETE", "/v1/tenants/demo", None, 428, "precondition_required"),
    ("PUT", "/v1/pipelines/bad/versions/1", {"stages": []}, 422, "schema_invalid"),
    ("PUT", "/v1/pipelines/bad/versions/1", {"stages": [{"id": "a", "kind": "nothing"}]}, 422, "schema_invalid"),
    ("PUT", "/v1/pipelines/bad/versions/1", {"stages": [{"id": "a", "kind": "transform", "input": ".",
     "needs": ["a"]}]}, 422, "schema_invalid"),
    ("PUT", "/v1/pipelines/bad/versions/x", {"stages": []}, (400, 404), ("bad_request", "not_found")),
    ("PUT", "/v1/models/bad", {"name": "bad", "kind": "openai", "url": 5}, 422, "schema_invalid"),
    ("PUT", "/v1/tenants/demo/schemas/x/versions/1", {"class": "sometimes"}, 422, "schema_invalid"),
    ("GET", "/v1/tenants?page_size=-1", None, 400, "bad_request"),
    ("GET", "/v1/tenants?page_token=%FF", None, 400, "bad_request"),
    ("GET", "/v1/events?tenant=demo&channel=c&after=x", None, 400, "bad_request"),
    ("GET", "/v1/events/no-id/timeline", None, (400, 404), ("bad_request", "not_found")),
]


@pytest.mark.parametrize("method, path, body, status, code", CONTROL, ids=lambda v: str(v)[:60])
def test_bad_http_at_the_control_plane(stack, method, path, body, status, code):
    answer = ask(method, stack.control_url + path, body, stack.admin_key)
    if isinstance(status, tuple):
        assert answer[0] in status and answer[2]["code"] in code, answer
        status, code = answer[0], answer[2]["code"]
    check_problem(answer, status, code)


@pytest.mark.parametrize("token", [None, "x", "ak_x", "ok_a_b", "x" * 3000])
def test_bad_admin_keys(stack, tenant, token):
    for method, path in (("GET", "/v1/tenants"), ("POST", "/v1/tenants"), ("GET", "/v1/audit")):
        check_problem(ask(method, stack.control_url + path, {} if method == "POST" else None, token), 401,
                      "unauthenticated")
    check_problem(ask("GET", stack.control_url + "/v1/tenants", None, tenant.key), 401, "unauthenticated")


def test_rubbish_instead_of_http(stack):
    """To the clients', the operators' and the admin ports."""
    ports = [stack.port("edge-1"), stack.port("control-1")]
    ports += [stack.port(f"admin-{n}") for n in stack.names()[3:]]
    for port in ports:
        for data in (b"\0" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n",
                     b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"b" * 70000 + b"\r\n\r\n"):
            # Silence until the server's own timeout is an answer as well: what came may be half of something.
            with socket.create_connection(("127.0.0.1", port), 0.3) as s:
                try:
                    s.sendall(data)
                    answer = s.recv(100)
                except OSError:
                    answer = b""
                assert not answer.startswith(b"HTTP/1.1 2"), (port, data[:30])


# --- the bus --------------------------------------------------------------------------------

RUBBISH = [b"", b"\0", b"\xff" * 100, b"{}", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x05ab", os.urandom(1000),
           b"\x52\x02\x0a\x00" * 50, b"\x08\x96\x01" * 1000]


def part_of(nats, tenant):
    """Of the warm-up events in the log, without computing the hash."""
    state = nats.api("STREAM.INFO.EVENTS", subjects_filter=f"pen.evt.*.{tenant}.>")["state"]
    return int(next(iter(state["subjects"])).split(".")[2])


def subjects(tenant, part):
    tenants = [f"{tenant}.room.1", f"{tenant}.task.0197a000-0000-7000-8000-000000000000"]
    out = [f"pen.cmd.{p}" for p in range(16)] + ["pen.ctl.cancel", "pen.store.replay", "pen.store.task",
                                                 "pen.store.timeline", f"pen.task.default.{tenant}"]
    out += [f"pen.ctl.end.{p}" for p in range(16)]
    out += [f"pen.wait.{part}.{tenant}", f"pen.wait.{(part + 1) % 16}.{tenant}"]
    for kind in ("evt", "live", "dlt"):
        out += [f"pen.{kind}.{p}.{t}" for p in (part, (part + 1) % 16) for t in tenants]
    return out


async def test_rubbish_on_the_bus(stack, tenant):
    """On every subject that somebody listens to; the work beside it is not disturbed."""
    async with Client(stack.edge_url, tenant.key) as c:
        await c.subscribe("room.1")
        acked = []
        with Nats(stack.nats_url) as nats:
            everywhere = subjects(tenant.id, part_of(nats, tenant.id))
            for i, data in enumerate(RUBBISH):
                for subject in everywhere:
                    nats.publish(subject, data)
                nats.ping()
                acked.append(("room.1", {"n": i}, await c.publish("room.1", {"n": i}, key=f"k{i}")))
            task = (await c.task("noop", {"n": 1}, "beside"))["task"]
            assert (await c.wait_end(task))["type"] == "task.completed"
            for subject in ("pen.store.replay", "pen.store.task", "pen.store.timeline", "pen.cmd.3"):
                for data in RUBBISH:  # who asks gets an answer, not silence
                    assert nats.request(subject, data) is not None, subject
            # Nor does any of it stay in the backlog, where it would be everybody's load: not even under another part.
            wait_for("the backlog's end", lambda: not nats.api(
                "STREAM.INFO.BACKLOG", subjects_filter=f"pen.wait.*.{tenant.id}")["state"].get("subjects"), 30)
        await c.wait(lambda f: f["op"] == "event" and f["data"] == {"n": len(RUBBISH) - 1})
        assert [f["data"]["n"] for f in c.events("room.1")] == list(range(len(RUBBISH)))
    audit.check_events(stack, tenant.id, acked)


def test_rubbish_in_the_log_is_quarantined(stack, tenant):
    part = 5
    subject = f"pen.evt.{part}.{tenant.id}.room.1"
    before = tenant.http("POST", "/v1/events", {**EVENT, "data": "before"})[2]
    with Nats(stack.nats_url) as nats:
        places = [json.loads(nats.request(subject, data))["seq"] for data in RUBBISH[1:]]
    after = tenant.http("POST", "/v1/events", {**EVENT, "data": "after"})[2]
    audit.check_events(stack, tenant.id, [("room.1", "before", before), ("room.1", "after", after)])
    found = audit.rows(stack, "SELECT seq, bytes, reason FROM quarantine WHERE subject = %s ORDER BY seq", subject)
    assert [(seq, bytes(data)) for seq, data, _ in found] == list(zip(places, RUBBISH[1:]))
    assert all(reason for _, _, reason in found)
    _, _, page = tenant.http("GET", "/v1/channels/room.1/events?after=0&limit=100")
    assert [e["data"] for e in page["events"]] == ["before", "after"]


def test_rubbish_in_the_configuration(stack, tenant):
    """Unknown keys, documents that are none, and names that are another's: nobody loses what he had."""
    with Nats(stack.nats_url) as nats:
        for key in ("tenant.evil", "key.evil", f"type.{tenant.id}.evil", "model.evil", "pipeline.evil.1", "pipeline.noop.x",
                    "nothing", "tenant.a.b.c.d", f"tenant.{tenant.id}x"):
            for data in (b"", b"{", b"[]", b"{}", b'{"id":5}', b"\xff\xfe", b'{"id":"demo","status":7}',
                         b'{"stages":[{"id":1}]}', b"[" * 20000):
                nats.request(f"$KV.pen_config.{key}", data)
        fresh = Tenant(stack)  # the watch goes on behind it
        assert fresh.http("POST", "/v1/events", EVENT)[0] == 202
        assert tenant.http("POST", "/v1/tasks", {"pipeline": "noop", "key": "k", "input": 1})[0] == 202
        check_problem(tenant.http("POST", "/v1/events", {**EVENT, "type": "evil"}), 422, "unknown_type")
        for key in ("tenant.evil", "key.evil", f"type.{tenant.id}.evil", "model.evil", "pipeline.evil.1", "pipeline.noop.x",
                    "nothing", "tenant.a.b.c.d", f"tenant.{tenant.id}x"):
            nats.publish(f"$KV.pen_config.{key}", b"")
        nats.ping()
