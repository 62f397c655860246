"""Inbound hooks: who signs well starts a task, once for each webhook-id; nobody else starts anything."""
import base64
import hashlib
import hmac
import json
import time

import pytest

from client import Client
from conftest import Tenant
from stack import http, wait_for


def signature(secret, id, timestamp, body):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(mac).decode()


def call(stack, hook, secret, id, body, at=None, edge="edge-1", **headers):
    """Calls the hook as its sender does; (status, document)."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    at = str(int(time.time() if at is None else at))
    head = {"webhook-id": id, "webhook-timestamp": at, "webhook-signature": signature(secret, id, at, raw)}
    head.update({k.replace("_", "-"): v for k, v in headers.items()})
    status, _, doc = http("POST", f"{stack.url(edge)}/v1/hooks/{hook}", raw, headers={k: v for k, v in head.items() if v})
    return status, doc


@pytest.fixture
def hook(stack):
    t = Tenant(stack)
    status, _, doc = http("POST", f"{stack.control_url}/v1/tenants/{t.id}/hooks", {"pipeline": "noop", "name": "CI"},
                          stack.admin_key)
    assert status == 201, doc
    for edge in ("edge-1", "edge-2"):
        # Signed well, and no JSON: 400 once the edge knows the hook, and no task.
        wait_for("the hook at " + edge, lambda: call(stack, doc["id"], doc["secret"], "warm", b"{", edge=edge)[0] == 400)
    return t, doc["id"], doc["secret"]


async def test_starts_a_task(stack, hook):
    t, id, secret = hook
    status, doc = call(stack, id, secret, "msg_1", {"action": "opened", "n": [1, 2]})
    assert status == 202 and not doc["duplicate"], doc
    # Its sender did not hear of it, and asks another edge: the same task.
    status, again = call(stack, id, secret, "msg_1", {"action": "opened", "n": [1, 2]}, edge="edge-2")
    assert status == 202 and again["duplicate"] and again["task"] == doc["task"]
    status, other = call(stack, id, secret, "msg_1", {"action": "closed"})
    assert status == 422 and other["code"] == "conflict"
    status, fresh = call(stack, id, secret, "msg_2", {"action": "closed"})
    assert status == 202 and fresh["task"] != doc["task"]
    async with Client(stack.edge_url, t.key) as c:
        await c.subscribe(f"task.{doc['task']}", {"epoch": "", "offset": 0})
        end = await c.wait_end(doc["task"])
        assert end["type"] == "task.completed", end
        accepted = c.events(f"task.{doc['task']}", "task.accepted")[0]["data"]
        assert accepted["input"] == {"action": "opened", "n": [1, 2]} and accepted["pipeline"] == "noop"


def test_who_may_not(stack, hook):
    t, id, secret = hook
    other = "whsec_" + base64.b64encode(b"x" * 32).decode()
    refused = [
        call(stack, id, other, "m", {}),
        call(stack, "nobody", secret, "m", {}),
        call(stack, id, secret, "m", {}, at=time.time() - 400),
        call(stack, id, secret, "m", {}, at=time.time() + 400),
        call(stack, id, secret, "m", {}, webhook_signature=None),
        call(stack, id, secret, "m", {}, webhook_id=None),
        call(stack, id, secret, "m", {}, webhook_id="another"),
        call(stack, id, secret, "m", {}, webhook_timestamp="soon"),
        call(stack, id, secret, "m", {}, webhook_signature="v1,AAAA"),
    ]
    assert [(s, d["code"]) for s, d in refused] == [(401, "unauthenticated")] * len(refused), refused
    # An API key is no signature.
    assert http("POST", f"{stack.edge_url}/v1/hooks/{id}", {}, t.key)[0] == 401
    assert call(stack, id, secret, "m", b"\xff")[0] == 400
    assert call(stack, id, secret, "m", b"x" * 65537)[0] == 413
    status, _, tasks = http("GET", f"{stack.control_url}/v1/tasks?tenant={t.id}", token=stack.admin_key)
    assert status == 200 and tasks["items"] == []


def test_ends_with_the_hook(stack, hook):
    t, id, secret = hook
    control = f"{stack.control_url}/v1/tenants/{t.id}"
    assert http("POST", control + ":suspend", token=stack.admin_key)[0] == 200
    wait_for("the suspension", lambda: call(stack, id, secret, "s", {})[0] == 403)
    assert http("POST", control + ":resume", token=stack.admin_key)[0] == 200
    wait_for("the tenant again", lambda: call(stack, id, secret, "s", {})[0] == 202)
    _, head, doc = http("GET", f"{control}/hooks/{id}", token=stack.admin_key)
    assert "secret" not in doc
    assert http("DELETE", f"{control}/hooks/{id}", token=stack.admin_key, headers={"If-Match": head["ETag"]})[0] == 204
    wait_for("its end", lambda: call(stack, id, secret, "t", {})[0] == 401)


def test_rotates_its_secret(stack, hook):
    """Both count while the sender is moved; without a grace only the new one does."""
    t, id, old = hook
    path = f"{stack.control_url}/v1/tenants/{t.id}/hooks/{id}"
    status, _, doc = http("POST", path + ":rotate", {"grace_s": 3600}, stack.admin_key)
    assert status == 200 and doc["secret"] != old, doc
    wait_for("the new one", lambda: call(stack, id, doc["secret"], "n", {})[0] == 202)
    assert call(stack, id, old, "o", {})[0] == 202
    assert http("GET", path + "/status", token=stack.admin_key)[2]["previous_secret_until"]
    last = http("POST", path + ":rotate", {"grace_s": 0}, stack.admin_key)[2]["secret"]
    wait_for("the last one", lambda: call(stack, id, last, "l", {})[0] == 202)
    assert [call(stack, id, s, "x", {})[0] for s in (old, doc["secret"])] == [401, 401]
    assert http("POST", f"{stack.control_url}/v1/tenants/{t.id}/hooks/nobody:rotate", {}, stack.admin_key)[0] == 404


def test_command(stack, penstock):
    t = Tenant(stack)
    made = penstock("-o", "json", "hook", "create", t.id, "noop", "--name", "CI", "--priority", "-1")
    assert made["secret"].startswith("whsec_") and made["pipeline"] == "noop" and made["priority"] == -1
    table = penstock("hook", "list", t.id, parse=False).stdout
    assert made["id"] in table and made["secret"] not in table
    wait_for("the hook", lambda: call(stack, made["id"], made["secret"], "c", {})[0] == 202)
    penstock("hook", "delete", t.id, made["id"], parse=False)
    wait_for("its end", lambda: call(stack, made["id"], made["secret"], "d", {})[0] == 401)
