"""How many sockets and subscriptions a tenant may have, over all edges; and who takes too long to say who it is."""
import asyncio
import re
import signal
import time
from http.client import HTTPConnection

import pytest

from client import Client, Refused
from conftest import Tenant
from sse import Stream
from stack import http, wait_for

TOLD = 3  # s in which the other edges know: twice the interval, and a loaded machine


def limits(stack, tenant, **new):
    path = f"/tenants/{tenant.id}/limits"
    control = stack.control()
    control.call("PATCH", path, new, headers={"If-Match": control.call("GET", path)[1]["ETag"]})


def metric(stack, edge, name):
    text = http("GET", stack.url(f"admin-{edge}") + "/metrics")[2]
    found = re.search(rf"^{re.escape(name)} (\d+)", text if isinstance(text, str) else text.decode(), re.M)
    return int(found.group(1)) if found else 0


async def refused(stack, tenant, edge, **connect):
    """The error and the close code of a socket that is not let in; None if it is."""
    c = Client(stack.url(edge), tenant.key)
    if connect:
        await c.open()
        await c.send(op="connect", **connect)
    else:
        await c.open({"Authorization": f"Bearer {tenant.key}"})
    frame = await c.wait(lambda f: f["op"] in ("connected", "error"))
    if frame["op"] == "connected":
        await c.ws.close()
        return None
    return frame, await c.wait_close()


async def eventually(what, ask, timeout=TOLD):
    end = time.monotonic() + timeout
    while not await ask():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.05)


async def test_connections_over_all_edges(stack):
    tenant, other = Tenant(stack, limits={"connections": 4}), Tenant(stack)
    open_ = [await Client(stack.url(f"edge-{i % 2 + 1}"), tenant.key).__aenter__() for i in range(4)]
    for edge in ("edge-1", "edge-2"):
        await eventually(f"{edge} knows", lambda: refused(stack, tenant, edge))
        frame, code = await refused(stack, tenant, edge)
        assert (frame["code"], frame["scope"], frame["temporary"], code) == ("overloaded", "tenant", True, 4100)
        assert frame["retry_after_ms"] > 0
        frame, code = await refused(stack, tenant, edge, token=tenant.key)
        assert (frame["code"], code) == ("overloaded", 4100)
        with Stream(stack.url(edge), "/v1/channels/a/stream", tenant.key) as s:
            assert s.status == 503 and int(s.head["retry-after"]) > 0
            assert s.problem()["limit"] == "tenant.connections"
        # Nobody else notices, and neither does HTTP.
        assert await refused(stack, other, edge) is None
        assert tenant.http("POST", "/v1/events", {"channel": "a", "type": "chat.message", "data": 1}, edge)[0] == 202
    # Who comes back does not stand in his own way; but he is no way around the limit.
    async with Client(stack.url("edge-2"), resume=open_[0].connected["resume"]) as again:
        await eventually("resumed ones count", lambda: refused(
            stack, tenant, "edge-1", resume=open_[1].connected["resume"]))
        assert (await again.call(op="ping"))["op"] == "pong"
    # One goes on one edge, one may come on the other.
    await open_.pop(0).ws.close()

    async def is_let_in():
        return await refused(stack, tenant, "edge-2") is None
    await eventually("room", is_let_in)
    limits(stack, tenant, connections=2)
    await eventually("the lower limit", lambda: refused(stack, tenant, "edge-1"))
    for c in open_:  # nobody is thrown out
        assert (await c.call(op="ping"))["op"] == "pong"
    limits(stack, tenant, connections=2, mode="shadow")
    await eventually("shadow", is_let_in)
    assert metric(stack, "edge-2", 'penstock_edge_limited_total{limit="connections",mode="shadow"}') > 0
    assert metric(stack, "edge-2", 'penstock_edge_limited_total{limit="connections",mode="enforce"}') > 0
    for c in open_:
        await c.ws.close()


async def test_subscriptions_over_all_edges(stack):
    tenant = Tenant(stack, limits={"subscriptions": 3})
    async with Client(stack.url("edge-1"), tenant.key) as a, Client(stack.url("edge-2"), tenant.key) as b:
        await a.subscribe("room.1")
        await a.subscribe("room.2")
        await b.subscribe("room.1")

        async def full(c, channel):
            try:
                await c.subscribe(channel)
            except Refused as e:
                return e.frame
            await c.call(op="unsubscribe", channel=channel)
        for c in (a, b):
            await eventually("known", lambda: full(c, "room.9"))
            frame = await full(c, "room.9")
            assert (frame["code"], frame["scope"], frame["temporary"]) == ("overloaded", "tenant", True)
            assert frame["retry_after_ms"] > 0
            with pytest.raises(Refused) as no:  # a task is followed by a subscription
                await c.task("noop", 1, "t1")
            assert no.value.code == "overloaded"
        await a.call(op="unsubscribe", channel="room.1")

        async def fits():
            return not await full(b, "room.9")
        await eventually("room", fits)

        async def fits_here():  # once it is known here that what was tried there is over
            try:
                return await a.subscribe("room.3")
            except Refused:
                return False
        await eventually("room here", fits_here)
        await eventually("full again", lambda: full(b, "room.9"))
    # Sockets that go take their subscriptions along.
    async with Client(stack.url("edge-2"), tenant.key) as c:
        async def all_three():
            for n in (4, 5, 6):
                try:
                    await c.subscribe(f"room.{n}")
                except Refused as e:
                    assert e.code in ("overloaded", "conflict")
            return len([f for f in c.frames if f["op"] == "subscribed"]) == 3
        await eventually("all three", all_three)


async def test_edges_that_die_or_stop(private):
    """What a dead edge had is free when it is no member any more; a new edge knows what the others have."""
    stack = private(edges=2, workers=1)
    tenant = Tenant(stack, limits={"connections": 2})
    a = await Client(stack.url("edge-1"), tenant.key).__aenter__()
    await Client(stack.url("edge-2"), tenant.key).__aenter__()
    await eventually("known", lambda: refused(stack, tenant, "edge-1"))
    stack.kill("edge-2", signal.SIGKILL)

    async def let_in():
        return await refused(stack, tenant, "edge-1") is None
    assert not await let_in()
    await eventually("the dead edge's share", let_in, 10)
    b = await Client(stack.url("edge-1"), tenant.key).__aenter__()
    stack.start_one("edge-2")
    stack.wait_ready("edge-2")
    await eventually("edge-2 knows", lambda: refused(stack, tenant, "edge-2"), 8)
    for c in (a, b):
        assert (await c.call(op="ping"))["op"] == "pong"
        await c.ws.close()


# --- who takes too long ---------------------------------------------------------------------------

TIMEOUT_S, CONNECT_S = 2, 1.5


async def drip(stack, first, again, every=0.2):
    """Seconds until a connection is cut off that sends something, and a byte of something now and then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port("edge-1"))
    start = time.monotonic()
    writer.write(first)
    end = asyncio.create_task(reader.read())
    try:
        while not end.done() and time.monotonic() - start < 5 * TIMEOUT_S:
            writer.write(again)
            await asyncio.wait({end}, timeout=every)
    finally:
        writer.close()
        end.cancel()
    return time.monotonic() - start


async def test_who_takes_too_long(private):
    """A request that comes a byte at a time, one that never comes, a socket that never says who it is."""
    stack = private(edges=1, workers=1, env={"edge": {
        "PENSTOCK_EDGE_HTTP_TIMEOUT_S": TIMEOUT_S, "PENSTOCK_EDGE_CONNECT_MS": int(CONNECT_S * 1000)}})
    tenant = Tenant(stack)
    body = b'{"channel":"a","type":"chat.message","data":1}'
    head = (b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer "
            + tenant.key.encode() + b"\r\nContent-Length: %d\r\n\r\n")
    async with Client(stack.edge_url, tenant.key) as good:
        slow = {
            "nothing": (b"", b""),
            "a request line": (b"", b"G"),
            "headers": (b"GET /v1/locate HTTP/1.1\r\nHost: x\r\n", b"a"),
            "whole headers, one after the other": (b"GET /v1/locate HTTP/1.1\r\n", b"A: b\r\n"),
            "a body": (head % 10000, b" "),
            "the next request": (head % len(body) + body, b"\r\n"),
        }
        took = dict(zip(slow, await asyncio.gather(*[drip(stack, *s) for s in slow.values()])))
        for why, s in took.items():
            assert TIMEOUT_S - 0.5 <= s < 2 * TIMEOUT_S + 1, took
        assert metric(stack, "edge-1", "penstock_edge_http_cut_off_total") >= 4
        # The time of a WebSocket is its own; and silence, or a frame that never ends, is no connect.
        assert (await good.call(op="ping"))["op"] == "pong"
        for part in (None, b"\x81\xfe\x10\x00mask"):  # 4,096 bytes are to follow
            c = await Client(stack.edge_url).open()
            start = time.monotonic()
            while part and time.monotonic() - start < CONNECT_S - 0.5:
                c.ws.transport.write(part)
                part = b"\x00" if part else None
                await asyncio.sleep(0.2)
            assert (await c.wait(lambda f: f["op"] == "error"))["code"] == "unauthenticated"
            assert CONNECT_S - 0.3 < time.monotonic() - start < CONNECT_S + 1.5
            assert await c.wait_close(10) == 4001
        # Requests one after the other, each in time, may go on for longer than one may take.
        kept = HTTPConnection("127.0.0.1", stack.port("edge-1"))
        start, sock = time.monotonic(), None
        while time.monotonic() - start < 2 * TIMEOUT_S:
            kept.request("GET", "/v1/locate")
            assert kept.getresponse().read()
            assert sock in (None, kept.sock)
            sock = kept.sock
            await asyncio.sleep(TIMEOUT_S / 4)
        kept.close()
        assert (await good.call(op="ping"))["op"] == "pong"
