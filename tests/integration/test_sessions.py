"""Sessions that outlive their sockets: resume tokens on any edge, and who is not let back in."""
import asyncio
import base64
import signal

import pytest

from client import Client, Refused
from conftest import Tenant, end_stack, make_stack, provision
from stack import http
from traffic import Traffic

TTL_MS, PING_MS, PONG_MS = 600, 200, 100


@pytest.fixture(scope="module")
def brief():
    """Sessions that expire soon, and an edge that takes in five fresh sockets and no more for a long time."""
    stack = make_stack(edges=2, env={
        "edge": {"PENSTOCK_EDGE_RESUME_TTL_MS": TTL_MS, "PENSTOCK_EDGE_PING_MS": PING_MS,
                 "PENSTOCK_EDGE_PONG_MS": PONG_MS},
        "edge-2": {"PENSTOCK_EDGE_CONNECT_RATE": 1, "PENSTOCK_EDGE_CONNECT_BURST": 5}})
    try:
        yield provision(stack.start())
    finally:
        end_stack(stack)


async def refused(url, **connect):
    """(the error frame, the close code) of a socket that is not let in."""
    c = await Client(url).open()
    await c.send(op="connect", **connect)
    frame = await c.wait(lambda f: f["op"] == "error")
    return frame, await c.wait_close()


async def expired(url, resume):
    frame, code = await refused(url, resume=resume)
    assert (frame["code"], code) == ("expired", 4300), frame


@pytest.mark.parametrize("back_on", ["edge-1", "edge-2"])
async def test_resume_where_it_was(stack, tenant, back_on):
    async with Client(stack.url("edge-1"), tenant.key) as a, Client(stack.url("edge-2"), tenant.key) as other:
        place = await a.subscribe("room.1")
        first = await other.publish("room.1", {"n": 1})
        await a.wait_event("room.1", "chat.message")
        await a.lose()
        missed = [(await other.publish("room.1", {"n": n}))["event_id"] for n in (2, 3)]
        async with Client(stack.url(back_on), resume=a.resume) as b:
            assert b.connected["session"] == a.connected["session"]
            assert b.connected["tenant"] == tenant.id and b.connected["edge"] == back_on
            assert b.connected["resume"] != a.resume
            again = await b.subscribe("room.1", {"epoch": place["epoch"], "offset": first["offset"]})
            assert again["recovered"] and again["offset"] == first["offset"]
            await b.wait_event("room.1", "chat.message", where=lambda f: f["data"] == {"n": 3})
            assert [f["event_id"] for f in b.events("room.1")] == missed
            # It is the same client, with all its rights.
            mine = await b.publish("room.1", {"n": 4})
            await b.wait(lambda f: f.get("event_id") == mine["event_id"] and f["op"] == "event")


async def test_old_and_new_socket_overlap(stack, tenant):
    async with Client(stack.url("edge-1"), tenant.key) as a:
        async with Client(stack.url("edge-2"), resume=a.resume) as b, \
                Client(stack.url("edge-1"), resume=a.resume) as c:
            for one in (a, b, c):
                assert one.connected["session"] == a.connected["session"]
                await one.subscribe("room.1")
            sent = await a.publish("room.1", {"n": 1})
            for one in (a, b, c):
                assert (await one.wait_event("room.1", "chat.message"))["event_id"] == sent["event_id"]
            await a.lose()
            sent = await b.publish("room.1", {"n": 2})
            for one in (b, c):
                await one.wait(lambda f: f.get("event_id") == sent["event_id"] and f["op"] == "event")


async def test_a_token_that_nobody_signed(stack, tenant):
    other = Tenant(stack)
    async with Client(stack.edge_url, tenant.key) as a, Client(stack.edge_url, other.key) as b:
        mine, theirs = a.resume.split("."), b.resume.split(".")
        text = base64.urlsafe_b64decode(mine[0] + "===")
        forged = base64.urlsafe_b64encode(text.replace(tenant.id.encode(), other.id.encode())).decode().rstrip("=")
        for bad in (mine[0] + "." + theirs[1], theirs[0] + "." + mine[1], f"{forged}.{mine[1]}", mine[0] + ".",
                    a.resume[:-2] + ("A" if a.resume[-2] != "A" else "B") + a.resume[-1], "x", "." * 4000):
            await expired(stack.edge_url, bad)
        # The signature of its own is still good.
        async with Client(stack.edge_url, resume=a.resume) as c:
            assert c.connected["tenant"] == tenant.id
    for i in (1, 2):
        text = stack.log(f"edge-{i}").read_text()
        assert a.resume not in text and mine[1] not in text


async def test_with_a_token_for_the_case_that_it_cannot(stack, tenant):
    async with Client(stack.edge_url, tenant.key) as a:
        for resume, same in ((a.resume, True), ("no.good", False)):
            c = await Client(stack.edge_url).open()
            await c.send(op="connect", resume=resume, token=tenant.key)
            connected = await c.wait(lambda f: f["op"] == "connected")
            assert (connected["session"] == a.connected["session"]) is same
            await c.ws.close()


async def test_a_key_that_was_revoked_and_a_tenant_that_is_suspended(stack):
    tenant = Tenant(stack)
    doomed = stack.control().key(tenant.id)
    key_id = doomed.split("_")[1]
    async with Client(stack.edge_url, doomed) as a, Client(stack.edge_url, tenant.key) as b:
        stack.control().call("DELETE", f"/tenants/{tenant.id}/keys/{key_id}", headers={"If-Match": "*"})
        assert await a.wait_close() == 4001
        frame, code = await refused(stack.edge_url, resume=a.resume)
        assert (frame["code"], code) == ("unauthenticated", 4001), frame
        stack.control().call("POST", f"/tenants/{tenant.id}:suspend", {}, headers={"If-Match": "*"})
        assert await b.wait_close() == 4003
        frame, code = await refused(stack.edge_url, resume=b.resume)
        assert (frame["code"], code) == ("forbidden", 4003), frame


async def until_expired(url, resume, timeout=20):
    """It is good, again and again, until one time it is not."""
    end = asyncio.get_running_loop().time() + timeout
    while asyncio.get_running_loop().time() < end:
        c = await Client(url).open()
        await c.send(op="connect", resume=resume)
        frame = await c.wait(lambda f: f["op"] in ("connected", "error"))
        if frame["op"] == "error":
            assert frame["code"] == "expired" and await c.wait_close() == 4300, frame
            return
        await c.ws.close()
        await asyncio.sleep(0.02)
    raise AssertionError("the token is good for ever")


async def test_tokens_are_renewed_and_expire(brief):
    url = brief.url("edge-1")
    async with Client(url, Tenant(brief).key) as a:
        assert a.connected["resume_ttl_ms"] == TTL_MS
        first = a.resume
        await a.wait(lambda f: f["op"] == "resume" and f["resume"] != first and f["resume_ttl_ms"] == TTL_MS)
        await until_expired(url, first)
        # The socket still stands, and its newest token is good; after its loss that one ends as well.
        async with Client(url, resume=a.resume) as b:
            assert b.connected["session"] == a.connected["session"]
        last = b.resume
    await until_expired(url, last)


async def test_a_socket_that_answers_no_ping(brief):
    """Pings every PING_MS; the pong has PONG_MS. Whoever is closed for it can come back."""
    url, loop = brief.url("edge-1"), asyncio.get_running_loop()
    async with Client(url, Tenant(brief).key) as a:
        pings = []

        async def answer(data=b"", pong=a.ws.pong):
            pings.append(loop.time())
            if len(pings) <= 5:
                await pong(data)
        a.ws.pong = answer
        assert await a.wait_close() == 4103
        end = loop.time()
        gaps = [b - a for a, b in zip(pings, pings[1:])]
        assert len(pings) == 6 and min(gaps) > PING_MS / 1000 * 0.5, gaps
        assert end - pings[-1] > PONG_MS / 1000 * 0.5
        assert a.frames[-1]["op"] == "resume", "a fresh one in front of the close"
        async with Client(url, resume=a.resume) as b:
            assert b.connected["session"] == a.connected["session"]


async def test_a_drained_socket_takes_its_token_along(private):
    own = private(edges=2)
    tenant = Tenant(own)
    async with Client(own.url("edge-1"), tenant.key) as a:
        place = await a.subscribe("room.1")
        own.kill("edge-1", signal.SIGTERM)
        assert await a.wait_close() == 4200
        drain = next(i for i, f in enumerate(a.frames) if f["op"] == "drain")
        assert "resume" in [f["op"] for f in a.frames[drain:]]
        async with Client(a.frames[drain]["url"], resume=a.resume) as b:
            assert b.connected["session"] == a.connected["session"] and b.connected["edge"] == "edge-2"
            assert (await b.subscribe("room.1", {"epoch": place["epoch"], "offset": place["offset"]}))["recovered"]


async def test_a_storm_of_fresh_ones_leaves_room_for_those_who_come_back(brief):
    tenant, url = Tenant(brief), brief.url("edge-2")
    async with Client(url, tenant.key) as a:
        limited = []
        for _ in range(12):
            frame, code = None, None
            c = await Client(url).open()
            await c.send(op="connect", token=tenant.key)
            frame = await c.wait(lambda f: f["op"] in ("connected", "error"))
            if frame["op"] == "error":
                assert await c.wait_close() == 4101
                limited.append(frame)
            else:
                await c.ws.close()
        assert 12 - len(limited) <= 7, "five at once, and one a second"
        assert limited
        for frame in limited:
            assert frame["code"] == "overloaded" and frame["temporary"] and frame["retry_after_ms"] > 0, frame
            assert frame["details"]["limit"] == "edge.connects"
        back = [await Client(url, resume=a.resume).__aenter__() for _ in range(20)]
        assert {c.connected["session"] for c in back} == {a.connected["session"]}
        for c in back:
            await c.ws.close()
    metrics = http("GET", brief.url("admin-edge-2") + "/metrics")[2]
    counts = {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in metrics.splitlines()
              if line.startswith("penstock_edge_sessions_total")}
    assert counts['penstock_edge_sessions_total{kind="fresh",result="limited"}'] >= len(limited)
    assert counts['penstock_edge_sessions_total{kind="resumed",result="ok"}'] >= 20
    assert counts['penstock_edge_sessions_total{kind="resumed",result="limited"}'] == 0


async def test_five_hundred_at_once(stack, tenant):
    """All of one edge's sockets are lost, and come back on the other one, each 20 events behind."""
    n, behind = 500, 20
    clients = [Client(stack.url("edge-1"), tenant.key) for _ in range(n)]
    for i in range(0, n, 100):
        await asyncio.gather(*(c.__aenter__() for c in clients[i:i + 100]))
    places = await asyncio.gather(*(c.subscribe(f"room.{i % 10}") for i, c in enumerate(clients)))
    await asyncio.gather(*(c.lose() for c in clients))
    ids = {}
    async with Client(stack.url("edge-2"), tenant.key) as p:
        for room in range(10):
            sent = await asyncio.gather(*(p.publish(f"room.{room}", {"n": k}) for k in range(behind)))
            ids[room] = [a["event_id"] for a in sorted(sent, key=lambda a: a["offset"])]

    async def back(i, old, place):
        async with Client(stack.url("edge-2"), resume=old.resume) as c:
            assert c.connected["session"] == old.connected["session"]
            at = await c.subscribe(f"room.{i % 10}", {"epoch": place["epoch"], "offset": place["offset"]})
            assert at["recovered"], at
            await c.wait(lambda f: f["op"] == "event" and f["event_id"] == ids[i % 10][-1], timeout=60)
            assert [f["event_id"] for f in c.events(f"room.{i % 10}")] == ids[i % 10]
            assert not [f for f in c.frames if f["op"] in ("error", "gap")]
    await asyncio.gather(*(back(i, c, place) for i, (c, place) in enumerate(zip(clients, places))))


def test_an_edge_is_killed_and_its_clients_resume_elsewhere(private):
    """DESIGN 8, an edge: no acknowledged event lost, none twice, while publishers go on."""
    own = private(edges=2)
    with Traffic(own, Tenant(own)) as t:
        for name in ("edge-2", "edge-1"):  # the subscriber's, and then where it went
            t.go_on(5)
            t.see_live(5)
            before = t.resumed
            own.kill(name)
            t.see_live(5)
            assert t.resumed > before
            own.start_one(name)
            own.wait_ready(name)
        t.go_on(5)
    t.verify()
