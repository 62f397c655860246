"""Clients that do not give up: publishers, tasks and a subscriber, in a thread of their own while the test kills.

Each publisher has a channel, sends one event after the other and repeats it under its key until it is acknowledged, on
whatever edge there is. The subscriber resumes its session and comes back at the offset where it was. In the end
verify() asks both the subscriber and PostgreSQL for all that was acknowledged.
"""
import asyncio
import threading
import time

import websockets

import audit
from client import Client, Refused
from conftest import PIPELINES
from stack import StackError, wait_for

LOST = (ConnectionError, OSError, asyncio.TimeoutError, websockets.WebSocketException)
PAUSE = 0.01  # between two commands of one publisher: a steady trickle, not a benchmark


class Traffic:
    def __init__(self, stack, tenant, publishers=4, taskers=2, pipeline="quick", subscribe=True, task_pause=PAUSE):
        self.stack, self.tenant, self.pipeline = stack, tenant, pipeline
        self.edges = [stack.url(f"edge-{i}") for i in range(1, stack.counts["edge"] + 1)]
        self.channels = [f"room.{i}" for i in range(publishers)]
        self.acked = {c: [] for c in self.channels}  # [(data, accepted)]
        self.tasks = {f"k{i}": [] for i in range(taskers)}
        self.seen = {c: {} for c in self.channels}   # event id → frame
        self.refused, self.lost, self.wrong, self.resumed = [], 0, [], 0
        self.subscribed = threading.Event()
        self.subscribe, self.epoch, self.task_pause = subscribe, "", task_pause
        self._ending = False
        self._over = False  # nobody will get an acknowledgement any more: all that was acknowledged is known

    def __enter__(self):
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="traffic")
        self._thread.start()
        if self.subscribe:
            assert self.subscribed.wait(30), self.wrong
        return self

    def __exit__(self, *exc):
        self._ending = True
        self._thread.join(60)
        assert not self._thread.is_alive(), "clients that wait for ever"

    async def _run(self):
        async def guard(job):
            try:
                await job
            except Exception as e:
                self.wrong.append(e)
        jobs = [self._publisher(c, i) for i, c in enumerate(self.channels)]
        jobs += [self._tasker(k, i) for i, k in enumerate(self.tasks)]
        jobs = [asyncio.create_task(guard(j)) for j in jobs]
        follower = asyncio.create_task(guard(self._subscriber())) if self.subscribe else None
        await asyncio.gather(*jobs)
        self._over = True
        if follower:
            await follower

    async def _persist(self, start, ask, took, pause=PAUSE):
        """Asks again until it is accepted; `ask(client)` is the same each time."""
        edge = start
        while not self._ending:
            try:
                async with Client(self.edges[edge % len(self.edges)], self.tenant.key) as c:
                    while not self._ending:
                        try:
                            took(await ask(c))
                            await asyncio.sleep(pause)
                        except Refused as e:
                            self.refused.append(e.frame)
                            assert e.frame["temporary"] and e.frame["retry_after_ms"] > 0, e.frame
                            await asyncio.sleep(min(e.frame["retry_after_ms"] / 1000, 1))
            except LOST:
                self.lost += 1
                edge += 1
                await asyncio.sleep(0.05)

    async def _publisher(self, channel, start):
        mine = self.acked[channel]
        await self._persist(
            start, lambda c: c.publish(channel, {"n": len(mine)}, key=f"{channel}-{len(mine)}", timeout=10),
            lambda answer: mine.append(({"n": len(mine)}, answer)))

    async def _tasker(self, key, start):
        mine = self.tasks[key]

        async def ask(c):
            answer = await c.task(self.pipeline, {"document": f"Task {len(mine)} of {key}."}, f"{key}-{len(mine)}",
                                  timeout=10)
            # One is subscribed to one's own tasks, and a connection has 128 subscriptions.
            await c.call(op="unsubscribe", channel=answer["channel"], timeout=10)
            return answer
        await self._persist(start, ask, lambda answer: mine.append(answer["task"]), self.task_pause)

    def _behind(self):
        return any(a["event_id"] not in self.seen[c] for c in self.channels for _, a in self.acked[c])

    async def _subscriber(self):
        at = dict.fromkeys(self.channels, 0)
        edge = len(self.edges) - 1
        deadline = session = resume = None
        while True:
            c = Client(self.edges[edge % len(self.edges)], self.tenant.key, resume)
            try:
                async with c:
                    if resume and c.connected["session"] != session:
                        self.wrong.append(f"not the session that was resumed: {c.connected}")
                    session = c.connected["session"]
                    self.resumed += resume is not None
                    await self._follow(c, at)
            except Refused as e:
                assert e.frame["temporary"], e.frame
            except LOST:
                edge += 1
            resume = c.resume or resume
            if self._over:
                deadline = deadline or time.monotonic() + 30
                if not self._behind() or time.monotonic() > deadline:
                    return
            await asyncio.sleep(0.05)

    async def _follow(self, c, at):
        for channel in self.channels:
            place = await c.subscribe(channel, {"epoch": self.epoch, "offset": at[channel]})
            if not place["recovered"]:
                self.wrong.append(f"{channel}: not recovered: {place}")
            self.epoch = place["epoch"]  # of the log, the same for all channels
        self.subscribed.set()
        done, end = 0, None
        while not (self._over and not self._behind()):
            end = end or (time.monotonic() + 30 if self._over else None)
            if end and time.monotonic() > end:
                return
            for f in c.frames[done:]:
                done += 1
                if f["op"] != "event":
                    continue
                channel = f["channel"]
                if f["offset"] <= at[channel] or f["prev"] > at[channel]:
                    self.wrong.append(f"{channel}: {f['prev']}→{f['offset']} came at {at[channel]}")
                at[channel] = f["offset"]
                self.seen[channel][f["event_id"]] = f
            if c.closed:
                raise ConnectionError
            await asyncio.sleep(0.02)

    # --- for the test

    def counts(self):
        return [len(v) for v in self.acked.values()] + [len(v) for v in self.tasks.values()]

    def go_on(self, n=10, timeout=60, tasks=True):
        """Everybody has got n more acknowledgements from here on."""
        before = self.counts()
        if not tasks:
            before = before[:len(self.channels)]

        def more():
            if self.wrong:  # somebody has given up: no use in waiting
                raise StackError(f"what no client should see: {self.wrong!r}")
            return all(now >= was + n for was, now in zip(before, self.counts()))
        try:
            wait_for(f"{n} more of each of {before}", more, timeout)
        except StackError as e:
            raise StackError(f"{e}; now {self.counts()}, lost {self.lost}, refused {self.refused[-2:]}") from None

    def see_live(self, n=10, timeout=30):
        """The subscriber gets n more of each channel."""
        before = {c: len(v) for c, v in self.seen.items()}
        wait_for("live delivery", lambda: all(len(self.seen[c]) >= before[c] + n for c in before), timeout)

    def verify(self):
        """After the with block."""
        assert self.wrong == []
        for channel, acked in self.acked.items():
            offsets = [a["offset"] for _, a in acked]
            assert offsets == sorted(set(offsets)), f"{channel}: not in the order of the acknowledgements"
            if self.subscribe:
                missed = [d for d, a in acked if a["event_id"] not in self.seen[channel]]
                assert not missed, f"{channel}: the subscriber never got {missed}"
        everything = [(c, d, a) for c, acked in self.acked.items() for d, a in acked]
        audit.check_events(self.stack, self.tenant.id, everything)
        stages = [s["id"] for s in PIPELINES[self.pipeline]]
        for task in [t for tasks in self.tasks.values() for t in tasks]:
            audit.check_task(self.stack, self.tenant.id, task, stages)
