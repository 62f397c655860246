"""The NATS text protocol by hand, over one socket: Debian has no NATS client for Python.

Enough to be a nuisance on the bus: publish any bytes to any subject, ask a question, ask JetStream's API.
"""
import contextlib
import json
import socket
import urllib.parse


class Nats:
    def __init__(self, url, timeout=10):
        parts = urllib.parse.urlsplit(url)
        self.sock = socket.create_connection((parts.hostname, parts.port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb")
        self.sids = 0
        assert self.file.readline().startswith(b"INFO ")
        self._send(b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"name":"tests"}\r\n')
        self.ping()

    def _send(self, data):
        self.sock.sendall(data)

    def ping(self):
        """The server has taken everything that was sent before."""
        self._send(b"PING\r\n")
        self._until(lambda line: line == b"PONG\r\n")

    def _until(self, wanted):
        """Reads up to a line that is wanted; answers the server's pings on the way."""
        while True:
            line = self.file.readline()
            if not line or line.startswith(b"-ERR"):
                raise ConnectionError(f"NATS: {line!r}")
            if line == b"PING\r\n":
                self._send(b"PONG\r\n")
            elif wanted(line):
                return line
            elif line.startswith((b"MSG ", b"HMSG ")):
                self.file.read(int(line.split()[-1]) + 2)

    def publish(self, subject, data=b"", reply="", head=b""):
        """head: the whole block of headers."""
        sizes = f"{len(head)} {len(head) + len(data)}" if head else len(data)
        self._send(f"{'HPUB' if head else 'PUB'} {subject} {reply + ' ' if reply else ''}{sizes}\r\n".encode()
                   + head + data + b"\r\n")

    def request(self, subject, data=b"", head=b""):
        """The answer's bytes; None if nobody listens there."""
        self.sids += 1
        inbox = f"_INBOX.tests.{id(self)}.{self.sids}"
        self._send(f"SUB {inbox} {self.sids}\r\n".encode())
        self.publish(subject, data, inbox, head)
        line = self._until(lambda l: l.startswith((b"MSG " + inbox.encode(), b"HMSG " + inbox.encode())))
        words = line.split()
        body = self.file.read(int(words[-1]) + 2)[:-2]
        self._send(f"UNSUB {self.sids}\r\n".encode())
        if words[0] == b"HMSG":
            head, body = body[: int(words[-2])], body[int(words[-2]):]
            if head.startswith(b"NATS/1.0 503"):
                return None
        return body

    def api(self, subject, **ask):
        return json.loads(self.request(f"$JS.API.{subject}", json.dumps(ask).encode() if ask else b""))

    def stream_state(self, stream):
        return self.api(f"STREAM.INFO.{stream}")["state"]

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
