"""Who is let in, with which rights, and for how long: API keys and JSON Web Tokens, by every door (PROTOCOL 2)."""
import asyncio
import base64
import contextlib
import json
import time
import urllib.parse

import jwt
import pytest

from client import Client, Refused
from conftest import Tenant
from sse import Stream
from stack import http, wait_for
from tokens import ALL, Signer, private_key, public_pem

SOON = 5  # s that a revocation may take


def etag(stack, path):
    return {"If-Match": stack.control().call("GET", path)[1]["ETag"]}


@pytest.fixture
def signer(stack, tenant):
    return Signer(stack, tenant.id)


def event(channel="room.1"):
    return {"channel": channel, "type": "chat.message", "data": {}}


async def turned_away(url, token):
    """The same answer at every door: 401, or unauthenticated and close 4001."""
    for how in ("header", "query", "frame"):
        c = Client(url)
        if how == "header":
            await c.open({"Authorization": f"Bearer {token}"})
        elif how == "query":
            await c.open(query="?access_token=" + urllib.parse.quote(token))
        else:
            await c.open()
            await c.send(op="connect", token=token)
        assert await c.wait_close() == 4001, how
        # A frame with a token that is too long is no frame of this protocol.
        want = "bad_request" if how == "frame" and len(token) > 4096 else "unauthenticated"
        assert [f["code"] for f in c.frames] == [want], (how, c.frames)
    for method, path, body in (("POST", "/v1/events", event()), ("GET", "/v1/channels/room.1/events", None),
                               ("POST", "/v1/tasks", {"pipeline": "noop", "key": "k", "input": 1})):
        status, head, problem = http(method, url + path, body, token)
        assert (status, problem["code"]) == (401, "unauthenticated"), (path, problem)
    assert http("GET", url + "/v1/channels/room.1/events?access_token=" + urllib.parse.quote(token))[0] == 401


# --- who is let in --------------------------------------------------------------------------------

@pytest.mark.parametrize("alg", ["HS256", "RS256", "ES256"])
async def test_each_algorithm(stack, tenant, alg):
    signer = Signer(stack, tenant.id, alg)
    async with Client(stack.url("edge-2"), signer.token(sub="auth0|7")) as c:
        assert c.connected["tenant"] == tenant.id
        await c.subscribe("room.1")
        mine = await c.publish("room.1", {"n": 1})
        await c.wait(lambda f: f["op"] == "event" and f["event_id"] == mine["event_id"])
        task = await c.task("noop", 1, "t-" + alg)
        assert (await c.wait_end(task["task"]))["type"] == "task.completed"
    c = await Client(stack.edge_url).open()
    await c.send(op="connect", token=signer.token())
    await c.wait(lambda f: f["op"] == "connected")
    await c.ws.close()
    assert http("POST", stack.edge_url + "/v1/events", event(), signer.token())[0] == 202
    # Who it was is in the log, and cannot be taken for an API key.
    wait_for("its timeline", lambda: f"jwt:{signer.kid}:auth0|7" in json.dumps(stack.control().call(
        "GET", f"/events/{mine['event_id']}/timeline", ok=(200, 404))[2]))


def tampered(token):
    """Somebody else's subject under the signature."""
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["sub"] = "root"
    return ".".join([head, base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("="), signature])


async def test_who_is_turned_away(stack, tenant, signer):
    other = Tenant(stack)
    theirs = Signer(stack, other.id)
    rsa = Signer(stack, tenant.id, "RS256")
    good = signer.token()
    now = time.time()
    confused = b".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in (
        {"alg": "HS256", "kid": rsa.kid}, rsa.claims())).decode()
    import hashlib
    import hmac
    mac = hmac.new(public_pem(private_key("RS256")).encode(), confused.encode(), hashlib.sha256).digest()
    bad = {
        "alg none": jwt.encode(signer.claims(), None, "none", headers={"kid": signer.kid}),
        "no signature": good.rsplit(".", 1)[0] + ".",
        "the public key as a secret": confused + "." + base64.urlsafe_b64encode(mac).decode().rstrip("="),
        "another secret": jwt.encode(signer.claims(), "x" * 43, "HS256", headers={"kid": signer.kid}),
        "HS512": jwt.encode(signer.claims(), signer.key, "HS512", headers={"kid": signer.kid}),
        "tampered": tampered(good),
        "unknown kid": signer.token(headers={"kid": "nobody"}),
        "no kid": jwt.encode(signer.claims(), signer.key, "HS256"),
        "expired": signer.token(exp=now - 1),
        "no exp": signer.token(exp=None),
        "not yet": signer.token(nbf=now + 30),
        "no sub": signer.token(sub=None),
        "a blank in sub": signer.token(sub="a b"),
        "another tenant's key": signer.token(tenant=other.id),
        "another tenant": theirs.token(tenant=tenant.id),
        "no such tenant": signer.token(tenant="nobody"),
        "for somebody else": signer.token(aud="billing"),
        "crit": signer.token(headers={"crit": ["exp"]}),
        "bad patterns": signer.token(channels={"subscribe": ["a..b"]}),
        "too long": signer.token(padding="x" * 3500),
        "four parts": good + ".e30",
    }
    for why, token in bad.items():
        try:
            await turned_away(stack.edge_url, token)
        except AssertionError as e:
            raise AssertionError(f"{why}: {e}") from e
    assert http("POST", stack.edge_url + "/v1/events", event(), good)[0] == 202


# --- what they may touch --------------------------------------------------------------------------

RIGHTS = {"channels": {"subscribe": ["room.*", "*.news"], "publish": ["room.7", "user-1.*"]}, "pipelines": ["no*"]}
MAY = {"subscribe": (["room.7", "room.7.x", "eu.news"], ["room", "hall.1", "a.b.news", "task.x"]),
       "publish": (["room.7", "user-1.a.b"], ["room.8", "user-2.a", "eu.news"]),
       "task": (["noop"], ["quick", "slow"])}


async def refuses(ask):
    with pytest.raises(Refused) as refused:
        await ask
    assert refused.value.code == "forbidden", refused.value.frame
    assert not refused.value.frame["temporary"]


async def check_rights(stack, token):
    async with Client(stack.edge_url, token) as c:
        asks = {"subscribe": c.subscribe, "publish": lambda ch: c.publish(ch, {}),
                "task": lambda p: c.task(p, 1, f"k-{p}")}
        for op, (allowed, others) in MAY.items():
            for name in allowed:
                await asks[op](name)
            for name in others:
                await refuses(asks[op](name))
        # A task of one's own is followed without a pattern for its channel.
        assert [f for f in c.frames if f["op"] == "event" and f["channel"].startswith("task.")] or \
            await c.wait(lambda f: f["op"] == "event" and f["channel"].startswith("task."))
    for op, (allowed, others) in MAY.items():
        for name, want in [(n, (200, 202)) for n in allowed] + [(n, (403,)) for n in others]:
            status, _, doc = {
                "subscribe": lambda: http("GET", f"{stack.edge_url}/v1/channels/{name}/events", token=token),
                "publish": lambda: http("POST", stack.edge_url + "/v1/events", event(name), token),
                "task": lambda: http("POST", stack.edge_url + "/v1/tasks",
                                     {"pipeline": name, "key": f"k-{name}", "input": 1}, token)}[op]()
            assert status in want, (op, name, doc)


async def test_patterns_of_a_token(stack, signer):
    await check_rights(stack, signer.token(**RIGHTS))


async def test_patterns_of_an_api_key(stack, tenant):
    key = stack.control().key(tenant.id, **RIGHTS)
    wait_for("the key at the edge", lambda: http(
        "GET", stack.edge_url + "/v1/channels/room.7/events", token=key)[0] == 200)
    await check_rights(stack, key)


async def test_what_has_no_pattern_has_no_scope(stack, signer):
    async with Client(stack.edge_url, signer.token(channels={}, pipelines=[])) as c:
        assert (await c.call(op="ping"))["op"] == "pong"
        await refuses(c.subscribe("a"))
        await refuses(c.publish("a", {}))
        await refuses(c.task("noop", 1, "k"))
    # Two tokens of one subject stay two.
    async with Client(stack.edge_url, signer.token(channels={"publish": ["a"]})) as one, \
            Client(stack.edge_url, signer.token(channels={"publish": ["b"]})) as two:
        await one.publish("a", {})
        await two.publish("b", {})
        await refuses(one.publish("b", {}))
        await refuses(two.publish("a", {}))


@pytest.mark.parametrize("back_on", ["edge-1", "edge-2"])
async def test_a_resumed_session_has_its_tokens_rights(stack, signer, back_on):
    many = [f"c{i}.*" for i in range(60)]
    token = signer.token(channels={"subscribe": ["room.1", *many], "publish": ["room.1"]}, ttl=600)
    async with Client(stack.url("edge-1"), token) as a:
        await a.subscribe("room.1")
        async with Client(stack.url(back_on), resume=a.connected["resume"]) as b:
            assert b.connected["session"] == a.connected["session"]
            await b.subscribe("room.1")
            await b.subscribe("c59.x")
            await b.publish("room.1", {})
            await refuses(b.subscribe("room.2"))
            await refuses(b.task("noop", 1, "k"))


# --- how long -------------------------------------------------------------------------------------

async def ends(c, code, within):
    assert await c.wait_close(within) == code, c.frames[-1:]
    return [f for f in c.frames if f["op"] == "error"][-1]


async def test_a_token_expires_on_a_live_socket(stack, signer):
    """At the second, though the next ping is far; and its resume token is worth no more."""
    ttl = 4
    token = signer.token(ttl=ttl)
    end = time.time() + ttl
    async with Client(stack.edge_url, token) as c:
        assert c.connected["ping_ms"] >= 10000
        await c.subscribe("room.1")
        assert (await ends(c, 4001, 10))["code"] == "unauthenticated"
        assert -0.1 < time.time() - end < 1
    again = await Client(stack.url("edge-2")).open()
    await again.send(op="connect", resume=c.connected["resume"])
    assert await again.wait_close() == 4001
    assert http("GET", stack.edge_url + "/v1/channels/a/events", token=token)[0] == 401


async def test_an_api_key_expires_on_a_live_socket(stack, tenant):
    end = int(time.time() + 5)
    key = stack.control().key(tenant.id, expires_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end)))
    wait_for("the key at the edge", lambda: http(
        "GET", stack.edge_url + "/v1/channels/room.7/events", token=key)[0] == 200, 2)
    async with Client(stack.edge_url, key) as c:
        assert (await ends(c, 4001, 10))["code"] == "unauthenticated"
        assert -0.1 < time.time() - end < 1


async def test_a_revoked_key_closes_its_sockets(stack, tenant):
    keys = [stack.control().key(tenant.id) for _ in range(2)]
    for edge in ("edge-1", "edge-2"):
        for key in keys:
            wait_for("the key", lambda: http("GET", stack.url(edge) + "/v1/channels/a/events", token=key)[0] == 200)
    async with Client(stack.url("edge-1"), keys[0]) as a, Client(stack.url("edge-2"), keys[0]) as b, \
            Client(stack.url("edge-1"), keys[1]) as stays, contextlib.AsyncExitStack() as more:
        # A reactor lets in by itself whoever comes with a key that was good a moment ago.
        late = [await more.enter_async_context(Client(stack.url("edge-1"), keys[0])) for _ in range(8)]
        path = f"/tenants/{tenant.id}/keys/{keys[0].split('_')[1]}"
        stack.control().call("DELETE", path, headers=etag(stack, path))
        for c in (a, b, *late):
            assert (await ends(c, 4001, SOON))["code"] == "unauthenticated"
        assert (await stays.call(op="ping"))["op"] == "pong"
    await turned_away(stack.edge_url, keys[0])


async def test_a_revoked_signing_key_closes_its_sockets(stack, tenant, signer):
    other = Signer(stack, tenant.id, id=signer.kid + "2")  # its id begins with the other's
    tokens = [signer.token(sub=f"u{i}") for i in range(3)]
    clients = [await Client(stack.url(f"edge-{i % 2 + 1}"), t).__aenter__() for i, t in enumerate(tokens)]
    async with Client(stack.edge_url, other.token()) as stays, Client(stack.edge_url, tenant.key) as key:
        signer.revoke()
        for c in clients:
            assert (await ends(c, 4001, SOON))["code"] == "unauthenticated"
        for c in (stays, key):
            assert (await c.call(op="ping"))["op"] == "pong"
    await turned_away(stack.edge_url, tokens[0])
    again = await Client(stack.edge_url).open()
    await again.send(op="connect", resume=clients[0].connected["resume"])
    assert await again.wait_close() == 4001


async def test_a_suspended_tenant_closes_its_sockets(stack):
    tenant, other = Tenant(stack), Tenant(stack)
    signer = Signer(stack, tenant.id)
    async with Client(stack.url("edge-1"), signer.token()) as a, Client(stack.url("edge-2"), tenant.key) as b, \
            Client(stack.edge_url, other.key) as stays:
        stack.control().call("POST", f"/tenants/{tenant.id}:suspend", {})
        for c in (a, b):
            error = await ends(c, 4003, SOON)
            assert (error["code"], error["scope"]) == ("forbidden", "tenant")
        assert (await stays.call(op="ping"))["op"] == "pong"
    c = await Client(stack.edge_url).open({"Authorization": f"Bearer {signer.token()}"})
    assert await c.wait_close() == 4003
    assert http("POST", stack.edge_url + "/v1/events", event(), signer.token())[0] == 403


def test_streams_end_with_their_tokens(stack, tenant):
    """Server-sent events: patterns at the begin, expiry and revocation at the end."""
    signer = Signer(stack, tenant.id)
    few = {"channels": {"subscribe": ["room.*"]}}
    with Stream(stack.edge_url, "/v1/channels/hall.1/stream", signer.token(**few)) as s:
        assert (s.status, s.problem()["code"]) == (403, "forbidden")
    ttl = 4
    short, end = signer.token(ttl=ttl, **few), time.time() + ttl
    with Stream(stack.edge_url, "/v1/channels/room.1/stream", short) as s, \
            Stream(stack.url("edge-2"), "/v1/channels/room.1/stream", signer.token(**few)) as stays:
        s.wait("subscribed")
        assert s.wait("problem")["code"] == "unauthenticated" and s.next() is None
        assert -0.1 < time.time() - end < 1
        assert s.again().status == 401
        stays.wait("subscribed")
        signer.revoke()
        assert stays.wait("problem")["code"] == "unauthenticated" and stays.next() is None


# --- the operators' command -----------------------------------------------------------------------

async def test_penstock_signing_key_and_token(stack, tenant, penstock):
    made = penstock("-o", "json", "signing-key", "create", tenant.id, "HS256", "--name", "mine")
    secret = made["secret"]
    listed = penstock("signing-key", "list", tenant.id, parse=False).stdout
    assert made["id"] in listed and secret not in listed
    token = penstock("token", tenant.id, made["id"], "me", "--subscribe", "room.*", "--publish", "room.1,room.2",
                     input=secret + "\n", parse=False).stdout.strip()
    assert jwt.decode(token, secret, ["HS256"])["channels"] == {"subscribe": ["room.*"],
                                                                "publish": ["room.1", "room.2"]}
    wait_for("the key at the edge", lambda: http(
        "POST", stack.edge_url + "/v1/events", event("room.2"), token)[0] == 202)
    assert http("POST", stack.edge_url + "/v1/events", event("room.3"), token)[0] == 403
    penstock("signing-key", "revoke", tenant.id, made["id"], parse=False)
    wait_for("its end", lambda: http("POST", stack.edge_url + "/v1/events", event("room.2"), token)[0] == 401)
