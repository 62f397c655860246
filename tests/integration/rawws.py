"""A WebSocket by hand, for frames that no library would send: the handshake, then whatever bytes a test wants."""
import base64
import os
import secrets
import socket
import struct
import urllib.parse
import zlib

JSON, PROTOBUF = "penstock.v1.json", "penstock.v1.protobuf"


def deflate(data, level=9, bits=-15):
    """The payload of a compressed message (RFC 7692, 7.2.1)."""
    z = zlib.compressobj(level, zlib.DEFLATED, bits)
    out = z.compress(data) + z.flush(zlib.Z_SYNC_FLUSH)
    assert out.endswith(b"\0\0\xff\xff")
    return out[:-4]


def inflate(data, bits=-15):
    return zlib.decompressobj(bits).decompress(data + b"\0\0\xff\xff")


def frame(opcode, body=b"", fin=True, rsv=0, mask=True, length=None, size=None):
    """A client's. length: what the header says, if that is not the truth; size: bytes of the length field (0, 2, 8)."""
    n = len(body) if length is None else length
    if size is None:
        size = 0 if n < 126 else 2 if n < 65536 else 8
    bit = 0x80 if mask else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    head += (bytes([bit | n]) if size == 0 else bytes([bit | 126]) + struct.pack(">H", n) if size == 2
             else bytes([bit | 127]) + struct.pack(">Q", n))
    if mask:
        key = os.urandom(4)
        head += key
        whole = (key * (len(body) // 4 + 1))[:len(body)]
        body = (int.from_bytes(body, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(body), "big")
    return head + body


class Handshake:
    """Sends one and reads the answer: status, headers."""

    def __init__(self, stack, headers=(), token=None, path="/v1/ws", method="GET", edge="edge-1", rcvbuf=0):
        parts = urllib.parse.urlsplit(stack.url(edge))
        self.sock = socket.socket()
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(20)
        self.sock.connect((parts.hostname, parts.port))
        self.key = base64.b64encode(secrets.token_bytes(16)).decode()
        names = {name.lower() for name, _ in headers}
        lines = [f"{method} {path} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in (
            ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", self.key)) if name.lower() not in names]
        lines += [f"{name}: {value}" for name, value in headers if value is not None]
        if token:
            lines.append(f"Authorization: Bearer {token}")
        self.sock.sendall("\r\n".join(lines + ["", ""]).encode())
        self.file = self.sock.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            self.headers[name.strip().lower()] = value.strip()

    def close(self):
        self.file.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class Raw(Handshake):
    """A socket after a proper handshake and `connected`."""

    def __init__(self, stack, token, protocol=JSON, extensions=None, **kw):
        super().__init__(stack, [("Sec-WebSocket-Protocol", protocol), ("Sec-WebSocket-Extensions", extensions)], token,
                         **kw)
        assert self.status == 101 and self.headers.get("sec-websocket-protocol") == protocol, self.headers
        self.said_close = False
        self.packed = 0   # compressed messages that came
        op, self.connected = self.read()
        assert op == (1 if protocol == JSON else 2)

    def send(self, opcode, body=b"", **kw):
        self.said_close = opcode == 8
        self.sock.sendall(frame(opcode, body, **kw))

    def read(self):
        """Opcode and payload of the next frame, unpacked; None at the end of the stream. The edge's heartbeats, which come
        when they come, are passed over."""
        while (one := self._read()) == (9, b""):
            pass
        return one

    def _read(self):
        head = self.file.read(2)
        if len(head) < 2:
            return None, b""
        assert head[0] & 0xb0 == 0x80, "a server's frame is whole"
        n = head[1]
        assert n < 128, "a server does not mask"
        if n == 126:
            n = struct.unpack(">H", self.file.read(2))[0]
            assert n > 125
        elif n == 127:
            n = struct.unpack(">Q", self.file.read(8))[0]
            assert n > 65535
        body = self.file.read(n)
        if head[0] & 0x40:
            assert head[0] & 0x0F in (1, 2)
            self.packed += 1
            body = inflate(body)
        return head[0] & 0x0F, body

    def close_frame(self):
        """The server's close frame: its code (None: none) and reason. Other frames before it are passed over. Then the
        socket ends."""
        while True:
            op, body = self.read()
            assert op is not None, "the socket ended without a close frame"
            if op == 8:
                if not self.said_close:
                    self.send(8, body[:2])
                assert self.file.read() == b""
                return (struct.unpack(">H", body[:2])[0] if body else None), body[2:]

    def close_code(self):
        return self.close_frame()[0]
