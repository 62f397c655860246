"""A client of penstock.v1.json for the tests, on the `websockets` library: an implementation that is not ours.

Every frame that arrives is kept in `frames`; nothing sleeps: `wait(predicate)` returns the first frame, old or new,
that matches, or fails at its deadline with what had come instead.
"""
import asyncio
import itertools
import json

import websockets

TIMEOUT = 20


class Refused(Exception):
    """An `error` frame that answers a request."""

    def __init__(self, frame):
        super().__init__(f"{frame.get('code')}: {frame.get('message')}")
        self.frame, self.code = frame, frame.get("code")


class Client:
    protocol, compression = "penstock.v1.json", "deflate"  # what a browser would offer

    def __init__(self, url, token=None, resume=None):
        self.first_resume = resume
        self.url, self.token = url.replace("http://", "ws://") + "/v1/ws", token
        self.frames, self.closed, self.close_code = [], False, None
        self._ids = itertools.count(1)
        self._news = asyncio.Condition()

    async def open(self, headers=None, query="", subprotocols=None):
        """Connects the socket only."""
        subprotocols = subprotocols or [self.protocol]
        self.ws = await websockets.connect(self.url + query, extra_headers=headers or {}, subprotocols=subprotocols,
                                           max_size=None, open_timeout=TIMEOUT, ping_interval=None,
                                           compression=self.compression)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aenter__(self):
        """Connected and greeted: with the token in the header, or with another session's resume token."""
        if self.first_resume:
            await self.open()
            await self.send(op="connect", resume=self.first_resume)
        else:
            await self.open({"Authorization": f"Bearer {self.token}"})
        self.connected = await self.wait(lambda f: f["op"] == "connected")
        return self

    async def __aexit__(self, *exc):
        await self.ws.close()
        self._reader.cancel()

    def parse(self, message):
        return json.loads(message)

    async def _read(self):
        try:
            async for text in self.ws:
                frame = self.parse(text)
                async with self._news:
                    self.frames.append(frame)
                    self._news.notify_all()
        except websockets.ConnectionClosed:
            pass
        finally:
            async with self._news:
                self.closed, self.close_code = True, self.ws.close_code
                self._news.notify_all()

    async def wait(self, predicate, timeout=TIMEOUT, at=0):
        """at: how many frames are too old to count."""

        async def look():
            nonlocal at
            async with self._news:
                while True:
                    for at in range(at, len(self.frames)):
                        if predicate(self.frames[at]):
                            return self.frames[at]
                    at = len(self.frames)
                    if self.closed:
                        raise ConnectionError(f"closed with {self.close_code}; the last frames: {self.frames[-3:]}")
                    await self._news.wait()
        try:
            return await asyncio.wait_for(look(), timeout)
        except asyncio.TimeoutError:
            raise AssertionError(f"not within {timeout} s; the last frames: {self.frames[-5:]}") from None

    async def wait_close(self, timeout=TIMEOUT):
        await asyncio.wait_for(asyncio.shield(self._reader), timeout)
        return self.close_code

    @property
    def resume(self):
        """The newest resume token."""
        return next((f["resume"] for f in reversed(self.frames) if f["op"] in ("connected", "resume")), None)

    async def lose(self):
        """As if the network were gone: no close frame."""
        self.ws.transport.abort()
        await asyncio.shield(self._reader)

    async def send(self, **frame):
        await self.ws.send(json.dumps(frame))

    async def call(self, timeout=TIMEOUT, **frame):
        """Sends a request and waits for its answer; Refused for an error frame."""
        id = frame.setdefault("id", f"c{next(self._ids)}")
        at = len(self.frames)
        await self.send(**frame)
        answer = await self.wait(lambda f: f.get("id") == id, timeout, at)
        if answer["op"] == "error":
            raise Refused(answer)
        return answer

    async def subscribe(self, channel, after=None):
        return await self.call(op="subscribe", channel=channel, **({"after": after} if after else {}))

    async def publish(self, channel, data, type="chat.message", **more):
        return await self.call(op="publish", channel=channel, type=type, data=data, **more)

    async def task(self, pipeline, input, key, **more):
        return await self.call(op="task", pipeline=pipeline, input=input, key=key, **more)

    def events(self, channel, type=None):
        return [f for f in self.frames if f["op"] == "event" and f["channel"] == channel
                and (type is None or f["type"] == type)]

    def deltas(self, task, stage):
        return [f for f in self.frames if f["op"] == "delta" and f["task"] == task and f["stage"] == stage]

    async def wait_event(self, channel, type, timeout=TIMEOUT, where=lambda f: True):
        return await self.wait(lambda f: f["op"] == "event" and f["channel"] == channel and f["type"] == type
                               and where(f), timeout)

    async def wait_end(self, task, timeout=60):
        """The terminal event of a task."""
        ends = {f"task.{w}" for w in ("completed", "failed", "cancelled", "expired")}
        return await self.wait(lambda f: f["op"] == "event" and f["channel"] == f"task.{task}" and f["type"] in ends,
                               timeout)
