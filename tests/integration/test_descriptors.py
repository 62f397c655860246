"""An edge that runs out of descriptors: who is in goes on, who comes is refused in words or waits, and nothing spins."""
import os
import re
import resource
import socket

import pytest

from client import Client
from conftest import Tenant, running_stack
from stack import http, wait_for

REQUEST = b"GET /v1/locate HTTP/1.1\r\nHost: edge\r\n\r\n"
RESERVE = 64  # descriptors that an edge keeps for all but its clients


@pytest.fixture(scope="module")
def stack():
    with running_stack(edges=1, routers=1, workers=1, stores=1) as stack:
        yield stack


@pytest.fixture
def few(stack):
    """Leaves the edge so many more; None: as many as ever."""
    pid = stack.pid("edge-1")
    usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)

    def limit(more):
        most = usual[0]
        if more is not None:
            most = max(int(n) for n in os.listdir(f"/proc/{pid}/fd")) + 1 + more
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, usual[1]))
    yield limit
    limit(None)


def metric(stack, name):
    text = http("GET", stack.url("admin-edge-1") + "/metrics")[2]
    found = re.search(rf"^{re.escape(name)} (\d+)", text, re.M)
    return int(found.group(1)) if found else 0


def come(stack):
    """A connection that asks for something, and is not read yet."""
    s = socket.create_connection(stack.url("edge-1").split("//")[1].split(":"), timeout=20)
    s.sendall(REQUEST)
    return s


def answer(s):
    with s:
        return s.recv(65536).split(b"\r\n")


def cpu_s(stack):
    with open(f"/proc/{stack.pid('edge-1')}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def talk(stack, tenant, c, key):
    """Both roads, and what the admin port says."""
    assert (await c.call(op="ping"))["op"] == "pong"
    await c.publish("a", {"n": key}, key=key)
    await c.wait(lambda f: f["op"] == "event" and f["data"] == {"n": key})
    assert http("GET", stack.url("admin-edge-1") + "/livez")[0] == 200


async def test_a_reserve_for_refusals(stack, few):
    tenant = Tenant(stack)
    async with Client(stack.edge_url, tenant.key) as c:
        await c.subscribe("a")
        before = metric(stack, "penstock_edge_turned_away_total")
        few(RESERVE - 1)
        for _ in range(3 * RESERVE):  # none of them keeps one
            lines = answer(come(stack))
            assert lines[0].startswith(b"HTTP/1.1 503 "), lines
            assert b"Retry-After: 1" in lines
        await talk(stack, tenant, c, "few")
        assert metric(stack, "penstock_edge_turned_away_total") - before == 3 * RESERVE
        few(None)
        assert answer(come(stack))[0].startswith(b"HTTP/1.1 200 ")
        async with Client(stack.edge_url, tenant.key) as d:
            assert (await d.call(op="ping"))["op"] == "pong"


async def test_not_even_for_a_refusal(stack, few):
    tenant = Tenant(stack)
    async with Client(stack.edge_url, tenant.key) as c:
        await c.subscribe("a")
        before = metric(stack, "penstock_edge_accept_failures_total")
        few(-1)
        waiting = [come(stack) for _ in range(4)]
        cpu = cpu_s(stack)
        for i in range(20):
            assert (await c.call(op="ping"))["op"] == "pong"
            await c.publish("a", {"n": i}, key=f"none {i}")
            await c.wait(lambda f: f["op"] == "event" and f["data"] == {"n": i})
            waiting[0].settimeout(0.1)
            with pytest.raises(TimeoutError):
                waiting[0].recv(1)
        assert cpu_s(stack) - cpu < 1  # in two seconds at least: nothing spins
        few(None)
        for s in waiting:
            s.settimeout(20)
            assert answer(s)[0].startswith(b"HTTP/1.1 200 ")
        wait_for("the count", lambda: metric(stack, "penstock_edge_accept_failures_total") > before)
        await talk(stack, tenant, c, "again")
