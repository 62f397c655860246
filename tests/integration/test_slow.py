"""Sockets that do not keep up, in either direction, tenants that do too much, and the others, who do not notice."""
import asyncio
import json
import os
import re
import socket
import subprocess
import threading
import time

import pytest

from client import Client, Refused
from conftest import BIN, Tenant, end_stack, make_stack, provision
from rawws import Raw, frame
from stack import http, wait_for

MIB = 1 << 20
TEXT = 1


def metric(stack, name):
    text = http("GET", stack.url("admin-edge-1") + "/metrics")[2]
    found = re.search(rf"^{re.escape(name)} (\S+)", text, re.M)
    return int(float(found.group(1))) if found else 0


def anonymous(stack):
    """Bytes of the edge's own memory."""
    with open(f"/proc/{stack.pid('edge-1')}/status") as f:
        return int(next(line for line in f if line.startswith("RssAnon")).split()[1]) << 10


def ask(raw, **message):
    """Frames up to the answer; the answer is the last one."""
    raw.send(TEXT, json.dumps(message).encode())
    frames = []
    while not frames or frames[-1].get("id") != message["id"]:
        op, body = raw.read()
        if op == TEXT:
            frames.append(json.loads(body))
    return frames


def listen(stack, tenant, channel, **kw):
    """A socket that has subscribed and reads no more by itself: the position."""
    raw = Raw(stack, tenant.key, **kw)
    return raw, ask(raw, op="subscribe", id="s", channel=channel)[-1]


class Fast(asyncio.Protocol):
    """Counts the text frames that come, and looks into the last one only: a thousand of these must be cheap."""

    def __init__(self, sock, want, all_there):
        self.sock, self.n, self.bytes, self.want, self.all_there = sock, 0, b"", want, all_there

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        buf, at = self.bytes + data, 0
        while len(buf) - at >= 4:
            n, head = buf[at + 1], 2
            if n == 126:
                n, head = int.from_bytes(buf[at + 2:at + 4], "big"), 4
            assert n != 127
            if len(buf) - at < head + n:
                break
            if buf[at] == 0x81:
                self.n += 1
                self.last = buf[at + head:at + head + n]
            elif buf[at] == 0x89:
                self.transport.write(frame(10, buf[at + head:at + head + n]))
            at += head + n
        self.bytes = buf[at:]
        if self.n == self.want:
            self.all_there()


def check_replay(frames, sent, after):
    """Each event once and in order, and gap frames only where they say the truth."""
    at, gaps = after, []
    for f in frames:
        if f["op"] == "gap":
            assert f["reason"] == "slow_consumer" and f["replayable"] and f["from"] == at + 1 and f["to"] > at, f
            gaps.append(f)
        elif f["op"] == "event":
            assert f["prev"] <= at < f["offset"], (at, f)
            at = f["offset"]
    assert [f["offset"] for f in frames if f["op"] == "event"] == sent
    for gap in gaps:
        assert gap["to"] in sent
    return gaps


@pytest.fixture
def alone():
    stack = make_stack()
    try:
        yield provision(stack.start())
    finally:
        end_stack(stack)


@pytest.fixture(params=["on", "off"])
def either(request):
    """An edge that writes by io_uring if the kernel lets it, and one that does not."""
    stack = make_stack(env={"edge": {"PENSTOCK_EDGE_IO_URING": request.param}})
    try:
        yield provision(stack.start())
        said = stack.log("edge-1").read_text()
        batches = metric(stack, "penstock_edge_write_batches_total")
        if '"writes by io_uring"' in said:
            assert request.param == "on" and 0 < batches < metric(stack, "penstock_edge_writes_total")
        else:
            assert '"writes without io_uring"' in said and batches == 0
            assert request.param == "off" or "io_uring: " in said  # refused, with its reason
    finally:
        end_stack(stack)


def test_one_byte_a_second_among_a_thousand(either):
    """The slow one and one that never reads cost their bound; the thousand get everything at once; and when the slow
    one reads again, it gets everything, too."""
    alone = either
    t = Tenant(alone)
    fast_n, events = 1000, 320
    slow, place = listen(alone, t, "room.1", rcvbuf=4096)
    never, _ = listen(alone, t, "room.1", rcvbuf=4096)
    end = threading.Event()

    def dawdle():
        while not end.wait(1):
            slow.held += slow.sock.recv(1)
    slow.held = b""

    async def run():
        loop, done, left = asyncio.get_running_loop(), asyncio.Event(), fast_n

        def all_there():
            nonlocal left
            left -= 1
            if not left:
                done.set()
        fast = []
        for _ in range(fast_n):
            raw, _ = await loop.run_in_executor(None, listen, alone, t, "room.1")
            raw.file.close()
            raw.sock.setblocking(False)
            fast.append((await loop.create_connection(lambda: Fast(raw, events, all_there), sock=raw.sock))[1])
        before = anonymous(alone)
        async with Client(alone.edge_url, t.key) as publisher:
            start, sent, took = time.monotonic(), [], []
            for i in range(0, events, 8):
                begun = time.monotonic()
                answers = await asyncio.gather(*[publisher.publish("room.1", {"n": n, "pad": "x" * 2000})
                                                 for n in range(i, i + 8)])
                took.append(time.monotonic() - begun)
                sent += [a["offset"] for a in answers]
            await asyncio.wait_for(done.wait(), 60)
            seconds = time.monotonic() - start
            assert sorted(sent) == sent
            for f in fast:
                assert f.n == events and json.loads(f.last)["offset"] == sent[-1]
            # What is still in memory is what the two do not read.
            await loop.run_in_executor(None, wait_for, "the fast ones' queues", lambda: metric(
                alone, "penstock_edge_out_bytes") <= 2 * (256 << 10))
            grown = anonymous(alone) - before
            print(f"{fast_n} fast sockets had {events} events in {seconds:.2f} s; the slowest of 8 acknowledgements took "
                  f"{max(took) * 1000:.0f} ms; the edge grew by {grown / MIB:.1f} MiB")
            assert grown < 24 * MIB  # the two, and what malloc keeps of what went through
            assert metric(alone, "penstock_edge_spills_total") == 2
            assert metric(alone, "penstock_edge_spilled_events_total") > 50
            assert metric(alone, 'penstock_edge_closed_total{code="4102"}') == 0
            end.set()
            sent += [(await publisher.publish("room.1", {"live": i}))["offset"] for i in range(3)]
            for f in fast:
                f.transport.close()
            return sent
    thread = threading.Thread(target=dawdle)
    thread.start()
    try:
        sent = asyncio.run(run())
    finally:
        end.set()
        thread.join()
    # Read on where the bytes were left.
    rest = slow.file
    slow.file = Joined(slow.held, rest)
    frames = []
    while not frames or frames[-1].get("offset") != sent[-1] or frames[-1]["op"] != "event":
        op, body = slow.read()
        if op == TEXT:
            frames.append(json.loads(body))
    gaps = check_replay([f for f in frames if f["op"] in ("event", "gap")], sent, place["offset"])
    assert gaps
    slow.close()
    never.close()


class Joined:
    """A file that begins with bytes that were read before."""

    def __init__(self, held, file):
        self.held, self.file = held, file

    def read(self, n=-1):
        head, self.held = self.held[:n], self.held[n:]
        return head + self.file.read(n - len(head)) if len(head) < n else head

    def close(self):
        self.file.close()


async def test_who_takes_nothing_is_closed_and_may_resume():
    """No progress: 4102. What it missed it gets with its resume token and its position."""
    stack = make_stack(env={"edge": {"PENSTOCK_EDGE_SLOW_MS": 1500, "PENSTOCK_EDGE_PING_MS": 700,
                                     "PENSTOCK_EDGE_PONG_MS": 500}})
    try:
        provision(stack.start())
        t = Tenant(stack)
        never, place = listen(stack, t, "room.1", rcvbuf=4096)
        async with Client(stack.edge_url, t.key) as publisher:
            sent = []
            for i in range(0, 320, 8):
                sent += [a["offset"] for a in await asyncio.gather(
                    *[publisher.publish("room.1", {"n": n, "pad": "x" * 2000}) for n in range(i, i + 8)])]
            assert metric(stack, "penstock_edge_out_bytes") < MIB
            await asyncio.get_running_loop().run_in_executor(None, wait_for, "4102", lambda: metric(
                stack, 'penstock_edge_slow_closed_total{reason="no_progress"}') == 1)
        frames, code = [], None
        while code is None:
            op, body = never.read()
            if op == TEXT:
                frames.append(json.loads(body))
            elif op == 8:
                code = int.from_bytes(body[:2], "big")
        assert code == 4102
        never.close()
        had = [f["offset"] for f in frames if f["op"] == "event"]
        assert had == sent[:len(had)] and 0 < len(had) < len(sent)
        resume = [f["resume"] for f in [json.loads(never.connected), *frames] if "resume" in f][-1]
        async with Client(stack.edge_url, resume=resume) as again:
            assert again.connected["session"] == json.loads(never.connected)["session"]
            await again.subscribe("room.1", {"epoch": place["epoch"], "offset": had[-1]})
            await again.wait(lambda f: f["op"] == "event" and f["offset"] == sent[-1])
            assert [f["offset"] for f in again.events("room.1")] == sent[len(had):]
    finally:
        end_stack(stack)


# --- what comes in ------------------------------------------------------------------------------

def pump(raw, payload, seconds):
    """Sends as much as the edge takes: how many bytes that was."""
    raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    raw.sock.settimeout(0.2)
    end, n = time.monotonic() + seconds, 0
    data = frame(TEXT, payload)
    at = 0
    while time.monotonic() < end:
        try:
            n += (m := raw.sock.send(data[at:]))
            at = (at + m) % len(data)
        except socket.timeout:
            pass
    return n


def test_reading_stops_while_nobody_answers(alone):
    """Commands of 60 KB, and no router: 256 of them would be 15 MB."""
    t = Tenant(alone)
    raw = Raw(alone, t.key)
    before, paused = metric(alone, "penstock_edge_received_bytes_total"), metric(alone, "penstock_edge_paused_total")
    pid = alone.pid("router-1")
    os.kill(pid, 19)  # SIGSTOP
    try:
        large = json.dumps({"op": "publish", "id": 1, "channel": "room.1", "type": "chat.message",
                            "data": "x" * 60000}).encode()
        pump(raw, large, 2)
        got = metric(alone, "penstock_edge_received_bytes_total") - before
        assert MIB // 2 < got < 2 * MIB, got
        assert metric(alone, "penstock_edge_paused_total") > paused
        # The others are served.
        with Raw(alone, t.key) as other:
            assert ask(other, op="ping", id=7)[-1]["op"] == "pong"
    finally:
        os.kill(pid, 18)
    # All that was taken is answered, in time or not, and then it reads on.
    wait_for("more", lambda: pump(raw, large, 0.1) and metric(
        alone, "penstock_edge_received_bytes_total") - before > 3 * MIB)
    raw.close()


def test_reading_stops_while_answers_are_not_read(alone):
    t = Tenant(alone)
    raw = Raw(alone, t.key, rcvbuf=4096)
    pump(raw, json.dumps({"op": "ping", "id": "x" * 100}).encode(), 3)
    assert metric(alone, "penstock_edge_paused_total") >= 1
    assert metric(alone, "penstock_edge_out_bytes") < MIB
    assert metric(alone, 'penstock_edge_closed_total{code="4102"}') == 0
    raw.close()


def test_bytes_a_second():
    stack = make_stack(env={"edge": {"PENSTOCK_EDGE_RATE_BYTES": 200000}})
    try:
        provision(stack.start())
        t = Tenant(stack)
        raw = Raw(stack, t.key)
        before = metric(stack, "penstock_edge_received_bytes_total")
        start = time.monotonic()
        pump(raw, json.dumps({"op": "ack", "channel": "x" * 100, "offset": 1}).encode(), 4)
        got = metric(stack, "penstock_edge_received_bytes_total") - before
        seconds = time.monotonic() - start
        assert 100000 < got / seconds < 260000, (got, seconds)
        raw.close()
    finally:
        end_stack(stack)


# --- one tenant and another ---------------------------------------------------------------------

def measure(stack, tenant):
    """p99 of durable events at 100/s, in ms, by the load generator's clock."""
    done = subprocess.run([BIN / "penstock-load", "events", "--url", stack.edge_url, "--token", tenant.key, "--rate", "100",
                           "--publishers", "2", "--subscribers", "2", "--channels", "2", "--seconds", "4", "--warmup", "1"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    got = json.loads(done.stdout)
    assert got["lost"] == 0 and got["repeated"] == 0, got
    return got["deliver_ms"]["p99"]


def test_a_flood_of_one_tenant(alone):
    """Ten times its limit, for as long as another one is measured."""
    loud, quiet = Tenant(alone, {"events_per_s": 100, "burst": 100}), Tenant(alone)
    before = min(measure(alone, quiet), measure(alone, quiet))
    stop, counts = threading.Event(), {"accepted": 0, "error": 0}

    async def flood():
        async with Client(alone.edge_url, loud.key) as c:
            n, start = 0, time.monotonic()
            while not stop.is_set():
                while n < (time.monotonic() - start) * 1000:
                    await c.send(op="publish", id=n, channel="room.1", type="chat.message", data={"n": n})
                    n += 1
                await asyncio.sleep(0.005)
            await c.call(op="ping")
            for f in c.frames:
                if f["op"] in counts:
                    counts[f["op"]] += 1
            counts["sent"], counts["seconds"] = n, time.monotonic() - start
    thread = threading.Thread(target=lambda: asyncio.run(flood()))
    thread.start()
    try:
        during = min(measure(alone, quiet), measure(alone, quiet))
    finally:
        stop.set()
        thread.join()
    print(f"p99 {before:.2f} ms alone, {during:.2f} ms beside the flood; flood: {counts}")
    assert counts["sent"] >= 600 * counts["seconds"], "that was no flood"
    assert counts["accepted"] <= 100 * counts["seconds"] + 250
    assert counts["error"] >= counts["sent"] / 2
    # DESIGN 9.6 says 20 % on a machine with room; two cores that also run the flood's client are no such machine.
    assert during < 3 * before + 20


async def timed_replay(stack, tenant, n):
    async with Client(stack.edge_url, tenant.key) as c:
        start = time.monotonic()
        await c.subscribe("long", {"epoch": "", "offset": 0})
        await c.wait(lambda f: f["op"] == "event" and f["data"] == {"n": n - 1}, 60)
        return time.monotonic() - start


async def test_a_reconnect_storm_of_one_tenant():
    """2,000 sockets of one tenant come back at once, each with a page to read. Another one's replay does not wait
    behind them."""
    stack = make_stack(env={"edge": {"PENSTOCK_EDGE_REPLAY_PAGES": 2}})
    try:
        provision(stack.start())
        storm, other = Tenant(stack), Tenant(stack)
        sockets, channels, n = 2000, 50, 600
        async with Client(stack.edge_url, storm.key) as a, Client(stack.edge_url, other.key) as b:
            await asyncio.gather(*[a.publish(f"room.{c}", {"n": k}) for c in range(channels) for k in range(4)])
            for i in range(0, n, 50):
                await asyncio.gather(*[b.publish("long", {"n": k}) for k in range(i, i + 50)])
        alone = await timed_replay(stack, other, n)
        back = [Raw(stack, storm.key) for _ in range(sockets)]

        def pages():
            return metric(stack, "penstock_edge_history_pages_total")
        before, start = pages(), time.monotonic()
        for i, raw in enumerate(back):
            raw.send(TEXT, json.dumps({"op": "subscribe", "id": 1, "channel": f"room.{i % channels}",
                                       "after": {"epoch": "", "offset": 0}}).encode())
        beside = await timed_replay(stack, other, n)
        then, waiting = pages() - before, metric(stack, "penstock_edge_replay_waiting")
        for raw in back:
            while b'"n":3' not in raw.read()[1]:
                pass
        print(f"a replay of {n} events: {alone:.3f} s alone, {beside:.3f} s beside {sockets} sockets that came back within "
              f"{time.monotonic() - start:.2f} s; by then {then} pages were read and {waiting} waited")
        assert then < sockets * 0.7, "it waited behind the storm"
        for raw in back:
            raw.close()
    finally:
        end_stack(stack)
