"""RFC 6455 and RFC 7692 over real sockets, frame by frame, on each kind of connection: JSON and protobuf, plain and
compressed. The classes of cases are those of the Autobahn test suite's list; the cases are our own."""
import json
import os
import random
import re
import struct

import pytest

from conftest import Tenant
from natsraw import Nats
from rawws import JSON, PROTOBUF, Handshake, Raw, deflate, frame
from stack import http, wait_for

DEFLATE = "permessage-deflate"
KINDS = {"json": (JSON, None), "json+deflate": (JSON, DEFLATE), "protobuf": (PROTOBUF, None),
         "protobuf+deflate": (PROTOBUF, DEFLATE)}
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@pytest.fixture(scope="module")
def who(stack):
    return Tenant(stack)


class Talk(Raw):
    """Knows its kind: how a message is sent there, and what a pong frame of the protocol looks like."""

    def __init__(self, stack, who, kind):
        protocol, extensions = KINDS[kind]
        self.json, self.deflated = protocol == JSON, extensions is not None
        self.op = TEXT if self.json else BINARY
        super().__init__(stack, who.key, protocol, extensions)
        assert (self.headers.get("sec-websocket-extensions") is not None) == self.deflated

    def ask(self, id="x"):
        """A `ping` of the protocol."""
        return json.dumps({"op": "ping", "id": id}).encode() if self.json else \
            b"\x0a" + bytes([len(id)]) + id.encode() + b"\x4a\x00"

    def answer(self, id="x"):
        return json.dumps({"op": "pong", "id": id}, separators=(",", ":")).encode() if self.json else \
            b"\x0a" + bytes([len(id)]) + id.encode() + b"\x62\x00"

    def message(self, body, **kw):
        """As it is sent on this kind of connection."""
        return frame(self.op, deflate(body), rsv=4, **kw) if self.deflated else frame(self.op, body, **kw)

    def expect(self, *frames):
        for one in frames:
            assert self.read() == one

    def alive(self):
        self.sock.sendall(self.message(self.ask("alive")))
        self.expect((self.op, self.answer("alive")))


@pytest.fixture(params=KINDS)
def talk(request, stack, who):
    """Makes a connection of each kind."""
    made = []

    def make():
        made.append(Talk(stack, who, request.param))
        return made[-1]
    yield make
    for one in made:
        one.close()


# --- what is allowed ----------------------------------------------------------------------------

def test_lengths(talk):
    """Each form of the length field, in one write and byte by byte."""
    t = talk()
    for n in (0, 1, 124, 125):
        t.send(PING, b"p" * n)
        t.expect((PONG, b"p" * n))
    if t.json:
        for n in (125, 126, 127, 128, 65535, 65536):
            t.send(TEXT, t.ask() + b" " * (n - len(t.ask())))
            t.expect((TEXT, t.answer()))
    for byte in t.message(t.ask("slowly")):
        t.sock.sendall(bytes([byte]))
    t.expect((t.op, t.answer("slowly")))
    t.sock.sendall(b"".join(t.message(t.ask(f"m{i}")) for i in range(500)))
    t.expect(*[(t.op, t.answer(f"m{i}")) for i in range(500)])


def test_control_frames(talk):
    t = talk()
    t.send(PING, bytes(range(125)))
    t.expect((PONG, bytes(range(125))))
    t.send(PONG, b"nobody asked")
    for i in range(10):
        t.send(PING, b"%d" % i)
    t.expect(*[(PONG, b"%d" % i) for i in range(10)])
    t.alive()


def test_fragments(talk):
    """A message in every number of pieces, empty ones among them, with control frames between."""
    t = talk()
    body = t.ask("fragment")
    wire = deflate(body) if t.deflated else body
    for step in (1, 2, 3, len(wire)):
        pieces = [wire[i:i + step] for i in range(0, len(wire), step)] + [b""]
        for i, piece in enumerate(pieces):
            t.send(t.op if i == 0 else 0, piece, fin=i == len(pieces) - 1,
                   rsv=4 if t.deflated and i == 0 else 0)
            if i == 0:
                t.send(PING, b"between")
        t.expect((PONG, b"between"), (t.op, t.answer("fragment")))
    t.alive()


def test_unicode(talk):
    t = talk()
    for id in ("ä", "\u20ac", "\U00010348", "\ufffd", "\ufeff", "\U0010ffff", "日本語"):
        if t.json:
            t.send(TEXT, json.dumps({"op": "ping", "id": id}, ensure_ascii=False).encode())
            assert json.loads(t.read()[1]) == {"op": "pong", "id": id}
        else:
            raw = id.encode()
            t.send(BINARY, b"\x0a" + bytes([len(raw)]) + raw + b"\x4a\x00")
            t.expect((BINARY, b"\x0a" + bytes([len(raw)]) + raw + b"\x62\x00"))


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999,
                                  4000, 4999, None])
def test_close_codes_that_may_be_sent(stack, who, code):
    """Each is echoed; what follows is not looked at; the server ends the connection."""
    for kind in ("json", "protobuf+deflate"):
        t = Talk(stack, who, kind)
        body = struct.pack(">H", code) + "grüße".encode() if code else b""
        t.sock.sendall(frame(CLOSE, body) + frame(PING, b"late") + b"\xff\xff")
        assert t.read() == (CLOSE, body[:2])
        assert t.file.read() == b""
        t.close()


def test_close_reason_of_full_length(talk):
    t = talk()
    t.send(CLOSE, struct.pack(">H", 1000) + b"x" * 123)
    assert t.close_code() == 1000


def test_close_amid_a_message(talk):
    t = talk()
    t.send(t.op, b"{", fin=False)
    t.send(CLOSE, struct.pack(">H", 1001))
    assert t.close_code() == 1001


# --- what is not --------------------------------------------------------------------------------

def unfinished(t):
    """The first fragment of a message."""
    return frame(t.op, deflate(t.ask())[:3] if t.deflated else t.ask()[:3], fin=False, rsv=4 if t.deflated else 0)


# name: close code, the bytes. With a compressed connection rsv1 is allowed, but not everywhere.
WRONG = {
    "no mask": (1002, lambda t: frame(t.op, t.ask(), mask=False)),
    "no mask on a ping": (1002, lambda t: frame(PING, b"", mask=False)),
    "rsv1 on a ping": (1002, lambda t: frame(PING, b"x", rsv=4)),
    "rsv1 on a close": (1002, lambda t: frame(CLOSE, b"", rsv=4)),
    "rsv1 on a continuation": (1002, lambda t: unfinished(t) + frame(0, b"x", rsv=4)),
    "rsv2": (1002, lambda t: frame(t.op, t.ask(), rsv=2)),
    "rsv3": (1002, lambda t: frame(t.op, t.ask(), rsv=1)),
    "rsv1 and rsv2": (1002, lambda t: frame(t.op, t.ask(), rsv=6)),
    **{f"opcode {op}": (1002, lambda t, op=op: frame(op, b"")) for op in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "a long length for 125": (1002, lambda t: frame(t.op, b"x" * 125, size=2)),
    "a longer length for 126": (1002, lambda t: frame(t.op, b"x" * 126, size=8)),
    "the longest length for 0": (1002, lambda t: frame(t.op, b"", size=8)),
    "the top bit of the length": (1002, lambda t: frame(t.op, length=1 << 63, size=8)),
    "a ping of 126": (1002, lambda t: frame(PING, b"x" * 126)),
    "a pong of 126": (1002, lambda t: frame(PONG, b"x" * 126)),
    "a close of 126": (1002, lambda t: frame(CLOSE, struct.pack(">H", 1000) + b"x" * 124)),
    "a ping in fragments": (1002, lambda t: frame(PING, b"x", fin=False)),
    "a close in fragments": (1002, lambda t: frame(CLOSE, b"", fin=False)),
    "a continuation of nothing": (1002, lambda t: frame(0, b"x")),
    "an unfinished continuation of nothing": (1002, lambda t: frame(0, b"x", fin=False)),
    "a continuation behind a message": (1002, lambda t: t.message(t.ask()) + frame(0, b"x")),
    "a message amid another": (1002, lambda t: unfinished(t) + t.message(t.ask())),
    "a close of one byte": (1002, lambda t: frame(CLOSE, b"\x03")),
    **{f"close code {code}": (1002, lambda t, code=code: frame(CLOSE, struct.pack(">H", code)))
       for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)},
    "a close reason that is not UTF-8": (1007, lambda t: frame(CLOSE, struct.pack(">H", 1000) + b"\xc3")),
    "the other type": (1003, lambda t: frame(TEXT + BINARY - t.op, t.ask())),
    "the other type, unfinished": (1003, lambda t: frame(TEXT + BINARY - t.op, t.ask(), fin=False)),
    "more than any message": (1009, lambda t: frame(t.op, length=1 << 20)),
    "much more": (1009, lambda t: frame(t.op, length=1 << 62)),
    "more in fragments": (1009, lambda t: frame(t.op, b"x" * 200000, fin=False) + frame(0, b"x" * 200000)),
}
ONLY_PLAIN = {"rsv1": (1002, lambda t: frame(t.op, t.ask(), rsv=4)),
              "rsv1 on a fragment": (1002, lambda t: frame(t.op, t.ask(), rsv=4, fin=False))}
BOMB = deflate(b" " * (64 << 20))
ONLY_DEFLATED = {
    "no DEFLATE": (1007, lambda t: frame(t.op, b"\xff\xff\xff", rsv=4)),
    "DEFLATE that ends early": (1007, lambda t: frame(t.op, deflate(t.ask())[:-4], rsv=4)),
    "a distance beyond the beginning": (1007, lambda t: frame(t.op, b"\xf2\x00\x11\x00\x00", rsv=4)),
    "the context of the message before": (1007, lambda t: t.message(t.ask()) + frame(t.op, b"\xf2\x00\x11\x00\x00", rsv=4)),
    "nothing at all": (1007, lambda t: frame(t.op, b"", rsv=4)),
    "64 MiB in 64 KiB": (1009, lambda t: frame(t.op, BOMB, rsv=4)),
    "64 MiB in fragments": (1009, lambda t: b"".join(frame(t.op if i == 0 else 0, BOMB[i:i + 10000], rsv=0 if i else 4,
                                                           fin=i + 10000 >= len(BOMB)) for i in range(0, len(BOMB), 10000))),
}
ONLY_TEXT = {
    "text that is not UTF-8": (1007, lambda t: t.message(b'{"op":"ping","id":"\xff"}')),
    "an overlong form": (1007, lambda t: t.message(b'"\xc0\xaf"')),
    "a surrogate": (1007, lambda t: t.message(b'"\xed\xa0\x80"')),
    "beyond U+10FFFF": (1007, lambda t: t.message(b'"\xf4\x90\x80\x80"')),
    "a character without its end": (1007, lambda t: t.message(b'{"op":"ping","id":"\xc3')),
}


@pytest.mark.parametrize("kind", KINDS)
def test_forbidden_frames(stack, who, kind):
    """The close code that the RFC names, and then the end: nothing behind is looked at."""
    cases = dict(WRONG)
    cases.update(ONLY_DEFLATED if "deflate" in kind else ONLY_PLAIN)
    if "json" in kind:
        cases.update(ONLY_TEXT)
    wrong = []
    for name, (code, make) in cases.items():
        t = Talk(stack, who, kind)
        try:
            t.sock.sendall(make(t) + frame(PING, b"behind"))
        except (BrokenPipeError, ConnectionResetError):
            pass  # closed before all was sent
        ops = []
        try:
            while True:
                op, body = t.read()
                if op in (CLOSE, None):
                    break
                ops.append((op, body))
            got = struct.unpack(">H", body[:2])[0] if op == CLOSE else None
        except ConnectionResetError:
            got = "reset"
        if got != code or (PONG, b"behind") in ops:
            wrong.append((name, got, ops))
        t.close()
    assert not wrong
    # And the edge goes on.
    t = Talk(stack, who, kind)
    t.alive()
    t.close()


def test_text_is_refused_before_its_end(stack, who):
    t = Talk(stack, who, "json")
    t.send(TEXT, b'{"op":"ping","id":"\xff', fin=False)
    assert t.close_code() == 1007


def test_the_other_type_is_told(stack, who):
    """bad_request in the connection's own protocol before the close."""
    t = Talk(stack, who, "json")
    t.send(BINARY, t.ask())
    op, body = t.read()
    assert op == TEXT and json.loads(body)["code"] == "bad_request"
    assert t.close_code() == 1003
    t = Talk(stack, who, "protobuf")
    t.send(TEXT, b'{"op":"ping","id":1}')
    op, body = t.read()
    assert op == BINARY and b"bad_request" in body
    assert t.close_code() == 1003


def test_a_bomb_costs_no_more_than_a_message(stack, who):
    """Each is cut at the bound; the edge's memory does not show that there were hundreds."""
    def rss():
        pid = stack.pid("edge-1")
        return int(next(l for l in open(f"/proc/{pid}/status") if l.startswith("VmRSS")).split()[1])
    before = rss()
    for _ in range(200):
        t = Talk(stack, who, "json+deflate")
        t.send(TEXT, BOMB, rsv=4)
        assert t.close_code() == 1009
        t.close()
    assert rss() - before < 32 << 10  # KiB


# --- the handshake ------------------------------------------------------------------------------

def test_handshake(stack, who):
    with Handshake(stack, token=who.key) as h:
        assert h.status == 101 and "sec-websocket-protocol" not in h.headers
        assert h.headers["upgrade"].lower() == "websocket" and h.headers["connection"].lower() == "upgrade"
    for headers, status in (
            ([("Connection", None)], 426), ([("Upgrade", None)], 426), ([("Upgrade", "h2c")], 426),
            ([("Connection", "close")], 426), ([("Sec-WebSocket-Version", "12")], 426),
            ([("Sec-WebSocket-Version", None)], 426), ([("Sec-WebSocket-Version", "13, 8")], 426),
            ([("Sec-WebSocket-Key", None)], 400), ([("Sec-WebSocket-Key", "x")], 400),
            ([("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=")], 400),
            ([("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAAA=")], 400),
            ([("Sec-WebSocket-Protocol", "chat")], 400), ([("Sec-WebSocket-Protocol", "penstock.v2.json")], 400),
            ([("Connection", "keep-alive, Upgrade")], 101), ([("Upgrade", "WebSocket")], 101),
            ([("Connection", "upgrade")], 101), ([("Origin", f"http://{stack.edge_url.split('//')[1]}")], 101)):
        with Handshake(stack, headers, who.key) as h:
            assert h.status == status, (headers, h.status)
            if status == 426:
                assert h.headers["sec-websocket-version"] == "13"


def test_the_accept_header(stack, who):
    with Handshake(stack, [("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")], who.key) as h:
        assert h.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, 1.3


@pytest.mark.parametrize("offer, got", [
    (f"{PROTOBUF}, {JSON}", PROTOBUF), (f"{JSON}, {PROTOBUF}", JSON), (f"chat, {PROTOBUF}", PROTOBUF)])
def test_the_client_chooses_the_protocol(stack, who, offer, got):
    with Handshake(stack, [("Sec-WebSocket-Protocol", offer)], who.key) as h:
        assert h.status == 101 and h.headers["sec-websocket-protocol"] == got


BOTH = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize("offer, answer", [
    ("permessage-deflate", BOTH), ("permessage-deflate; client_max_window_bits", BOTH + "; client_max_window_bits=15"),
    ("permessage-deflate; server_max_window_bits=10", BOTH + "; server_max_window_bits=10"),
    ("x-other, permessage-deflate; client_no_context_takeover", BOTH),
    ("permessage-deflate; server_max_window_bits=7", None), ("permessage-deflate; nonsense=1", None),
    ("permessage-deflate; nonsense=1, permessage-deflate", BOTH), ("x-other", None), ("", None), (";;;", None)])
def test_offers_of_compression(stack, who, offer, answer):
    with Handshake(stack, [("Sec-WebSocket-Extensions", offer)], who.key) as h:
        assert h.status == 101 and h.headers.get("sec-websocket-extensions") == answer


# --- what is sent compressed --------------------------------------------------------------------

def publish(who, data, channel="room.z", type="chat.message"):
    status, _, answer = who.http("POST", "/v1/events", {"channel": channel, "type": type, "data": data})
    assert status == 202, answer
    return answer


def subscribe(t, channel):
    assert t.json
    t.sock.sendall(t.message(json.dumps({"op": "subscribe", "id": "s", "channel": channel}).encode()))
    op, body = t.read()
    while json.loads(body)["op"] != "subscribed":
        op, body = t.read()


def next_event(t):
    while True:
        op, body = t.read()
        if op == TEXT and json.loads(body)["op"] == "event":
            return json.loads(body)


def test_only_what_gets_smaller_is_compressed(stack, who):
    rng = random.Random(1)
    noise = "".join(chr(rng.randrange(0x20, 0x7F)) for _ in range(300))
    t, plain = Talk(stack, who, "json+deflate"), Talk(stack, who, "json")
    subscribe(t, "room.z")
    subscribe(plain, "room.z")
    for data, packed in (("short", 0), ("x" * 5000, 1), ([noise] * 20, 1), ("x" * 60000, 1)):
        t.packed = 0
        publish(who, data)
        a, b = next_event(t), next_event(plain)
        assert a == b and a["data"] == data
        assert t.packed == packed and plain.packed == 0, data


def test_a_small_window_is_honoured(stack, who):
    """What is compressed with a larger one is sent plain to a client that could not unpack it."""
    t = Raw(stack, who.key, JSON, "permessage-deflate; server_max_window_bits=10")
    t.json, t.deflated, t.op = True, False, TEXT
    t.message = lambda body: frame(TEXT, body)
    subscribe(t, "room.w")
    for data, packed in (("x" * 500, 1), ("x" * 5000, 0)):
        t.packed = 0
        publish(who, data, "room.w")
        assert next_event(t)["data"] == data
        assert t.packed == packed


def test_compressed_once_for_all(stack, who):
    """The bytes that go through the compressor do not grow with the subscribers (at most once a reactor)."""
    talks = [Talk(stack, who, "json+deflate") for _ in range(2 * os.cpu_count() + 2)]
    for t in talks:
        subscribe(t, "room.once")

    def plain():
        text = http("GET", stack.url("admin-edge-1") + "/metrics")[2]
        return float(re.search(r'penstock_edge_deflate_bytes_total{direction="out",form="plain"} (\S+)', text)[1])
    before = plain()
    for i in range(10):
        publish(who, {"n": i, "text": "y" * 4000}, "room.once")
    for t in talks:
        assert [next_event(t)["data"]["n"] for _ in range(10)] == list(range(10))
        assert t.packed == 10
    wait_for("the metric", lambda: plain() > before)
    assert plain() - before < 10 * 4600 * os.cpu_count()


# --- the bus says nonsense ----------------------------------------------------------------------

def pb(number, data):
    return bytes([number << 3 | 2]) + (bytes([len(data)]) if len(data) < 128 else
                                       bytes([len(data) & 0x7F | 0x80, len(data) >> 7])) + data


def test_no_client_gets_what_is_no_json(stack, who):
    """Whoever can write to the bus cannot break the parsers of a channel's clients."""
    t, p = Talk(stack, who, "json"), Talk(stack, who, "protobuf")
    subscribe(t, "room.bus")
    p.sock.sendall(frame(BINARY, b"\x0a\x01s\x1a\x0a\x0a\x08room.bus"))
    p.read()
    with Nats(stack.nats_url) as nats:
        subjects = nats.api("STREAM.INFO.EVENTS", subjects_filter=f"pen.evt.*.{who.id}.>")["state"]["subjects"]
        part = next(iter(subjects)).split(".")[2]
        for data in (b"{", b"}", b'{"a":}', b"1 2", b"nul", b'"\x01"', b'"\xff"', b'1,"op":"drain"', b"", b'{"ok":1}'):
            nats.publish(f"pen.live.{part}.{who.id}.room.bus", b"".join(pb(n, v) for n, v in (
                (1, b"0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"), (2, who.id.encode()), (3, b"room.bus"),
                (4, b"cursor.move"), (6, data))))
        nats.ping()
        assert next_event(t)["data"] == {"ok": 1}
        op, body = p.read()
        assert op == BINARY and body.endswith(b'{"ok":1}')
