"""Server-sent events: live and history without a hole or a repeat, over reconnects by Last-Event-ID."""
import concurrent.futures
import contextlib
import signal
import socket
import threading
import urllib.parse

import pytest

from conftest import Tenant, end_stack, make_stack, provision
from sse import Stream
from stack import http, wait_for


def path(channel, **query):
    return f"/v1/channels/{channel}/stream" + ("?" + urllib.parse.urlencode(query) if query else "")


def publish(tenant, channel, data, edge="edge-1", type="chat.message", **more):
    status, _, answer = tenant.http("POST", "/v1/events", {"channel": channel, "type": type, "data": data, **more}, edge=edge)
    assert status == 202, answer
    return answer


def metric(stack, name, edge="edge-1"):
    text = http("GET", stack.url(f"admin-{edge}") + "/metrics")[2]
    return int(next(line for line in text.splitlines() if line.startswith(name + " ")).split()[1])


def test_live(stack, tenant):
    with Stream(stack.edge_url, path("room.1"), tenant.key) as s:
        assert s.status == 200 and s.head["content-type"] == "text/event-stream" and s.head["cache-control"] == "no-store"
        position = s.wait("subscribed")
        assert position["channel"] == "room.1" and position["recovered"] and s.retry >= 500
        assert s.last_id == f"{position['epoch']}:{position['offset']}"
        for n in range(3):
            answer = publish(tenant, "room.1", {"n": n, "text": "a\nb\u2028c"}, edge=f"edge-{1 + n % 2}")
            event = s.wait("event")
            assert event["data"] == {"n": n, "text": "a\nb\u2028c"} and event["event_id"] == answer["event_id"]
            assert s.last_id == f"{position['epoch']}:{answer['offset']}"
        # An ephemeral event has no place in the log, and so no id.
        publish(tenant, "room.1", 7, type="cursor.move")
        assert s.wait("event")["type"] == "cursor.move" and s.events[-1][2] is None
        assert s.last_id == f"{position['epoch']}:{answer['offset']}"


def test_token_in_the_address(stack, tenant):
    with Stream(stack.edge_url, path("room.1", access_token=tenant.key)) as s:
        assert s.status == 200 and s.wait("subscribed") and s.head["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("after", [0, "0"])
def test_from_the_beginning(stack, tenant, after):
    for n in range(5):
        publish(tenant, "room.1", n)
    with Stream(stack.edge_url, path("room.1", after=after), tenant.key) as s:
        s.wait("event", lambda e: e["data"] == 4)
        assert [e["data"] for e in s.got()] == [0, 1, 2, 3, 4]
        publish(tenant, "room.1", 5)
        assert s.wait("event")["data"] == 5


def test_after_an_offset(stack, tenant):
    answers = [publish(tenant, "room.1", n) for n in range(5)]
    epoch = tenant.http("GET", "/v1/channels/room.1/events")[2]["epoch"]
    for after in (answers[2]["offset"], f"{epoch}:{answers[2]['offset']}"):
        with Stream(stack.edge_url, path("room.1", after=after), tenant.key) as s:
            assert s.wait("subscribed")["recovered"]
            assert s.wait("event")["data"] == 3 and s.wait("event")["data"] == 4


def test_reconnect_loses_nothing_and_repeats_nothing(stack, tenant):
    """A reader that is cut off again and again, on either edge, while somebody publishes."""
    n, stop = 300, threading.Event()

    def write():
        for i in range(n):
            publish(tenant, "room.1", i, edge=f"edge-{1 + i % 2}")
        stop.set()
    s = Stream(stack.edge_url, path("room.1", after=0), tenant.key)
    writer = threading.Thread(target=write)
    writer.start()
    got, edge = [], 0
    while len(got) < n:
        for _ in range(37):
            event = s.next()
            if event[0] == "event":
                got.append(event[1]["data"])
                if len(got) == n:
                    break
        if len(got) < n:
            edge = 1 - edge
            s.url = stack.url(f"edge-{1 + edge}")
            s = s.again()
            assert s.wait("subscribed")["recovered"]
    writer.join()
    s.close()
    assert got == list(range(n))


@pytest.mark.parametrize("id", ["0000000000000001:5", "rubbish", "x:1", ":", "0000000000000001:", "9" * 40, "ä".encode().decode("latin1")])
def test_an_unknown_position_is_said(stack, tenant, id):
    first = publish(tenant, "room.1", "before")
    with Stream(stack.edge_url, path("room.1", after=0), tenant.key, last_id=id) as s:
        answer = s.wait("subscribed")
        assert not answer["recovered"] and answer["offset"] >= first["offset"]
        assert s.last_id == f"{answer['epoch']}:{answer['offset']}"
        publish(tenant, "room.1", "after")
        assert s.wait("event")["data"] == "after" and len(s.got()) == 1


def test_a_position_that_was_never_reached(stack, tenant):
    epoch = tenant.http("GET", "/v1/channels/room.1/events")[2]["epoch"]
    with Stream(stack.edge_url, path("room.1"), tenant.key, last_id=f"{epoch}:999999999") as s:
        assert not s.wait("subscribed")["recovered"]


def test_a_task(stack, tenant):
    """Deltas and transitions of a task, to its end."""
    _, _, task = tenant.http("POST", "/v1/tasks", {"pipeline": "slow", "key": "k", "input": {"document": "One. Two. Three."}})
    with Stream(stack.edge_url, path(task["channel"], after=0), tenant.key) as s:
        end = s.wait("event", lambda e: e["type"] == "task.completed")
        text = "".join(d["data"] for d in s.got("delta"))
        assert text and end["data"]["output"]["text"].endswith(text)
        assert [e["type"] for e in s.got()][:2] == ["task.accepted", "task.started"]


@pytest.mark.parametrize("what, status, code", [
    (dict(token=None), 401, "unauthenticated"), (dict(token="pk_a_b"), 401, "unauthenticated"),
    (dict(channel="a%20b"), 400, "bad_request"), (dict(after="x"), 400, "bad_request"), (dict(after="-1"), 400, "bad_request"),
    (dict(after="1" * 30), 400, "bad_request"), (dict(scopes=["publish"]), 403, "forbidden")])
def test_refused_before_it_begins(stack, tenant, what, status, code):
    token = what.get("token", tenant.key)
    if "scopes" in what:
        token = stack.control().key(tenant.id, scopes=what["scopes"])
        wait_for("the key", lambda: http("GET", stack.edge_url + "/v1/channels/r/events", None, token)[0] == 403)
    query = {"after": what["after"]} if "after" in what else {}
    with Stream(stack.edge_url, path(what.get("channel", "room.1"), **query), token) as s:
        assert s.status == status and s.problem()["code"] == code


def test_head_and_methods(stack, tenant):
    with contextlib.closing(socket.create_connection(urllib.parse.urlsplit(stack.edge_url).netloc.split(":"), 10)) as c:
        c.sendall(f"HEAD {path('room.1')} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tenant.key}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: c.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and b"text/event-stream" in head and body == b""
    assert tenant.http("POST", path("room.1"), {})[0] == 405


def test_who_goes_away_is_forgotten(stack, tenant):
    before = metric(stack, "penstock_edge_streams")
    streams = [Stream(stack.edge_url, path(f"room.{i}"), tenant.key) for i in range(20)]
    for s in streams:
        s.wait("subscribed")
    assert metric(stack, "penstock_edge_streams") >= 20
    for s in streams[:10]:
        s.close()
    for s in streams[10:]:
        s.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        s.close()
    wait_for("the end of the streams", lambda: metric(stack, "penstock_edge_streams") <= before)


def test_a_revoked_key_ends_its_streams(stack):
    t = Tenant(stack)
    with Stream(stack.edge_url, path("room.1"), t.key) as s:
        s.wait("subscribed")
        c = stack.control()
        tag = c.call("GET", f"/tenants/{t.id}/keys/{t.key.split('_')[1]}")[1]["ETag"]
        c.call("DELETE", f"/tenants/{t.id}/keys/{t.key.split('_')[1]}", headers={"If-Match": tag})
        assert s.wait("problem")["code"] == "unauthenticated" and s.next() is None


# --- with an edge of their own --------------------------------------------------------------

@pytest.fixture(scope="module")
def narrow():
    stack = make_stack(env={"edge": {"PENSTOCK_EDGE_STREAMS": 3, "PENSTOCK_EDGE_PING_MS": 200, "PENSTOCK_EDGE_PONG_MS": 100,
                                     "PENSTOCK_EDGE_OUT_SOFT_BYTES": 65536, "PENSTOCK_EDGE_HTTP_TIMEOUT_S": 1}})
    try:
        yield provision(stack.start())
    finally:
        end_stack(stack)


def test_as_many_as_may_be(narrow):
    t = Tenant(narrow)
    with contextlib.ExitStack() as streams:
        for i in range(3):
            streams.enter_context(Stream(narrow.edge_url, path(f"room.{i}"), t.key)).wait("subscribed")
        with Stream(narrow.edge_url, path("room.3"), t.key) as s:
            assert s.status == 503 and s.problem()["code"] == "overloaded" and int(s.head["retry-after"]) >= 1
        assert publish(t, "room.1", 1)  # the door for everything else is open
    wait_for("room", lambda: metric(narrow, "penstock_edge_streams") == 0)
    with Stream(narrow.edge_url, path("room.3"), t.key) as s:
        assert s.wait("subscribed")


def test_it_lives_by_its_beats(narrow):
    """Longer than any timeout of HTTP, with nothing but comments."""
    t = Tenant(narrow)
    with Stream(narrow.edge_url, path("room.1"), t.key) as s:
        s.wait("subscribed")
        wait = threading.Timer(2.5, lambda: publish(t, "room.1", "late"))
        wait.start()
        assert s.wait("event")["data"] == "late" and s.comments >= 5
        wait.join()


def test_a_slow_reader(narrow):
    """Who does not read is spilled: a gap frame, and then everything once and in order, when it reads again."""
    t = Tenant(narrow, {"events_per_s": 100000, "burst": 100000})
    n, text = 600, "x" * 8000
    with Stream(narrow.edge_url, path("room.1"), t.key, buffer=8192) as s:
        s.wait("subscribed")

        # Over HTTP: this edge wants its pongs within 100 ms, which a busy writer does not keep to.
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda j: publish(t, "room.1", {"n": j, "text": text}), range(n)))
        assert metric(narrow, "penstock_edge_spills_total") >= 1
        s.wait("event", lambda e: True)
        order = [e["offset"] for e in s.got()]
        while len(s.got()) < n:
            s.wait("event")
        order = [e["offset"] for e in s.got()]
        assert order == sorted(set(order)) and len(order) == n
        assert {e["data"]["n"] for e in s.got()} == set(range(n))
        gaps = s.got("gap")
        assert gaps and all(g["reason"] == "slow_consumer" and g["replayable"] for g in gaps)


def test_a_drain_ends_it_and_it_goes_on_elsewhere(private):
    stack = private(edges=2, env={"edge": {"PENSTOCK_EDGE_DRAIN_SPREAD_MS": 500, "PENSTOCK_EDGE_DRAIN_MS": 500}})
    t = Tenant(stack)
    streams = [Stream(stack.url("edge-1"), path("room.1"), t.key) for _ in range(20)]
    for s in streams:
        s.wait("subscribed")
    publish(t, "room.1", 1)
    assert stack.kill("edge-1", signal.SIGTERM, 15) == 0, stack.tail("edge-1")
    publish(t, "room.1", 2, edge="edge-2")
    for s in streams:
        drain = s.wait("drain")
        assert drain["url"] == stack.url("edge-2") and drain["reason"]
        assert s.next() is None, "it is closed behind it, and a browser comes back by itself"
        s.url = drain["url"]
        with s.again() as more:
            assert more.wait("subscribed")["recovered"]
            assert more.wait("event")["data"] == 2 and [e["data"] for e in s.got()] == [1]


def test_an_edge_that_is_stopped_at_once(private):
    """A second SIGTERM hurries: streams end with it."""
    stack = private()
    t = Tenant(stack)
    with Stream(stack.edge_url, path("room.1"), t.key) as s:
        s.wait("subscribed")
        assert stack.kill("edge-1", signal.SIGTERM, 20) == 0
        while s.next():
            pass
        assert len(s.got("drain")) <= 1
