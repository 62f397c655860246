"""A client of penstock.v1.protobuf for the tests: Client of client.py with another encoding, by Google's own library.

proto/client.proto is compiled by protoc when the tests begin; a ServerFrame is turned into the dict that its JSON would
be, so that everything which is written for JSON frames works for these.
"""
import functools
import importlib
import json
import pathlib
import subprocess
import sys
import tempfile

from google.protobuf.descriptor import FieldDescriptor

from client import Client

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROTOBUF = "penstock.v1.protobuf"
# What JSON writes also where it is the default.
OPTIONAL = {("accepted", "task"), ("error", "retry_after_ms"), ("error", "details"), ("event", "offset"), ("event", "prev"),
            ("event", "replay")}


@functools.lru_cache
def schema():
    with tempfile.TemporaryDirectory(prefix="penstock-pb-") as out:
        subprocess.run(["protoc", f"--python_out={out}", f"-I{ROOT / 'proto'}", "client.proto"], check=True)
        sys.path.insert(0, out)
        try:
            return importlib.import_module("client_pb2")
        finally:
            sys.path.remove(out)


def encode(frame):
    """The dict of a client's JSON message as a ClientFrame."""
    message = schema().ClientFrame()
    members = dict(frame)
    op = getattr(message, members.pop("op"))
    op.SetInParent()
    if "id" in members:
        message.id = members.pop("id")
    for name, value in members.items():
        if name in ("data", "input"):
            setattr(op, name, json.dumps(value).encode())
        elif isinstance(value, dict):
            part = getattr(op, name)
            part.SetInParent()
            for key, one in value.items():
                setattr(part, key, one)
        else:
            setattr(op, name, value)
    return message.SerializeToString()


def as_dict(message, op=None):
    out = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            out[field.name] = as_dict(value)
        elif field.type == FieldDescriptor.TYPE_BYTES:
            if value:
                out[field.name] = json.loads(value)
        elif value or (op, field.name) not in OPTIONAL:
            out[field.name] = value
    return out


def decode(data):
    message = schema().ServerFrame.FromString(data)
    op = message.WhichOneof("op")
    frame = {"op": op, **as_dict(getattr(message, op), op)}
    if message.id:
        frame["id"] = message.id
    if op == "event" and "offset" in frame:
        frame.setdefault("prev", 0)
    return frame


class PbClient(Client):
    protocol = PROTOBUF

    async def send(self, **frame):
        await self.ws.send(encode(frame))

    def parse(self, message):
        assert isinstance(message, bytes)
        return decode(message)
