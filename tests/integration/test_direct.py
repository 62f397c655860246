"""The direct road of ephemeral events (DESIGN 2): between two sockets of one edge without the router, under a lease of
the tenant's limits; to the other edges over NATS, once."""
import asyncio
import re
import time

import pytest

import audit
from client import Client, Refused
from conftest import Tenant, end_stack, make_stack, provision
from stack import http, wait_for


def metric(stack, name, service):
    text = http("GET", stack.url(f"admin-{service}") + "/metrics")[2]
    return sum(int(line.rpartition(" ")[2]) for line in text.splitlines()
               if line.startswith(name) and line[len(name)] in " {")


def direct(stack):
    return sum(metric(stack, "penstock_edge_direct_total", f"edge-{i}") for i in range(1, stack.counts["edge"] + 1))


async def move(c, n, **more):
    return await c.publish("room.1", {"n": n}, type="cursor.move", **more)


def numbers(c):
    return [f["data"]["n"] for f in c.events("room.1", "cursor.move")]


async def lease(c):
    """Until the edge has one: the first ones go through the router. -> the last one's answer"""
    for i in range(200):
        before = direct(c.stack)
        answer = await move(c, -1)
        if direct(c.stack) > before:
            return answer
        await asyncio.sleep(0.01)
    raise AssertionError("no event took the direct road")


async def test_the_same_by_either_road(stack, tenant):
    """Frames, answers and order; here and on the other edge, once each."""
    async with (Client(stack.url("edge-1"), tenant.key) as a, Client(stack.url("edge-1"), tenant.key) as b,
                Client(stack.url("edge-2"), tenant.key) as far):
        a.stack = stack
        for c in (a, b, far):
            await c.subscribe("room.1")
        status, _, by_router = tenant.http("POST", "/v1/events", {"channel": "room.1", "type": "cursor.move", "data": {"n": -2}})
        assert status == 202
        by_edge = await lease(a)
        assert {k: type(v) for k, v in by_edge.items() if k not in ("op", "id")} == {k: type(v) for k, v in by_router.items()}
        assert by_edge["offset"] == 0 and not by_edge["duplicate"]
        before = direct(stack)
        for n in range(100):
            await move(a, n)
            await move(far, 1000 + n)
        assert direct(stack) - before > 150, "most of them went directly"
        await a.publish("room.1", {"fence": 1})
        for c in (a, b, far):
            await c.wait(lambda f: f["op"] == "event" and f["data"] == {"fence": 1})
            await c.wait(lambda f: f["op"] == "event" and f["data"] == {"n": 1099})
            await c.wait(lambda f: f["op"] == "event" and f["data"] == {"n": 99})
            got = numbers(c)
            assert [n for n in got if 0 <= n < 1000] == list(range(100))
            assert [n for n in got if n >= 1000] == list(range(1000, 1100))
        frames = {f["data"]["n"]: set(f) for f in b.events("room.1", "cursor.move")}
        assert frames[5] == frames[-2] and "offset" not in frames[5]
        # A key makes the same id, whichever road it takes.
        one = await move(a, 5000, key="k")
        status, _, two = tenant.http("POST", "/v1/events", {"channel": "room.1", "type": "cursor.move", "key": "k",
                                                           "data": {"n": 5000}})
        assert status == 202 and one["event_id"] == two["event_id"]


async def test_many_at_once_take_it(stack, tenant):
    """Nobody has to wait for an answer: what is on its way by the direct road does not keep the next one from it."""
    async with Client(stack.url("edge-1"), tenant.key) as a:
        a.stack = stack
        await a.subscribe("room.1")
        for i in range(50):
            await lease(a)
            before = direct(stack)
            await asyncio.gather(*(move(a, 10 * i + n) for n in range(4)))
            if direct(stack) - before == 4:
                break
        else:
            raise AssertionError("there was always one that went through the router")
        await a.wait(lambda f: f["op"] == "event" and f["data"] == {"n": 10 * i + 3})
        got = [n for n in numbers(a) if n >= 0]
        assert got == sorted(got) and got[-4:] == [10 * i + n for n in range(4)]


async def test_who_sends_rarely_takes_it_too(stack, tenant):
    """A lease of a tenant that sends less than an event a second is there when the next one comes."""
    async with Client(stack.edge_url, tenant.key) as c:
        for i in range(10):
            before = direct(stack)
            await move(c, i)
            if direct(stack) > before:
                break
            await asyncio.sleep(1.1)
        else:
            raise AssertionError("no event took the direct road")


async def test_durable_ones_never_take_it(stack, tenant):
    async with Client(stack.edge_url, tenant.key) as c:
        c.stack = stack
        await lease(c)
        acked = [("room.1", {"n": n}, await c.publish("room.1", {"n": n})) for n in range(30)]
    audit.check_events(stack, tenant.id, acked)


async def test_versions_and_types_are_those_of_the_router(stack, tenant):
    async with Client(stack.edge_url, tenant.key) as c:
        c.stack = stack
        await lease(c)
        await move(c, 1, version=1)
        for more in ({"version": 99}, {"type": "never.declared"}):
            with pytest.raises(Refused) as refused:
                await c.publish("room.1", 1, **{"type": "cursor.move", **more})
            assert refused.value.code == "unknown_type"


async def test_a_suspended_tenant(stack):
    t = Tenant(stack)
    async with Client(stack.edge_url, t.key) as c:
        c.stack = stack
        await lease(c)
        control = stack.control()
        tag = control.call("GET", f"/tenants/{t.id}")[1]["ETag"]
        control.call("POST", f"/tenants/{t.id}:suspend", {}, headers={"If-Match": tag})
        assert await c.wait_close() == 4003


# --- limits ---------------------------------------------------------------------------------

def left(t):
    """What the router would let pass at once."""
    head = t.http("POST", "/v1/events", {"channel": "x", "type": "cursor.move", "data": 1})[1]
    return int(re.search(r"r=(\d+)", head["RateLimit"])[1])


class Flood:
    """Sockets on both edges that send as fast as they are answered, one at a time; and the way through the router."""

    def __init__(self, stack, tenant):
        self.stack, self.tenant, self.accepted, self.refused, self.stop = stack, tenant, [], 0, False

    async def socket(self, edge):
        async with Client(self.stack.url(edge), self.tenant.key) as c:
            while not self.stop:
                start = time.monotonic()
                try:
                    await c.publish("room.1", 1, type="cursor.move")
                    self.accepted.append((start, time.monotonic()))
                except Refused as e:
                    assert e.code == "rate_limited" and e.frame["retry_after_ms"] > 0, e.frame
                    self.refused += 1
                c.frames.clear()

    async def posts(self):
        loop = asyncio.get_running_loop()
        while not self.stop:
            start = time.monotonic()
            status = (await loop.run_in_executor(None, lambda: self.tenant.http(
                "POST", "/v1/events", {"channel": "room.1", "type": "cursor.move", "data": 1})))[0]
            assert status in (202, 429)
            if status == 202:
                self.accepted.append((start, time.monotonic()))


async def test_a_flood_through_two_edges_keeps_the_limit(stack):
    rate, burst, seconds = 300, 300, 5
    t = Tenant(stack, {"events_per_s": rate, "burst": burst})
    wait_for("a full bucket", lambda: left(t) >= burst - 5)
    before, flood = direct(stack), Flood(stack, t)
    work = [asyncio.create_task(flood.socket(f"edge-{1 + i % 2}")) for i in range(6)] + [asyncio.create_task(flood.posts())]
    await asyncio.sleep(seconds)
    flood.stop = True
    await asyncio.gather(*work)
    assert direct(stack) - before > 50, "the direct road was taken"
    assert flood.refused > 0
    # In each stretch of time (by the client's clock: begun after its start, answered before its end) no more than the
    # burst and the rate.
    starts = sorted(a for a, _ in flood.accepted)
    first = starts[0]
    for width in (1.0, 2.0, seconds):
        for at in range(int(seconds - width) * 10 + 1):
            a = first + at / 10
            n = sum(a <= s and e <= a + width for s, e in flood.accepted)
            assert n <= burst + rate * width + 1, (width, n)
    assert len(flood.accepted) >= rate * seconds * 0.6, "and it may use what it has"


async def test_a_limit_that_is_lowered(stack):
    """What an edge holds by then is no more than the new one lets pass."""
    rate = 2000
    t = Tenant(stack, {"events_per_s": rate, "burst": rate})
    async with Client(stack.edge_url, t.key) as c:
        c.stack = stack
        await lease(c)
        for i in range(10):  # so fast that a large one is asked for
            await asyncio.gather(*(move(c, n) for n in range(40)))
        control, path = stack.control(), f"/tenants/{t.id}/limits"
        control.call("PATCH", path, {"events_per_s": 2, "burst": 4},
                     headers={"If-Match": control.call("GET", path)[1]["ETag"]})
        wait_for("the router's new limit", lambda: left(t) <= 4, 5)
        start, passed = time.monotonic(), 0
        for n in range(300):
            try:
                await move(c, n)
                passed += 1
            except Refused as e:
                assert e.code == "rate_limited"
        # The bucket, what the edge kept, and what came back in the time; a few more while the edge had not heard of it.
        assert passed <= 4 + 2 + 2 * (time.monotonic() - start) + 20, passed


async def test_limits_of_others_are_not_touched(stack, tenant):
    """A tenant whose limit is used up is refused by the direct road as well."""
    t = Tenant(stack, {"events_per_s": 20, "burst": 40})
    async with Client(stack.edge_url, t.key) as c:
        codes = []
        for n in range(200):
            try:
                await move(c, n)
                codes.append("ok")
            except Refused as e:
                codes.append(e.code)
        assert codes.count("rate_limited") > 50 and set(codes) == {"ok", "rate_limited"}
    async with Client(stack.edge_url, tenant.key) as c:
        await move(c, 1)


# --- what is killed -------------------------------------------------------------------------

@pytest.fixture(scope="module")
def breakable():
    stack = make_stack(edges=2)
    try:
        yield provision(stack.start())
    finally:
        end_stack(stack)


async def test_without_a_router_it_ends_with_the_lease(breakable):
    stack = breakable
    t = Tenant(stack)
    async with Client(stack.edge_url, t.key) as c:
        c.stack = stack
        await c.subscribe("room.1")
        await lease(c)
        stack.kill("router-1")
        codes = []
        end = time.monotonic() + 8
        while time.monotonic() < end and "unavailable" not in codes:
            try:
                await move(c, 1)
            except Refused as e:
                codes.append(e.code)
        assert codes == ["unavailable"], codes
        stack.start_one("router-1")
        stack.wait_ready("router-1")
        for _ in range(100):
            try:
                await move(c, 2)
                break
            except Refused as e:
                assert e.code == "unavailable"
        await lease(c)
