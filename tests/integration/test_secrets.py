"""Tokens, secrets and keys never appear in a log of any process, nor in metrics or audit rows, by whatever door they come."""
import contextlib
import json
import secrets
import urllib.parse

import websockets

from client import Client, Refused
from conftest import Tenant
from sse import Stream
from stack import http
from tokens import Signer

EVENT = {"channel": "room.1", "type": "chat.message", "data": {}}


async def by_every_door(url, token):
    """Good or bad: through each door where a token can be, in each way in which it can be there."""
    quoted = urllib.parse.quote(token)
    for headers, query, connect in (({"Authorization": f"Bearer {token}"}, "", None),
                                    ({}, f"?access_token={quoted}", None),
                                    ({}, "", {"token": token}), ({}, "", {"resume": token}),
                                    ({"Origin": "https://x.test"}, f"?access_token={quoted}", None)):
        c = Client(url)
        with contextlib.suppress(websockets.WebSocketException, ConnectionError):
            await c.open(headers, query)
            if connect:
                await c.send(op="connect", **connect)
            frame = await c.wait(lambda f: f["op"] in ("connected", "error"))
            if frame["op"] == "connected":
                with contextlib.suppress(Refused):
                    await c.publish("room.1", {})
                with contextlib.suppress(Refused):
                    await c.task("noop", 1, secrets.token_hex(4))
                with contextlib.suppress(Refused):
                    await c.subscribe("room.1")
                await c.send(op="connect", token=token)  # a second time
                await c.call(op="ping")
        await c.ws.close()
    with Stream(url, "/v1/channels/room.1/stream?access_token=" + quoted) as s:
        assert s.wait("subscribed") if s.status == 200 else s.problem()
    task = "0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
    for method, path, body in (("POST", "/v1/events", EVENT), ("POST", "/v1/events", {"nonsense": token}),
                               ("POST", "/v1/tasks", {"pipeline": "noop", "key": secrets.token_hex(4), "input": 1}),
                               ("GET", f"/v1/tasks/{task}", None), ("DELETE", f"/v1/tasks/{task}", None),
                               ("GET", "/v1/channels/room.1/events", None), ("GET", "/v1/locate", None),
                               ("GET", "/v1/nowhere", None), ("OPTIONS", "/v1/events", None),
                               ("GET", "/v1/ws", None), ("PUT", "/v1/events", EVENT)):
        http(method, url + path, body, token)
        http(method, f"{url}{path}?access_token={quoted}", body)
        http(method, url + path, body, headers={"Authorization": token})


async def test_no_log_has_a_secret(stack):
    tenant = Tenant(stack)
    hs, es = Signer(stack, tenant.id), Signer(stack, tenant.id, "ES256")
    short = Tenant(stack, limits={"connections": 0})
    made = stack.control().call("POST", f"/tenants/{tenant.id}/signing-keys", {"alg": "HS256"})[2]
    tokens = {
        "an API key": tenant.key, "one without room": short.key,
        "HS256": hs.token(), "ES256": es.token(), "few rights": hs.token(channels={}),
        "a bad secret": tenant.key[:-4] + "zzzz", "a bad signature": hs.token()[:-6] + "zzzzzz",
        "an expired one": hs.token(ttl=-5), "nonsense": "nonsense-" + secrets.token_hex(12),
        "too long": "long-" + secrets.token_hex(2100), "an admin key": stack.admin_key,
    }
    async with Client(stack.edge_url, hs.token()) as c:
        tokens["a resume token"] = c.connected["resume"]
    for token in list(tokens.values()):
        for edge in ("edge-1", "edge-2"):
            await by_every_door(stack.url(edge), token)
        for path in ("/tenants", f"/tenants/{tenant.id}/keys", "/nowhere"):
            for url in (stack.control_url + "/v1" + path, stack.control_url + f"/v1{path}?access_token=" +
                        urllib.parse.quote(token)):
                http("GET", url, token=token if "?" not in url else None)
                http("POST", url, {"alg": "HS256", "secret": token}, token)
    hs.revoke()
    tokens.update({"the secret of a signing key": hs.key, "one that was made": made["secret"]})
    # Long enough to be nobody else's words; of a JWT the signature is the secret part.
    parts = {why: {t, t.rsplit(".", 1)[-1], *([t.split("_", 2)[2]] if t.startswith("pk_") else [])}
             for why, t in tokens.items()}
    places = {path.name: path.read_text(errors="replace") for path in (stack.dir / "log").glob("*.log")}
    assert {"edge-1.log", "control-1.log", "router-1.log", "nats.log", "postgres.log"} <= set(places)
    for name in stack.names()[3:]:
        text = http("GET", stack.url(f"admin-{name}") + "/metrics")[2]
        places[f"metrics of {name}"] = text if isinstance(text, str) else str(text)
    places["audit"] = json.dumps(stack.control().call("GET", "/audit?page_size=200")[2])
    places["signing keys"] = json.dumps(stack.control().call("GET", f"/tenants/{tenant.id}/signing-keys")[2])
    for place, text in places.items():
        for why, texts in parts.items():
            for t in texts:
                assert len(t) >= 20 and t[:40] not in text, f"{why} is in {place}"
