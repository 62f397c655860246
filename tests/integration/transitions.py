"""Writes transitions of tasks as a worker does: straight into the stream, by compare-and-set. For states that no
worker brings about by itself when a test wants them."""
import functools
import importlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import uuid

from natsraw import Nats
from stack import wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]


@functools.lru_cache
def schema():
    with tempfile.TemporaryDirectory(prefix="penstock-pb-") as out:
        subprocess.run(["protoc", f"--python_out={out}", f"-I{ROOT / 'proto'}", "event.proto"], check=True)
        sys.path.insert(0, out)
        try:
            return importlib.import_module("event_pb2")
        finally:
            sys.path.remove(out)


class Log:
    """The stream EVENTS of a stack."""

    def __init__(self, stack):
        self.nats = Nats(stack.nats_url)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.nats.close()

    def subject(self, tenant, task):
        """As it is in the stream: nobody here computes partitions."""
        def find():
            told = self.nats.api("STREAM.INFO.EVENTS", subjects_filter=f"pen.evt.*.{tenant}.task.{task}")
            return next(iter(told["state"].get("subjects") or {}), None)
        return wait_for(f"task {task} in the stream", find)

    def write(self, tenant, task, *transitions):
        """transitions: (type, data) in order, behind what is there. Their offsets."""
        subject, offsets = self.subject(tenant, task), []
        last = self.nats.api("STREAM.MSG.GET.EVENTS", last_by_subj=subject)["message"]["seq"]
        for type, data in transitions:
            event = schema().Event(id=str(uuid.uuid4()), tenant=tenant, channel=f"task.{task}", type=type, version=1,
                                   data=json.dumps({"task": task, **data}).encode(), time_us=int(time.time() * 1e6))
            head = f"NATS/1.0\r\nNats-Msg-Id: {event.id}\r\nNats-Expected-Last-Subject-Sequence: {last}\r\n\r\n".encode()
            answer = json.loads(self.nats.request(subject, event.SerializeToString(), head=head))
            assert "error" not in answer, answer
            last = answer["seq"]
            offsets.append(last)
        return offsets

    def park(self, tenant, task, not_before, stage="s1", **data):
        """As a worker that ran its first stage and may not go on until then (seconds since 1970)."""
        return self.write(tenant, task, ("task.started", {"worker": "w-gone", "claim": 1, "run": 1}),
                          ("task.stage.started", {"stage": stage, "kind": "transform", "attempt": 1, "worker": "w-gone"}),
                          ("task.parked", {"stage": stage, "reason": "test", "not_before": int(not_before * 1000),
                                           **data}))[-1]
