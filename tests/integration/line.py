"""A line between a client and an edge, which a test can cut: bytes are passed on in both directions until then."""
import selectors
import socket
import struct
import threading
import urllib.parse


class Line:
    """`url` leads to the edge at `target`. Connections are ended by a reset, in mid-frame as may be."""

    def __init__(self, target):
        parts = urllib.parse.urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._pairs, self._lock, self._ending = {}, threading.Lock(), False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._ending = True
        self._thread.join(10)
        self.cut()
        self._listener.close()

    def cut(self):
        """Every connection, as if the network were gone. -> how many there were"""
        with self._lock:
            ends = list(self._pairs)
            for end in ends:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._end(end)
        return len(ends) // 2

    def _end(self, end):
        self._pairs.pop(end, None)
        try:
            self._selector.unregister(end)
        except KeyError:
            pass
        end.close()

    def _accept(self):
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(self._target, 10)
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, end):
        other = self._pairs.get(end)
        if other is None:
            return
        try:
            data = end.recv(65536)
            other.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._end(end)
            self._end(other)

    def _run(self):
        while not self._ending:
            for key, _ in self._selector.select(0.1):
                with self._lock:
                    if key.fileobj is self._listener:
                        self._accept()
                    else:
                        self._pass_on(key.fileobj)
