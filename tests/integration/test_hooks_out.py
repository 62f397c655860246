"""Outgoing webhooks: matching events reach a real HTTP receiver, signed, at least once, whatever breaks."""
import collections

import pytest

import audit
from client import Client, Refused
from receiver import Receiver, control, make, state
from stack import http, wait_for


@pytest.fixture
def receiver():
    r = Receiver()
    yield r
    r.close()


async def publish(stack, t, n, channel="room.1"):
    async with Client(stack.edge_url, t.key) as c:
        return [await c.publish(channel, {"n": i}) for i in range(n)]


async def test_delivers_what_matches(stack, tenant, receiver):
    hook = make(stack, tenant, receiver, types=["chat.*"])
    acked = await publish(stack, tenant, 5)
    await publish(stack, tenant, 2, "other.1")
    wait_for("the deliveries", lambda: len(receiver.of()) >= 5)
    last, = await publish(stack, tenant, 1, "room.2")
    wait_for("one more", lambda: len(receiver.of()) >= 6)
    seen = receiver.of()
    assert {r["id"] for r in seen} == {a["event_id"] for a in acked + [last]}
    assert all(r["signed"] == [0] and r["replay"] is None for r in seen), seen
    first = next(r["body"] for r in seen if r["id"] == acked[0]["event_id"])
    assert first["data"] == {"n": 0} and first["channel"] == "room.1" and first["offset"] == acked[0]["offset"]
    assert first["event_id"] == acked[0]["event_id"] and first["version"] == 1 and first["timestamp"].endswith("Z")
    wait_for("the count", lambda: state(stack, tenant, hook)["delivered"] == 6)
    doc = state(stack, tenant, hook)
    assert doc["enabled"] and doc["queued"] == 0 and doc["dead"] == 0 and doc["last_status"] == 204
    _, _, plain = control(stack, "GET", f"/tenants/{tenant.id}/hooks/{hook}")
    assert "secret" not in plain and plain["url"] == receiver.url + "/"


async def test_tries_again_and_hurts_nobody_else(stack, tenant, receiver):
    """One endpoint hangs and one fails at first; a third one, and another tenant's, get theirs meanwhile."""
    receiver.hold.clear()
    failed = collections.Counter()

    def answer(r):
        if r["path"] != "/flaky":
            return 200, {}
        failed[r["id"]] += 1
        return (503, {}) if failed[r["id"]] < 3 else (200, {})
    receiver.answer = answer
    hang = make(stack, tenant, receiver, "/hang", timeout_ms=60000)
    flaky, well = make(stack, tenant, receiver, "/flaky"), make(stack, tenant, receiver, "/well")
    acked = await publish(stack, tenant, 12)
    wait_for("those that do well", lambda: len({r["id"] for r in receiver.of("/well")}) == 12)
    wait_for("those that fail at first", lambda: state(stack, tenant, flaky)["delivered"] == 12, 60)
    assert {r["id"] for r in receiver.of("/flaky")} == {a["event_id"] for a in acked}
    assert len(receiver.of("/hang")) <= 8, "more at once than a hook may have"
    assert state(stack, tenant, hang)["delivered"] == 0 and state(stack, tenant, well)["delivered"] == 12
    receiver.hold.set()
    wait_for("the slow one", lambda: state(stack, tenant, hang)["delivered"] == 12)


async def test_gives_up_and_goes_on(stack, tenant, receiver):
    """410 disables at once, with an event and an audit row; enabled again it goes on where it stopped."""
    receiver.answer = lambda r: (410, {})
    hook = make(stack, tenant, receiver)
    acked = await publish(stack, tenant, 3)
    wait_for("its end", lambda: not state(stack, tenant, hook)["enabled"])
    assert state(stack, tenant, hook)["reason"] == "gone"
    more = await publish(stack, tenant, 2)
    async with Client(stack.edge_url, tenant.key) as c:
        await c.subscribe("hook." + hook, {"epoch": "", "offset": 0})
        told = await c.wait(lambda f: f["op"] == "event" and f["type"] == "hook.disabled")
    assert told["data"]["hook"] == hook and told["data"]["reason"] == "gone" and told["data"]["last_status"] == 410
    rows = audit.rows(stack, "SELECT action, reason FROM control.audit WHERE tenant = %s AND action LIKE 'hook.%%' ORDER BY id",
                      tenant.id)
    assert rows == [("hook.create", None), ("hook.disable", "gone")]
    receiver.answer = lambda r: (200, {})
    assert control(stack, "POST", f"/tenants/{tenant.id}/hooks/{hook}:enable")[2]["enabled"]
    wait_for("all of it", lambda: state(stack, tenant, hook)["delivered"] == 5)
    assert {r["id"] for r in receiver.of()} == {a["event_id"] for a in acked + more}


async def test_moves_to_another_address(stack, tenant, receiver, penstock):
    """Given up at the old one: what waits goes to the new one, with the secret that it had, and what comes is chosen
    by the new patterns. Its own channel is nobody's to write to."""
    receiver.answer = lambda r: (410 if r["path"] == "/old" else 204, {})
    hook = make(stack, tenant, receiver, "/old", channels=["room.1"])
    acked = await publish(stack, tenant, 1)
    wait_for("its end", lambda: not state(stack, tenant, hook)["enabled"])
    doc = penstock("-o", "json", "hook", "set", tenant.id, hook, "--url", receiver.url + "/new", "--channels", "room.2")
    assert (doc["enabled"], doc["failures"], doc["channels"], doc["url"]) == (False, 0, ["room.2"], receiver.url + "/new")
    stale = control(stack, "PATCH", f"/tenants/{tenant.id}/hooks/{hook}", {"enabled": True})
    assert stale[0] == 428, stale
    etag = control(stack, "GET", f"/tenants/{tenant.id}/hooks/{hook}")[1]["ETag"]
    status, _, doc = http("PATCH", f"{stack.control_url}/v1/tenants/{tenant.id}/hooks/{hook}", {"enabled": True},
                          stack.admin_key, headers={"If-Match": etag})
    assert status == 200 and doc["enabled"] and doc["reason"] == "", doc
    await publish(stack, tenant, 1)
    acked += await publish(stack, tenant, 1, "room.2")
    wait_for("all of it", lambda: len(receiver.of("/new")) >= 2)
    assert {r["id"] for r in receiver.of("/new")} == {a["event_id"] for a in acked}
    assert all(r["signed"] == [0] for r in receiver.of("/new"))
    async with Client(stack.edge_url, tenant.key) as c:
        with pytest.raises(Refused) as refused:
            await c.publish("hook." + hook, {"hook": hook})
        assert refused.value.frame["code"] == "forbidden"
    assert tenant.http("POST", "/v1/events", {"channel": "hook." + hook, "type": "chat.message", "data": {}})[0] == 403


async def test_gives_up_what_fails_for_long(stack, tenant, receiver):
    receiver.answer = lambda r: (500, {})
    hook = make(stack, tenant, receiver, disable_after_s=1, retry={"initial_ms": 10, "max_ms": 50, "max_attempts": 100})
    await publish(stack, tenant, 1)
    wait_for("its end", lambda: not state(stack, tenant, hook)["enabled"])
    doc = state(stack, tenant, hook)
    assert doc["reason"] == "failing" and doc["failures"] >= 5 and doc["last_error"] == "HTTP 500"


async def test_no_private_address(stack, tenant, receiver):
    """Neither one that is written in the URL, which is refused at once, nor a name that means one."""
    path = f"/tenants/{tenant.id}/hooks"
    base = {"direction": "out", "channels": ["*"]}
    for url in (receiver.url, "http://localhost/", "http://[::1]:80/", "http://10.1/x", "http://0x7f000001/", "http://[::ffff:10.0.0.1]/"):
        status, _, doc = control(stack, "POST", path, {**base, "url": url})
        assert status == 422 and "allow_private" in doc["detail"], (url, doc)
    for bad in ({"url": "ftp://x"}, {"url": "http://u:p@x"}, {"channels": []}, {"channels": ["a b"]}, {"direction": "up"}, {"concurrent": 0}):
        assert control(stack, "POST", path, {**base, "url": "http://example.com/", **bad})[0] == 422, bad
    # As if the name had meant something else when the hook was made.
    hook = make(stack, tenant, receiver, disable_after_s=1, retry={"initial_ms": 10, "max_ms": 50})
    audit.rows(stack, "UPDATE control.hooks SET doc = (doc::jsonb || '{\"allow_private\": false}')::json WHERE id = %s RETURNING id", hook)
    await publish(stack, tenant, 1)
    wait_for("its end", lambda: not state(stack, tenant, hook)["enabled"])
    assert state(stack, tenant, hook)["last_error"] == "no public address" and receiver.of() == []


async def test_rotates_its_secret(stack, tenant, receiver):
    hook = make(stack, tenant, receiver)
    path = f"/tenants/{tenant.id}/hooks/{hook}:rotate"
    status, _, doc = control(stack, "POST", path, {"grace_s": 3600})
    assert status == 200 and doc["secret"].startswith("whsec_") and doc["secret"] != receiver.secrets[0]
    receiver.secrets.append(doc["secret"])
    await publish(stack, tenant, 1)
    wait_for("the first", lambda: receiver.of())
    assert receiver.of()[0]["signed"] == [0, 1], "both, while the receiver is moved"
    assert state(stack, tenant, hook)["previous_secret_until"]
    receiver.secrets.append(control(stack, "POST", path, {"grace_s": 0})[2]["secret"])
    await publish(stack, tenant, 1)
    wait_for("the second", lambda: len(receiver.of()) == 2)
    assert receiver.of()[1]["signed"] == [2]
    assert "previous_secret_until" not in state(stack, tenant, hook)


def test_command(stack, tenant, receiver, penstock):
    made = penstock("-o", "json", "hook", "deliver", tenant.id, receiver.url, "room.*,chat", "--types", "a.*", "--allow-private")
    assert made["secret"].startswith("whsec_") and made["channels"] == ["room.*", "chat"] and made["types"] == ["a.*"]
    id = made["id"]
    turned = penstock("-o", "json", "hook", "rotate", tenant.id, id, "--grace", "60")
    assert turned["secret"] not in (None, made["secret"])
    assert penstock("-o", "json", "hook", "disable", tenant.id, id)["enabled"] is False
    assert penstock("-o", "json", "hook", "status", tenant.id, id)["reason"] == "operator"
    assert penstock("-o", "json", "hook", "enable", tenant.id, id)["enabled"] is True
    table = penstock("hook", "list", tenant.id, parse=False).stdout
    assert id in table and receiver.url in table and made["secret"] not in table
    penstock("hook", "delete", tenant.id, id, parse=False)
    assert control(stack, "GET", f"/tenants/{tenant.id}/hooks/{id}/status")[0] == 404


async def test_replay_to_a_hook(stack, tenant, receiver):
    """Also what came before the hook was made; the same ids, marked, at a rate."""
    acked = await publish(stack, tenant, 8)
    audit.wait_stored(stack, tenant.id, [a["event_id"] for a in acked])
    hook = make(stack, tenant, receiver)
    body = {"tenant": tenant.id, "channel": "room.1", "hook": hook, "after": acked[1]["offset"], "per_s": 20}
    assert control(stack, "POST", "/replays", {**body, "hook": "nobody"})[0] == 404
    assert control(stack, "POST", "/replays", {**body, "target": "x"})[0] == 422
    status, _, doc = control(stack, "POST", "/replays", body)
    assert status == 201 and doc["hook"] == hook, doc
    wait_for("its end", lambda: control(stack, "GET", f"/replays/{doc['id']}")[2]["state"] == "done")
    wait_for("the deliveries", lambda: state(stack, tenant, hook)["delivered"] == 6)
    seen = receiver.of()
    assert {r["id"] for r in seen} == {a["event_id"] for a in acked[2:]}
    assert all(r["replay"] == doc["id"] and r["signed"] == [0] for r in seen)
