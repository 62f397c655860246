"""The example deploy/haproxy/haproxy.cfg, by a real HAProxy before real edges."""
import asyncio
import csv
import re
import shutil
import signal
import socket
import subprocess

import pytest

from client import Client
from conftest import ROOT, Tenant
from stack import free_port, http, wait_for

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin")
CONFIG = ROOT / "deploy/haproxy/haproxy.cfg"


class Proxy:
    """The example with this stack's ports instead of its own."""

    def __init__(self, stack, port):
        self.stack, self.url = stack, f"http://127.0.0.1:{port}"
        text = CONFIG.read_text().replace("bind :8080", f"bind 127.0.0.1:{port}")
        for i, own in enumerate((7080, 7082, 7083), 1):
            line = f"server edge-{i} 127.0.0.1:{own} port {9079 + i + (i > 1)}"
            assert line in text, line
            text = text.replace(line, f"server edge-{i} 127.0.0.1:{stack.port(f'edge-{i}')} "
                                      f"port {stack.port(f'admin-edge-{i}')}")
        self.path, self.log = stack.dir / "haproxy.cfg", stack.dir / "log" / "haproxy.log"
        self.path.write_text(text)
        # What the example leaves to the place where it runs: here, a socket that says what is open.
        self.admin, self.more = stack.dir / "haproxy.sock", stack.dir / "haproxy-more.cfg"
        self.more.write_text(f"global\n    stats socket {self.admin}\n")

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([HAPROXY, "-db", "-f", str(self.path), "-f", str(self.more)],
                                            stdout=log, stderr=log)
        wait_for("haproxy", lambda: http("GET", self.url + "/v1/locate")[0] == 200, 10)
        return self

    def __exit__(self, *exc):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)

    def sessions(self):
        """How many are open at the edges, as HAProxy counts them for an edge's share."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(str(self.admin))
            s.sendall(b"show stat\n")
            rows = csv.DictReader(b"".join(iter(lambda: s.recv(65536), b"")).decode().splitlines())
        return sum(int(r["scur"]) for r in rows if r["# pxname"] == "edges" and r["svname"].startswith("edge-"))

    async def home(self, *args, **kw):
        """Where a WebSocket lands that is alone: a second one beside it may be over its edge's share."""
        wait_for("earlier connections to be over", lambda: self.sessions() == 0, 10)
        return await self.edge(*args, **kw)

    async def edge(self, token, headers=None, query="", prefix=""):
        """Which edge a WebSocket lands on."""
        c = Client(self.url + prefix, token)
        await c.open({"Authorization": f"Bearer {token}", **(headers or {})}, query)
        try:
            return (await c.wait(lambda f: f["op"] == "connected"))["edge"]
        finally:
            await c.ws.close()


@pytest.fixture
def proxied(private):
    assert HAPROXY, "haproxy is not installed (tools/deps.sh test)"
    port = free_port()
    small = {"PENSTOCK_EDGE_DRAIN_MS": 500, "PENSTOCK_EDGE_DRAIN_SPREAD_MS": 500}
    stack = private(edges=3, env={"edge": small, **{f"edge-{i}": {
        "PENSTOCK_EDGE_URL": f"http://127.0.0.1:{port}/edge/edge-{i}"} for i in (1, 2, 3)}})
    with Proxy(stack, port) as proxy:
        yield proxy


def test_the_configuration_is_valid():
    """Without a warning."""
    assert HAPROXY, "haproxy is not installed (tools/deps.sh test)"
    done = subprocess.run([HAPROXY, "-c", "-f", str(CONFIG)], capture_output=True, text=True)
    assert done.returncode == 0 and "WARNING" not in done.stdout + done.stderr, done.stdout + done.stderr


async def test_a_tenant_stays_together(proxied):
    tenants = [Tenant(proxied.stack) for _ in range(9)]
    homes = {}
    for t in tenants:
        named = {"X-Penstock-Tenant": t.id}
        homes[t.id] = await proxied.home(t.key, named)
        # The same by each of the ways to say it, and with another key.
        other = proxied.stack.control().key(t.id)
        wait_for("its key", lambda: http("GET", proxied.url + "/v1/locate", token=other)[0] == 200)
        assert await proxied.home(t.key, query=f"?tenant={t.id}") == homes[t.id]
        assert await proxied.home(t.key, prefix=f"/t/{t.id}") == homes[t.id]
        assert {await proxied.home(other, named) for _ in range(3)} == {homes[t.id]}
        # Nothing is said: the key's own id, in the header or in the query.
        first = await proxied.home(t.key)
        wait_for("it to be over", lambda: proxied.sessions() == 0, 10)
        c = await Client(proxied.url).open(query=f"?access_token={t.key}")
        assert (await c.wait(lambda f: f["op"] == "connected"))["edge"] == first
        await c.ws.close()
    assert len(set(homes.values())) > 1
    # An edge takes at most 125 % of the mean: of two sockets, one.
    named = {"X-Penstock-Tenant": tenants[0].id}
    wait_for("earlier connections to be over", lambda: proxied.sessions() == 0, 10)
    c = await Client(proxied.url).open({"Authorization": f"Bearer {tenants[0].key}", **named})
    assert (await c.wait(lambda f: f["op"] == "connected"))["edge"] == homes[tenants[0].id]
    assert await proxied.edge(tenants[0].key, named) != homes[tenants[0].id]
    await c.ws.close()
    # Requests, too, with bodies and errors as the edge says them.
    body = {"channel": "room.1", "type": "chat.message", "data": 1}
    assert http("POST", proxied.url + f"/t/{tenants[0].id}/v1/events", body, tenants[0].key)[0] == 202
    assert http("POST", proxied.url + "/v1/events", body, "pk_no_body")[2]["code"] == "unauthenticated"
    # Tokens are in no log.
    assert not any(t.key in proxied.log.read_text() for t in tenants)


async def test_drain_behind_it(proxied):
    """The address in a drain frame leads through the proxy; nobody is refused while an edge drains."""
    stack, tenant = proxied.stack, Tenant(proxied.stack)
    named = {"X-Penstock-Tenant": tenant.id}
    c = await Client(proxied.url, tenant.key).open({"Authorization": f"Bearer {tenant.key}", **named})
    home = (await c.wait(lambda f: f["op"] == "connected"))["edge"]
    place = await c.subscribe("room.1")
    stop = asyncio.create_task(asyncio.to_thread(stack.kill, home, signal.SIGTERM))
    url = (await c.wait(lambda f: f["op"] == "drain"))["url"]
    assert await c.wait_close() == 4200
    async with Client(url, tenant.key) as moved:
        assert moved.connected["edge"] == re.fullmatch(re.escape(proxied.url) + r"/edge/(edge-\d)", url)[1] != home
        assert (await moved.subscribe("room.1", {"epoch": place["epoch"], "offset": place["offset"]}))["recovered"]
        for _ in range(10):
            assert await proxied.edge(tenant.key, named) != home
        await stop
        assert await proxied.edge(tenant.key, named) != home
    stack.start_one(home)
    stack.wait_ready(home)

    async def back():
        while await proxied.edge(tenant.key, named) != home:
            await asyncio.sleep(0.1)
    await asyncio.wait_for(back(), 15)


async def test_events_stream_through_it(proxied):
    """Server-sent events come when they are made, not when a buffer is full."""
    tenant = Tenant(proxied.stack)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(proxied.url.rpartition(":")[2]))
    writer.write(f"GET /v1/channels/room.1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tenant.key}\r\n"
                 f"Accept: text/event-stream\r\nX-Penstock-Tenant: {tenant.id}\r\n\r\n".encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert b" 200 " in head and b"text/event-stream" in head, head
    for n in range(3):
        body = {"channel": "room.1", "type": "chat.message", "data": {"n": n}}
        assert tenant.http("POST", "/v1/events", body)[0] == 202
        await asyncio.wait_for(reader.readuntil(b'{"n":%d}' % n), 10)
    writer.close()
