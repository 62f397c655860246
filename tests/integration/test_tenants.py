"""No event crosses tenants (DESIGN 9.6): not by subscription, history, task, cancel, key or name."""
import pytest

import audit
from client import Client, Refused
from conftest import Tenant


async def test_two_tenants_do_not_see_each_other(stack):
    a, b = Tenant(stack), Tenant(stack)
    async with Client(stack.edge_url, a.key) as ca, Client(stack.url("edge-2"), b.key) as cb:
        assert (ca.connected["tenant"], cb.connected["tenant"]) == (a.id, b.id)
        for c in (ca, cb):
            await c.subscribe("room.1")
        one = await ca.publish("room.1", {"from": "a"}, key="same-key")
        two = await cb.publish("room.1", {"from": "b"}, key="same-key")
        assert one["event_id"] != two["event_id"] and not two["duplicate"]
        task = (await ca.task("noop", {"secret": 1}, "same-key"))["task"]
        await ca.wait_end(task)

        # B asks for A's task in every way there is.
        await cb.subscribe(f"task.{task}", {"epoch": "", "offset": 0})
        with pytest.raises(Refused) as refused:
            await cb.call(op="cancel", task=task)
        assert refused.value.code == "not_found"

        # Fences: what would have come is behind what does come.
        await ca.publish("room.1", {"fence": "a"})
        await cb.publish("room.1", {"fence": "b"})
        await ca.wait(lambda f: f["op"] == "event" and f["data"] == {"fence": "a"})
        await cb.wait(lambda f: f["op"] == "event" and f["data"] == {"fence": "b"})
        assert [f["data"] for f in ca.events("room.1")] == [{"from": "a"}, {"fence": "a"}]
        assert [f["data"] for f in cb.events("room.1")] == [{"from": "b"}, {"fence": "b"}]
        assert cb.events(f"task.{task}") == []

    audit.wait_task(stack, a.id, task)
    assert b.http("GET", f"/v1/tasks/{task}")[0] == 404
    assert b.http("DELETE", f"/v1/tasks/{task}")[0] == 404
    assert a.http("GET", f"/v1/tasks/{task}")[0] == 200
    _, _, page = b.http("GET", f"/v1/channels/task.{task}/events?after=0&limit=100")
    assert page["events"] == []
    _, _, page = b.http("GET", "/v1/channels/room.1/events?after=0&limit=100")
    assert [e["data"] for e in page["events"]] == [{"from": "b"}, {"fence": "b"}]
    assert audit.rows(stack, "SELECT DISTINCT tenant FROM events WHERE channel = %s", f"task.{task}") == [(a.id,)]


async def test_scopes_of_a_key(stack, tenant):
    reader = stack.control().key(tenant.id, scopes=["subscribe"])

    from stack import http, wait_for
    wait_for("the reader's key", lambda: http(
        "GET", stack.edge_url + "/v1/channels/warm/events?after=0&limit=1", token=reader)[0] == 200)
    async with Client(stack.edge_url, reader) as c:
        await c.subscribe("room.1")
        for ask in (c.publish("room.1", {}), c.task("noop", {}, "k")):
            with pytest.raises(Refused) as refused:
                await ask
            assert refused.value.code == "forbidden"


async def test_a_suspended_tenant_is_out(stack):
    t = Tenant(stack)
    async with Client(stack.edge_url, t.key) as c:
        stack.control().call("POST", f"/tenants/{t.id}:suspend", {}, headers=etag(stack, f"/tenants/{t.id}"))
        assert await c.wait_close() == 4003


async def test_a_revoked_key_is_out(stack, tenant):
    key = tenant.key.split("_")[1]
    async with Client(stack.edge_url, tenant.key) as c:
        path = f"/tenants/{tenant.id}/keys/{key}"
        stack.control().call("DELETE", path, headers=etag(stack, path))
        assert await c.wait_close() == 4001


def etag(stack, path):
    tag = stack.control().call("GET", path)[1].get("ETag")
    return {"If-Match": tag, "X-Audit-Reason": "test"} if tag else {"X-Audit-Reason": "test"}
