"""A client of server-sent events for the tests, by hand on one socket: reads lines, dispatches events as the WHATWG
says, and remembers the last id, so that `again()` comes back as a browser would."""
import json
import socket
import urllib.parse

TIMEOUT = 20


class Stream:
    def __init__(self, url, path, token=None, last_id="", headers=None, buffer=None):
        self.url, self.path, self.token, self.last_id, self.headers = url, path, token, last_id, headers or {}
        self.events, self.comments, self.retry, self.ended = [], 0, None, False
        parts = urllib.parse.urlsplit(url)
        self.sock = socket.socket()
        if buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect((parts.hostname, parts.port))
        head = {"Host": parts.netloc, "Accept": "text/event-stream", **self.headers}
        if token:
            head["Authorization"] = f"Bearer {token}"
        if last_id:
            head["Last-Event-ID"] = last_id
        self.sock.sendall(f"GET {path} HTTP/1.1\r\n{''.join(f'{k}: {v}' + chr(13) + chr(10) for k, v in head.items())}\r\n".encode())
        self.file = self.sock.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.head = {}
        while (line := self.file.readline().strip()):
            name, _, value = line.decode().partition(":")
            self.head[name.lower()] = value.strip()

    def again(self):
        self.close()
        return Stream(self.url, self.path, self.token, self.last_id, self.headers)

    def problem(self):
        return json.loads(self.file.read(int(self.head["content-length"])))

    def next(self):
        """The next event as (name, data, id); None at the end."""
        name, data, id = "message", [], None
        while True:
            line = self.file.readline()
            if not line:
                self.ended = True
                return None
            line = line.decode().rstrip("\n")
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line:
                if id is not None:
                    self.last_id = id
                if data:
                    self.events.append((name, json.loads("\n".join(data)), id))
                    return self.events[-1]
                name, data, id = "message", [], None
            elif not field:
                self.comments += 1
            elif field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif field == "id":
                id = value
            elif field == "retry":
                self.retry = int(value)
            else:
                raise AssertionError(line)

    def wait(self, name, where=lambda data: True):
        """The data of the next event of that name; what comes before it stays in events."""
        while True:
            event = self.next()
            assert event, f"the stream ended; the last events: {self.events[-3:]}"
            if event[0] == name and where(event[1]):
                return event[1]

    def got(self, name="event"):
        return [data for n, data, _ in self.events if n == name]

    def close(self):
        self.file.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
