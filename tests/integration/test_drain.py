"""Whose edge, and how an edge takes leave of its clients: DESIGN 7 and 9.7."""
import asyncio
import json
import signal
import subprocess
import time
import uuid

import pytest
import websockets

from client import Client
from conftest import BIN, Tenant
from stack import http, wait_for

SPREAD, NOTICE = 600, 800  # ms
ENV = {"PENSTOCK_EDGE_DRAIN_MS": NOTICE, "PENSTOCK_EDGE_DRAIN_SPREAD_MS": SPREAD}


def drains(frame):
    return frame["op"] == "drain"


def locate(stack, tenant, edge="edge-1"):
    status, _, doc = tenant.http("GET", "/v1/locate", edge=edge)
    assert status == 200, doc
    assert doc["url"] == stack.url(doc["edge"]), doc
    return doc["edge"]


async def farewell(client):
    """The drain frame, when it came and when the end did."""
    frame = await client.wait(drains)
    told = time.monotonic()
    code = await client.wait_close()
    return frame, told, time.monotonic(), code


async def connected(stack, edge, tenant, n, channel="room.1"):
    clients = [await Client(stack.url(edge), tenant.key).__aenter__() for _ in range(n)]
    for c in clients:
        await c.subscribe(channel)
    return clients


async def refused_upgrade(url, token):
    """503, and how long to wait."""
    with pytest.raises(websockets.InvalidStatusCode) as refused:
        await Client(url, token).__aenter__()
    return refused.value.status_code == 503 and int(refused.value.headers["Retry-After"]) > 0


async def test_locate(private):
    """Every edge gives the same answer, and it is the edge that serves; without a token it speaks for itself."""
    stack = private(edges=3, env={"edge-3": {"PENSTOCK_EDGE_REGION": "far"}})
    tenants = [Tenant(stack) for _ in range(12)]
    homes = [locate(stack, t) for t in tenants]
    assert set(homes) == {"edge-1", "edge-2"}  # 12 tenants, two edges of their region
    for edge in ("edge-2", "edge-3"):
        assert [locate(stack, t, edge) for t in tenants] == homes
        assert http("GET", stack.url(edge) + "/v1/locate")[2]["edge"] == edge
    assert http("GET", stack.edge_url + "/v1/locate", token="pk_no_body")[0] == 401
    assert http("GET", stack.edge_url + f"/v1/locate?access_token={tenants[0].key}")[2]["edge"] == homes[0]
    far = Tenant(stack, region="far")
    assert locate(stack, far) == "edge-3"
    # A wrong edge still serves.
    async with Client(stack.edge_url, far.key) as c:
        assert (await c.publish("room.1", 1))["offset"] > 0
    # Its region has no edge any more: any other; those of edge-2 go to the one that is left, the others stay.
    stack.kill("edge-3", signal.SIGTERM)
    wait_for("another edge", lambda: locate(stack, far) in ("edge-1", "edge-2"), 10)
    stack.kill("edge-2", signal.SIGTERM)
    wait_for("edge-1", lambda: {locate(stack, t) for t in tenants + [far]} == {"edge-1"}, 10)
    # Back again: only the old ones move.
    stack.start_one("edge-2")
    stack.wait_ready("edge-2")
    wait_for("the old homes", lambda: [locate(stack, t) for t in tenants] == homes, 10)


async def test_an_edge_that_stops(private):
    """Out of the ring, no upgrades, drain frames one after the other with the tenant's next edge, 4200 at each one's
    deadline, and the end; HTTP goes on."""
    stack = private(edges=3, env={"edge": ENV})
    tenants = [Tenant(stack) for _ in range(8)]
    for t in tenants:
        locate(stack, t)
    homes = {t.id: locate(stack, t) for t in tenants}
    leaving = homes[tenants[0].id]
    others = [f"edge-{i}" for i in (1, 2, 3) if f"edge-{i}" != leaving]
    clients = [c for t in tenants for c in await connected(stack, leaving, t, 3)]
    ends = [asyncio.create_task(farewell(c)) for c in clients]
    start = time.monotonic()
    stop = asyncio.create_task(asyncio.to_thread(stack.kill, leaving, signal.SIGTERM))
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED, timeout=0.1)
    assert await refused_upgrade(stack.url(leaving), tenants[0].key)
    assert tenants[0].http("POST", "/v1/events", {"channel": "room.1", "type": "chat.message", "data": 7},
                           edge=leaving)[0] == 202
    for edge in others:
        assert leaving not in {locate(stack, t, edge) for t in tenants}
    went = {t.id: locate(stack, t, others[0]) for t in tenants}
    for t in tenants:  # who was not there before does not move
        assert homes[t.id] == leaving or went[t.id] == homes[t.id]
    told = []
    for i, end in enumerate(ends):
        frame, at, closed, code = await end
        assert code == 4200
        assert frame["deadline_ms"] == NOTICE and frame["reason"] == "shutdown"
        assert 0 <= frame["reconnect_after_ms"] <= NOTICE / 2
        assert frame["url"] == stack.url(went[tenants[i // 3].id])
        assert closed - at > NOTICE / 1000 - 0.2
        told.append(at)
    # Spread, not all at once: the last ones are told late, and some in each third.
    assert max(told) - min(told) > SPREAD / 2000
    assert max(told) - start > SPREAD / 2000
    assert await stop == 0, stack.tail(leaving)
    # Whoever was subscribed had the event that came in between.
    for c in clients[:3]:
        assert any(f["op"] == "event" and f["data"] == 7 for f in c.frames)


def operate(stack, verb, edge, **body):
    status, head, doc = stack.control().call("POST", f"/edges/{edge}:{verb}", body,
                                             headers={"X-Audit-Reason": "new kernel"})
    assert head["Penstock-Published"] == "true", head
    return doc


def edge_of(stack, id):
    return stack.control().call("GET", f"/edges/{id}")[2]


async def test_the_operators_drain(private):
    """One edge is drained, keeps running, survives restarts drained, and comes back."""
    stack = private(edges=2)
    tenants = [Tenant(stack) for _ in range(4)]
    clients = [c for t in tenants for c in await connected(stack, "edge-1", t, 2)]
    status, _, doc = stack.control().call("POST", "/edges/edge-1:drain", {}, ok=(400,))
    assert "X-Audit-Reason" in doc["detail"]
    stack.control().call("POST", "/edges/edge-9:drain", {}, ok=(404,), headers={"X-Audit-Reason": "no"})
    ends = [asyncio.create_task(farewell(c)) for c in clients]
    doc = operate(stack, "drain", "edge-1", deadline_ms=300, spread_ms=200)
    assert doc["id"] == "edge-1" and doc["drain"]["drained"] and doc["live"]
    for end in ends:
        frame, told, closed, code = await end
        assert code == 4200 and frame["reason"] == "operator" and frame["deadline_ms"] == 300
        assert frame["url"] == stack.url("edge-2") and frame["reconnect_after_ms"] <= 150
        assert closed - told > 0.2
    assert await refused_upgrade(stack.edge_url, tenants[0].key)
    assert {locate(stack, t, e) for t in tenants for e in ("edge-1", "edge-2")} == {"edge-2"}
    assert http("GET", stack.url("admin-edge-1") + "/readyz")[0] == 503
    # HTTP is served all the same.
    assert tenants[0].http("POST", "/v1/events", {"channel": "c", "type": "chat.message", "data": 1})[0] == 202
    wait_for("the state", lambda: (lambda e: e["state"] == "draining" and e["connections"] == 0)(
        edge_of(stack, "edge-1")), 10)
    # It is the configuration's: neither the control-plane's end nor the edge's changes it.
    stack.restart("control-1")
    stack.kill("edge-1", signal.SIGKILL)
    wait_for("its end to be noticed", lambda: not edge_of(stack, "edge-1")["live"], 10)
    items = {e["id"]: e for e in stack.control().call("GET", "/edges")[2]["items"]}
    assert items["edge-1"]["drain"]["drained"] and items["edge-2"]["drain"] is None and items["edge-2"]["live"]
    stack.start_one("edge-1")
    wait_for("edge-1", lambda: edge_of(stack, "edge-1").get("state") == "draining")
    assert await refused_upgrade(stack.edge_url, tenants[0].key)
    doc = operate(stack, "undrain", "edge-1")
    assert doc["drain"] is None
    stack.wait_ready("edge-1")
    async with Client(stack.edge_url, tenants[0].key) as c:
        await c.subscribe("room.1")
    wait_for("both edges", lambda: {locate(stack, Tenant(stack)) for _ in range(4)} == {"edge-1", "edge-2"}, 30)
    rows = stack.control().call("GET", "/audit?page_size=100")[2]["items"]
    assert [r["action"] for r in rows if r["action"].startswith("edge.")] == ["edge.undrain", "edge.drain"]
    assert all(r["reason"] == "new kernel" for r in rows if r["action"].startswith("edge."))


async def test_one_tenant_is_drained(private):
    """Its sockets on that edge go, others' and its own elsewhere stay; who comes all the same is told where to go."""
    stack = private(edges=2, env={"edge": ENV})
    moved, other = Tenant(stack), Tenant(stack)
    mine = await connected(stack, "edge-1", moved, 3)
    stay = await connected(stack, "edge-1", other, 2) + await connected(stack, "edge-2", moved, 2)
    ends = [asyncio.create_task(farewell(c)) for c in mine]
    operate(stack, "drain", "edge-1", tenant=moved.id, deadline_ms=200, spread_ms=0)
    for end in ends:
        frame, _, _, code = await end
        assert code == 4200 and frame["url"] == stack.url("edge-2") and frame["deadline_ms"] == 200
    assert {locate(stack, moved, e) for e in ("edge-1", "edge-2")} == {"edge-2"}
    assert edge_of(stack, "edge-1")["state"] == "serving"
    # At the door: not let in first, and told then. Over HTTP as well, where it is a stream; what is no socket is served.
    assert await refused_upgrade(stack.edge_url, moved.key)
    late = Client(stack.edge_url, moved.key)
    with pytest.raises(websockets.InvalidStatusCode, match="503"):
        await late.open(query=f"?access_token={moved.key}")
    status, head, _ = moved.http("GET", "/v1/channels/room.1/stream")
    assert status == 503 and int(head["Retry-After"]) > 0
    assert moved.http("POST", "/v1/events", {"channel": "c", "type": "chat.message", "data": 1})[0] == 202
    # A handshake without its token is nobody's: told where to go when it is known whose it is.
    await late.open()
    await late.send(op="connect", token=moved.key)
    frame, _, _, code = await farewell(late)
    assert code == 4200 and frame["url"] == stack.url("edge-2")
    # Others come in, and who is not known is told so on his socket.
    stay.append(await Client(stack.edge_url, other.key).__aenter__())
    stranger = await Client(stack.edge_url).open({"Authorization": "Bearer pk_no_body"})
    assert await stranger.wait_close() == 4001
    for c in stay:
        await c.call(op="ping")
        assert not any(drains(f) for f in c.frames)
    # Nowhere else to go: then a wrong edge serves.
    stack.kill("edge-2", signal.SIGKILL)
    # What is said of the sessions, while it is still taken for alive, does not pass for all there is.
    listed = stack.control().call("GET", f"/sessions?tenant={other.id}")[2]
    assert listed["silent"] == ["edge-2"] and len(listed["items"]) == 3, listed
    stack.control().call("POST", f"/sessions/{uuid.uuid4()}:disconnect", {}, ok=(503,), headers={"X-Audit-Reason": "no"})
    wait_for("the end of edge-2", lambda: moved.http("GET", "/v1/locate")[0] == 503, 10)
    async with Client(stack.edge_url, moved.key) as c:
        await c.subscribe("room.1")
        assert (await c.publish("room.1", 1))["offset"]
        assert not any(drains(f) for f in c.frames)
        operate(stack, "undrain", "edge-1", tenant=moved.id)
        wait_for("the undrain", lambda: moved.http("GET", "/v1/locate")[0] == 200, 10)
        await c.call(op="ping")
    assert locate(stack, moved) == "edge-1"
    for c in stay:
        await c.ws.close()


async def test_a_drained_tenant_has_room_elsewhere(private):
    """The sockets that it still has on the drained edge do not count against its limit on the others."""
    stack = private(edges=2, env={"edge": ENV})
    t = Tenant(stack, limits={"connections": 2})
    old = await connected(stack, "edge-1", t, 2)

    async def come():
        c = await Client(stack.url("edge-2"), t.key).open({"Authorization": f"Bearer {t.key}"})
        if (await c.wait(lambda f: f["op"] in ("connected", "error")))["op"] == "connected":
            return c
        await c.wait_close()
        return None

    end = time.monotonic() + 10
    while c := await come():  # until the other edge has heard of them
        assert time.monotonic() < end
        await c.ws.close()
    operate(stack, "drain", "edge-1", tenant=t.id, deadline_ms=60000, spread_ms=0)
    for c in old:
        await c.wait(drains)
    while not (c := await come()):
        assert time.monotonic() < end
    for one in [*old, c]:
        assert (await one.call(op="ping"))["op"] == "pong"
        await one.ws.close()


def test_the_command(stack, tenant, penstock):
    """penstock edge list, get, drain and undrain; one tenant alone, so that nobody else of this stack notices."""
    def drained():
        return [e["id"] for e in penstock("-o", "json", "edge", "list") if tenant.id in ((e["drain"] or {}).get("tenants") or {})]
    assert {e["id"] for e in penstock("-o", "json", "edge", "list")} == {"edge-1", "edge-2"} and drained() == []
    first = stack.control().call("GET", "/edges?page_size=1")[2]
    second = stack.control().call("GET", f"/edges?page_size=1&page_token={first['next_page_token']}")[2]
    assert [e["id"] for e in first["items"] + second["items"]] == ["edge-1", "edge-2"]
    assert second["next_page_token"] is None
    for words in (["edge-2"], ["edge-2", "--reason", ""], ["edge-2", "--reason", "a\r\nX-Other: b"], ["--reason", "why"],
                  ["edge-2", "--reason", "why", "--deadline", "soon"]):
        assert penstock("edge", "drain", *words, ok=False).returncode == 2, words
    assert penstock("edge", "drain", "edge-9", "--reason", "why", ok=False).returncode == 1
    doc = penstock("-o", "json", "edge", "drain", "edge-2", "--reason", "too loud", "--tenant", tenant.id, "--deadline", "50",
                   "--spread", "0")
    assert doc["drain"]["tenants"][tenant.id] == {"deadline_ms": 50, "spread_ms": 0} and not doc["drain"]["drained"]
    assert drained() == ["edge-2"]
    assert penstock("-o", "json", "edge", "get", "edge-2")["drain"] == doc["drain"]
    assert "edge-2" in penstock("edge", "list", parse=False).stdout
    wait_for("edge-1", lambda: {locate(stack, tenant, e) for e in ("edge-1", "edge-2")} == {"edge-1"}, 10)
    penstock("edge", "undrain", "edge-2", "--reason", "quiet again", "--tenant", tenant.id, parse=False)
    assert drained() == []
    rows = [r for r in stack.control().call("GET", "/audit?page_size=200")[2]["items"] if r["tenant"] == tenant.id]
    assert [(r["action"], r["reason"]) for r in rows[:2]] == [("edge.undrain", "quiet again"), ("edge.drain", "too loud")]


async def test_undrained_in_time(private):
    """Who is not told yet is not told, who is told is not closed."""
    stack = private(edges=2)
    tenant = Tenant(stack)
    clients = await connected(stack, "edge-1", tenant, 10)
    operate(stack, "drain", "edge-1", deadline_ms=60000, spread_ms=60000)
    await clients[-1].wait(drains)
    operate(stack, "undrain", "edge-1")
    stack.wait_ready("edge-1")  # the answer waited for the publication; the edge hears of it by its watch
    async with Client(stack.edge_url, tenant.key) as c:
        await c.call(op="ping")
    for c in clients:
        await c.call(op="ping")
    assert sum(any(drains(f) for f in c.frames) for c in clients) < 3
    # And once more, in earnest.
    operate(stack, "drain", "edge-1", deadline_ms=100, spread_ms=100)
    for c in clients:
        assert await c.wait_close() == 4200


# --- nothing is lost -----------------------------------------------------------------------------

class Roamers:
    """penstock-load's clients, which go where they are sent and check every event that they get."""

    def __init__(self, stack, tenant, **options):
        edges = [stack.url(f"edge-{i}") for i in range(1, stack.counts["edge"] + 1)]
        argv = [BIN / "penstock-load", "roam", "--url", edges[0], "--edges", ",".join(edges), "--token", tenant.key]
        argv += [str(x) for k, v in options.items() for x in (f"--{k}", v)]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        ready = self.process.stdout.readline()
        assert "ready" in ready, (ready, self.process.wait(10))

    def report(self, timeout=60):
        out, _ = self.process.communicate(timeout=timeout)
        print(out)
        return json.loads(out.splitlines()[-1])


def nothing_lost(report):
    assert report["accepted"] == report["published"] and report["unanswered"] == 0, report
    assert report["delivered"] == report["expected"] and report["subscribers_behind"] == 0, report
    assert report["repeated"] == 0 and report["holes"] == 0 and report["not_recovered"] == 0, report
    assert report["gaps"] == 0, report


def test_rolling_restart(private):
    """All edges, one after the other, under load: every accepted event comes to every subscriber once and in order."""
    stack = private(edges=3, env={"edge": {"PENSTOCK_EDGE_DRAIN_MS": 500, "PENSTOCK_EDGE_DRAIN_SPREAD_MS": 500}})
    tenant = Tenant(stack)
    load = Roamers(stack, tenant, publishers=30, subscribers=300, channels=30, rate=300, seconds=12)
    for i in (1, 2, 3):
        stack.restart(f"edge-{i}", signal.SIGTERM)
    report = load.report()
    nothing_lost(report)
    assert report["told"] >= 330 and report["moved"] >= 330, report  # each was somewhere when that edge stopped
    assert "end of file" not in report["errors"], report
    assert report["away_ms"]["p99"] < 5000, report
    assert report["closed_4200"] > 60, report  # who waits for it is closed, and comes back as well


def test_five_thousand_connections(private):
    """5,000 connections over 3 edges while publishers run: one edge is stopped, another drained by the operators and
    taken back."""
    stack = private(edges=3, env={"edge": {"PENSTOCK_EDGE_DRAIN_MS": 1000, "PENSTOCK_EDGE_DRAIN_SPREAD_MS": 3000}})
    tenant = Tenant(stack)
    load = Roamers(stack, tenant, publishers=50, subscribers=4950, channels=50, rate=100, seconds=14)
    assert stack.kill("edge-1", signal.SIGTERM) == 0
    stack.start_one("edge-1")
    stack.wait_ready("edge-1")
    operate(stack, "drain", "edge-2")
    wait_for("an empty edge", lambda: edge_of(stack, "edge-2")["connections"] == 0, 30)
    # It is all one tenant's: where it goes is nobody's burden beyond 1.25 of the mean.
    def loads():
        return [edge_of(stack, f"edge-{i}")["connections"] for i in (1, 3)]
    wait_for("all elsewhere", lambda: sum(loads()) == 5000, 10)
    assert max(loads()) < 5000 / 2 * 1.25 * 1.1, loads()
    operate(stack, "undrain", "edge-2")
    report = load.report()
    nothing_lost(report)
    assert report["told"] > 3000 and report["moved"] > 3000 and report["closed_4200"] > 700, report
    assert report["errors"] == {}, report


async def test_a_second_signal_hurries(private):
    stack = private(edges=2, env={"edge": {"PENSTOCK_EDGE_DRAIN_MS": 60000, "PENSTOCK_EDGE_DRAIN_SPREAD_MS": 60000}})
    tenant = Tenant(stack)
    clients = await connected(stack, "edge-1", tenant, 10)
    stack.children["edge-1"].send_signal(signal.SIGTERM)
    await clients[-1].wait(drains)  # the newest is the first
    stop = asyncio.create_task(asyncio.to_thread(stack.kill, "edge-1", signal.SIGTERM))
    for c in clients:
        assert await c.wait_close() == 4200
        assert [f["url"] for f in c.frames if drains(f)] == [stack.url("edge-2")]
    assert await stop == 0
