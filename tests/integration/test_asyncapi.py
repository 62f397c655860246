"""docs/asyncapi.yaml against the frames that are really sent and taken, and against itself.

One varied run makes every kind of frame in both directions; each is validated, and a frame of a kind that the
document names and the run did not see fails as well: so neither can go its own way.
"""
import asyncio
import copy
import json
import re
import secrets
import signal
import socket
from urllib.parse import urlsplit

import jsonschema
import pytest
import websockets
import yaml

from client import Client, Refused
from conftest import ROOT, Tenant, chat, running_stack
from stack import http

DOC = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text())
FRAMES = {name: m["payload"] for name, m in DOC["components"]["messages"].items()}


def messages(action):
    return {ref["$ref"].rpartition("/")[2] for op in DOC["operations"].values() if op["action"] == action
            for ref in op["messages"]}


def replies():
    return {ref["$ref"].rpartition("/")[2] for op in DOC["operations"].values() if "reply" in op
            for ref in op["reply"]["messages"]}


FROM_CLIENT = messages("receive")
FROM_EDGE = messages("send") | replies()


def refs(node, at=""):
    """(where, reference) of every $ref."""
    if isinstance(node, dict):
        for name, child in node.items():
            if name == "$ref":
                yield at, child
            else:
                yield from refs(child, f"{at}/{name}")
    elif isinstance(node, list):
        for i, child in enumerate(node):
            yield from refs(child, f"{at}/{i}")


def resolve(ref):
    assert ref.startswith("#/"), ref
    node = DOC
    for part in ref[2:].split("/"):
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def closed():
    """The document with no room for members that it does not name: additions are for clients to leave alone, and for
    us to write down."""
    doc = copy.deepcopy(DOC)

    def close(schema):
        if isinstance(schema, dict):
            if schema.get("type") == "object" and "properties" in schema:
                schema.setdefault("additionalProperties", False)
            for child in schema.values():
                close(child)
    close(doc["components"]["schemas"])
    return doc


CLOSED = closed()


def validate(frame):
    jsonschema.Draft7Validator(CLOSED["components"]["schemas"][frame["op"]],
                               resolver=jsonschema.RefResolver("", CLOSED)).validate(frame)


# --- the document itself

def test_every_reference_leads_somewhere():
    all_refs = list(refs(DOC))
    assert len(all_refs) > 50
    for where, ref in all_refs:
        try:
            resolve(ref)
        except (KeyError, TypeError):
            pytest.fail(f"{where}: {ref}")
    # Nothing is described that nobody uses.
    used = {ref for _, ref in all_refs}
    for kind in ("schemas", "messages", "securitySchemes"):
        for name in DOC["components"][kind]:
            assert f"#/components/{kind}/{name}" in used, name


def test_it_has_the_form_of_asyncapi_3():
    """What the specification (3.0.0) demands of the objects that are used here."""
    assert DOC["asyncapi"] == "3.0.0" and {"title", "version"} <= DOC["info"].keys()
    allowed = {"asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations", "components"}
    assert DOC.keys() <= allowed
    names = re.compile(r"^[A-Za-z0-9._-]+$")
    for server in DOC["servers"].values():
        assert {"host", "protocol"} <= server.keys()
        assert server.keys() <= {"host", "protocol", "protocolVersion", "pathname", "description", "title", "summary",
                                 "variables", "security", "tags", "externalDocs", "bindings"}
    for channel in DOC["channels"].values():
        assert channel.keys() <= {"address", "messages", "title", "summary", "description", "servers", "parameters",
                                  "tags", "externalDocs", "bindings"}
        for ref in channel["servers"]:
            assert ref["$ref"].startswith("#/servers/")
    for name, op in DOC["operations"].items():
        assert names.match(name) and op["action"] in ("send", "receive")
        assert op.keys() <= {"action", "channel", "title", "summary", "description", "security", "tags", "bindings",
                             "traits", "messages", "reply", "externalDocs"}
        channel = op["channel"]["$ref"]
        # Messages are those of the operation's channel, never the components' directly (3.0.0, Operation Object).
        for part in (op, *([op["reply"]] if "reply" in op else [])):
            assert part["channel"]["$ref"] == channel
            for ref in part["messages"]:
                assert ref["$ref"].startswith(f"{channel}/messages/"), ref
    for kind in DOC["components"].values():
        assert all(names.match(name) for name in kind)
    assert FROM_CLIENT | FROM_EDGE == FRAMES.keys() == DOC["channels"]["socket"]["messages"].keys()
    types = {"userPassword", "http", "httpApiKey", "apiKey", "oauth2", "openIdConnect"}
    assert {s["type"] for s in DOC["components"]["securitySchemes"].values()} <= types


def test_the_schemas_are_schemas_and_the_examples_fit():
    """Schemas of AsyncAPI are a superset of JSON Schema draft 7."""
    for schema in DOC["components"]["schemas"].values():
        jsonschema.Draft7Validator.check_schema(schema)
    examples = [e["payload"] for m in DOC["components"]["messages"].values() for e in m.get("examples", [])]
    assert len(examples) > 10
    for example in examples:
        validate(example)


def test_the_schemas_refuse():
    """They are not so wide that anything fits."""
    good = {"op": "publish", "id": "1", "channel": "room.1", "type": "t", "data": None}
    validate(good)
    for bad in ({**good, "id": None}, {**good, "channel": "a..b"}, {**good, "more": 1}, {**good, "version": -1},
                {k: v for k, v in good.items() if k != "data"}, {**good, "key": ""}, {**good, "op": "task"}):
        with pytest.raises(jsonschema.ValidationError):
            validate(bad)
    event = {"op": "event", "channel": "a", "type": "t", "version": 1, "event_id": "0" * 8 + "-0000-0000-0000-" + "0" * 12,
             "time": "2026-01-01T00:00:00.000000Z", "trace": "", "data": 1}
    validate(event)
    for bad in ({**event, "offset": 1}, {**event, "offset": 0, "prev": 0}, {**event, "unheard": 1}):
        with pytest.raises(jsonschema.ValidationError):
            validate(bad)


def test_protocol_md_names_every_frame_and_code():
    text = (ROOT / "docs/protocol.md").read_text()
    for name in FRAMES:
        assert f"| `{name}` |" in text, name
        for member in resolve(FRAMES[name]["$ref"])["properties"]:
            assert re.search(rf'[`"]{member}[`"]', text), f"{name}.{member}"
    for code in DOC["components"]["schemas"]["errorCode"]["enum"]:
        assert f"| `{code}` |" in text, code
    # Every example in it is one that the schemas take.
    examples = re.findall(r'`(\{"op":"[^`]*\})`', text)
    assert len(examples) > 15
    for example in examples:
        frame = json.loads(example)
        if frame["op"] in ("event", "delta", "reset", "accepted", "cancel"):  # their ids are shortened there
            assert frame.keys() <= resolve(FRAMES[frame["op"]]["$ref"])["properties"].keys(), example
        else:
            validate(frame)


def test_both_subprotocols_have_the_same_members():
    """proto/client.proto against the schemas: `op` is the oneof's name there, `id` stands beside it."""
    text = re.sub(r"//.*", "", (ROOT / "proto/client.proto").read_text())
    bodies = dict(re.findall(r"^message (\w+) \{(.*?)^\}", text, re.M | re.S))

    def fields(message):
        return set(re.findall(r"^ {2}\w+ (\w+) = \d+;", bodies[message], re.M))
    frames = {}
    for name in ("ClientFrame", "ServerFrame"):
        frames[name] = dict(reversed(pair) for pair in re.findall(r"^ {4}(\w+) (\w+) = \d+;", bodies[name], re.M))
    assert frames["ClientFrame"].keys() == FROM_CLIENT and frames["ServerFrame"].keys() == FROM_EDGE
    for op, message in (frames["ClientFrame"] | frames["ServerFrame"]).items():
        assert fields(message) == resolve(FRAMES[op]["$ref"])["properties"].keys() - {"op", "id"}, op


# --- a varied run

SOFT = 16384


class Recorder(Client):
    """Keeps what it sends as well, and can stop to read."""

    def __init__(self, *args):
        super().__init__(*args)
        self.sent = []

    async def send(self, **frame):
        self.sent.append(frame)
        await super().send(**frame)

    async def open_narrow(self):
        """With little room in the kernel, and the token in the first frame."""
        where = urlsplit(self.url)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (where.hostname, where.port))
        self.ws = await websockets.connect(self.url, sock=sock, subprotocols=["penstock.v1.json"], max_size=None,
                                           ping_interval=None)
        self._reader = asyncio.create_task(self._read())
        await self.send(op="connect", token=self.token)
        self.connected = await self.wait(lambda f: f["op"] == "connected")
        return self


@pytest.fixture(scope="module")
def own():
    with running_stack(edges=2, routers=1, workers=1, stores=1, env={"edge": {
        "PENSTOCK_EDGE_OUT_SOFT_BYTES": SOFT, "PENSTOCK_EDGE_RESUME_TTL_MS": 1000, "PENSTOCK_EDGE_PING_MS": 300,
        "PENSTOCK_EDGE_PONG_MS": 200, "PENSTOCK_EDGE_DRAIN_MS": 500, "PENSTOCK_EDGE_DRAIN_SPREAD_MS": 100}}) as stack:
        yield stack


async def channels_and_commands(c):
    place = await c.subscribe("room.1")
    await c.call(op="subscribe", channel="room.2", after={"offset": 0}, id=7)
    first = await c.publish("room.1", {"n": 1}, key="k1", version=1)
    await c.publish("room.1", {"n": 1}, key="k1", version=1)
    await c.publish("room.1", {"x": 1}, type="cursor.move")
    await c.wait_event("room.1", "chat.message")
    await c.wait_event("room.1", "cursor.move")
    await c.send(op="ack", channel="room.1", offset=first["offset"])
    await c.call(op="ping", id=8)
    await c.call(op="unsubscribe", channel="room.1")
    await c.subscribe("room.1", {"epoch": place["epoch"], "offset": place["offset"]})
    await c.call(op="unsubscribe", channel="room.1")
    unknown = await c.subscribe("room.1", {"epoch": "another", "offset": 3})
    assert not unknown["recovered"]


async def errors(c):
    """Each is refused, and how is recorded."""
    refused = set()
    for frame in ({"op": "publish", "channel": "room.1", "type": "nobody.knows", "data": 1},
                  {"op": "publish", "channel": "task.x", "type": "chat.message", "data": 1},
                  {"op": "publish", "channel": "room.1", "type": "chat.message", "data": {"n": 2}, "key": "k1"},
                  {"op": "subscribe", "channel": "room.1"},
                  {"op": "task", "pipeline": "nobody-knows", "key": "k", "input": 1},
                  {"op": "cancel", "task": "7c9e6679-7425-40de-944b-e07fc1f90ae7"},
                  {"op": "publish", "channel": "room.1"}):
        with pytest.raises(Refused) as e:
            await c.call(**frame)
        refused.add(e.value.code)
    # The last one is no frame of this protocol: it is not among those that a client may send.
    c.sent.pop()
    assert refused == {"unknown_type", "forbidden", "conflict", "not_found", "bad_request"}


async def tasks(c):
    task = (await c.task("breaks", {"document": "One. Two. Three. Four."}, "t1", deadline_ms=60000, priority=1))["task"]
    await c.wait_end(task)
    await c.wait(lambda f: f["op"] == "reset" and f["task"] == task)
    other = (await c.task("slow", "One. Two. " * 20, "t2"))["task"]
    await c.wait(lambda f: f["op"] == "delta" and f["task"] == other)
    await c.call(op="cancel", task=other)
    await c.wait_end(other)


async def slow_socket(stack, c, publisher):
    await c.subscribe("wide")
    c.ws.transport.pause_reading()
    spilled = re.compile(r"^penstock_edge_spill(?:s|ed)_total\S* ([1-9]\d*)", re.M)

    def metrics():
        return spilled.search(http("GET", stack.url("admin-edge-2") + "/metrics")[2])
    for n in range(2000):
        # Nothing that compression could make small.
        await publisher.publish("wide", {"n": n, "text": secrets.token_hex(4000)})
        if n % 20 == 19 and metrics():
            break
    assert metrics()
    last = await publisher.publish("wide", {"last": True})
    c.ws.transport.resume_reading()
    await c.wait(lambda f: f["op"] == "event" and f.get("offset") == last["offset"], timeout=40)
    assert any(f["op"] == "gap" for f in c.frames)


async def test_frames_of_a_varied_run(own):
    stack = own
    tenant = Tenant(stack)
    control = stack.control()
    # The first call is cut off after six tokens: its text is void, and the second attempt begins anew.
    control.model("cuts", stack.modelsim_url + "/v1", model="sim-cuts@token_ms=60,cut_rate=1,cut_after=6,cut_count=1")
    control.pipeline("breaks", [chat("talk", "cuts")])
    a, b = Recorder(stack.edge_url, tenant.key), Recorder(stack.url("edge-2"), tenant.key)
    await a.open_narrow()
    await channels_and_commands(a)
    await errors(a)
    await tasks(a)
    await b.open_narrow()
    await slow_socket(stack, b, a)
    await a.wait(lambda f: f["op"] == "resume")
    stopping = asyncio.get_running_loop().run_in_executor(None, lambda: stack.kill("edge-1", signal.SIGTERM))
    await a.wait(lambda f: f["op"] == "drain")
    assert await a.wait_close() == 4200
    await stopping
    # A session that goes on elsewhere, and one that does not.
    c = Recorder(stack.url("edge-2"), tenant.key)
    await c.open()
    await c.send(op="connect", id="hello", resume="nonsense")
    assert await c.wait_close() == 4300
    for one in (b,):
        await one.ws.close()
    seen, said = set(), set()
    for one in (a, b, c):
        for frame in one.frames:
            seen.add(frame["op"])
            validate(frame)
            assert frame["op"] in FROM_EDGE, frame
        for frame in one.sent:
            said.add(frame["op"])
            validate(frame)
            assert frame["op"] in FROM_CLIENT, frame
    assert seen == FROM_EDGE, f"never seen: {FROM_EDGE - seen}"
    assert said == FROM_CLIENT, f"never sent: {FROM_CLIENT - said}"
    codes = {f["code"] for one in (a, b, c) for f in one.frames if f["op"] == "error"}
    assert {"expired", "conflict", "unknown_type"} <= codes
