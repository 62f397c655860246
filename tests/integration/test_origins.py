"""Pages of which origins may use an edge: WebSocket and HTTP with CORS."""
import pytest

from client import Client
from conftest import Tenant
from sse import Stream
from stack import http, wait_for
from tokens import Signer

GOOD, BAD = "https://app.example.com", "https://evil.example.org"
EVENT = {"channel": "room.1", "type": "chat.message", "data": {}}


@pytest.fixture
def strict(stack):
    return Tenant(stack, origins=[GOOD, "https://*.acme.test"])


async def outcome(stack, origin, how, token):
    """None if it is let in, else the error's code; the close code must fit."""
    headers = {"Origin": origin} if origin else {}
    c = Client(stack.edge_url)
    if how == "header":
        await c.open({**headers, "Authorization": f"Bearer {token}"})
    else:
        await c.open(headers)
        await c.send(op="connect", **{how: token})
    frame = await c.wait(lambda f: f["op"] in ("connected", "error"))
    if frame["op"] == "connected":
        await c.ws.close()
        return None
    assert (await c.wait_close(), frame["scope"]) == (4001, "tenant")
    return frame["code"]


@pytest.mark.parametrize("how", ["header", "token", "resume"])
async def test_sockets(stack, tenant, strict, how):
    for t, cases in ((strict, {GOOD: None, "https://a.b.acme.test": None, None: None, BAD: "forbidden",
                               "null": "forbidden", "https://acme.test": "forbidden", "x" * 5000: "forbidden"}),
                     (tenant, {GOOD: None, BAD: None, None: None, "null": None})):
        for origin, want in cases.items():
            token = t.key
            if how == "resume":
                async with Client(stack.edge_url, t.key) as c:
                    token = c.connected["resume"]
            assert await outcome(stack, origin, how, token) == want, origin


async def test_tokens_too(stack, strict):
    token = Signer(stack, strict.id).token()
    assert await outcome(stack, GOOD, "header", token) is None
    assert await outcome(stack, BAD, "header", token) == "forbidden"


def test_http(stack, tenant, strict):
    def ask(origin, token, method="POST", path="/v1/events", body=EVENT):
        return http(method, stack.edge_url + path, body, token, headers={"Origin": origin} if origin else {})
    for t, origin, want in ((strict, GOOD, 202), (strict, BAD, 403), (strict, None, 202), (tenant, BAD, 202)):
        status, head, doc = ask(origin, t.key)
        assert status == want, (origin, doc)
        assert head["Access-Control-Allow-Origin"] == (origin if want == 202 else None)
        assert head["Vary"] == "Origin"
    for path in ("/v1/channels/room.1/events", "/v1/channels/room.1/events?access_token=" + strict.key):
        token = None if "?" in path else strict.key
        assert ask(GOOD, token, "GET", path, None)[0] == 200
        status, head, problem = ask(BAD, token, "GET", path, None)
        assert (status, problem["code"], head["Access-Control-Allow-Origin"]) == (403, "forbidden", None)
    # What is nobody's says nothing of anybody, and a page must be able to read it.
    status, head, _ = ask(BAD, "pk_no_body")
    assert (status, head["Access-Control-Allow-Origin"]) == (401, BAD)
    assert "Retry-After" in ask(GOOD, strict.key)[1]["Access-Control-Expose-Headers"]


def test_streams(stack, strict):
    """As EventSource does it: the token in the address, no preflight."""
    path = "/v1/channels/room.1/stream?access_token=" + strict.key
    with Stream(stack.edge_url, path, headers={"Origin": GOOD}) as s:
        assert s.status == 200 and s.head["access-control-allow-origin"] in ("*", GOOD)
        s.wait("subscribed")
    with Stream(stack.edge_url, path, headers={"Origin": BAD}) as s:
        assert s.status == 403 and "access-control-allow-origin" not in s.head


def test_preflight(stack):
    for path, methods in (("/v1/events", {"POST"}), ("/v1/tasks", {"POST"}),
                          ("/v1/tasks/0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", {"GET", "HEAD", "DELETE"})):
        status, head, _ = http("OPTIONS", stack.edge_url + path, headers={
            "Origin": GOOD, "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,idempotency-key"})
        assert status == 204 and head["Access-Control-Allow-Origin"] == GOOD
        assert set(head["Access-Control-Allow-Methods"].split(", ")) == methods
        allowed = {h.lower() for h in head["Access-Control-Allow-Headers"].split(", ")}
        assert {"authorization", "content-type", "idempotency-key", "last-event-id", "traceparent"} <= allowed
    assert http("OPTIONS", stack.edge_url + "/v1/nothing", headers={"Origin": GOOD})[0] == 404


def test_a_change_of_the_list(stack, penstock):
    t = Tenant(stack)
    def status():
        return http("POST", stack.edge_url + "/v1/events", EVENT, t.key, headers={"Origin": BAD})[0]
    assert status() == 202
    penstock("tenant", "origins", t.id, GOOD, parse=False)
    wait_for("the new list", lambda: status() == 403)
    penstock("tenant", "origins", t.id, "any", parse=False)
    wait_for("no list", lambda: status() == 202)
