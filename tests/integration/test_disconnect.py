"""Operators see the sessions and end one, wherever it is."""
import time
import uuid

import audit
from client import Client
from stack import http, wait_for


def disconnect(stack, session, body=None, reason="it misbehaves", query=""):
    headers = {"X-Audit-Reason": reason} if reason else {}
    return http("POST", f"{stack.control_url}/v1/sessions/{session}:disconnect{query}", body, stack.admin_key, headers=headers)


async def test_one_session_and_no_other(stack, tenant, penstock):
    clients = [await Client(stack.url(f"edge-{1 + i % 2}"), tenant.key).__aenter__() for i in range(6)]
    try:
        sessions = [c.connected["session"] for c in clients]
        for i in (2, 3):  # one on each edge
            status, _, doc = disconnect(stack, sessions[i])
            assert status == 200, doc
            assert doc == {"session": sessions[i], "tenant": tenant.id, "edge": clients[i].connected["edge"], "sockets": 1,
                           "close_code": 4004}
            assert await clients[i].wait_close() == 4004
        doc = penstock("-o", "json", "session", "disconnect", sessions[4], "--reason", "to another edge", "--resume")
        assert doc["close_code"] == 4201 and await clients[4].wait_close() == 4201
        async with Client(stack.edge_url, resume=clients[4].resume) as again:
            assert again.connected["session"] == sessions[4]
        assert disconnect(stack, sessions[3])[0] == 404  # it is gone
        for i in (0, 1, 5):
            assert (await clients[i].call(op="ping"))["op"] == "pong"
    finally:
        for c in clients:
            await c.__aexit__()
    rows = audit.rows(stack, "SELECT action, reason FROM control.audit WHERE tenant = %s AND action = 'session.disconnect' ORDER BY id",
                      tenant.id)
    assert rows == [("session.disconnect", r) for r in ("it misbehaves", "it misbehaves", "to another edge")]


async def test_refused(stack, tenant):
    unknown = str(uuid.uuid4())
    start = time.monotonic()
    assert disconnect(stack, unknown)[0] == 404  # as soon as every edge has said so, and not when 2 s are over
    assert time.monotonic() - start < 1.9
    assert disconnect(stack, "x")[0] == 404
    async with Client(stack.edge_url, tenant.key) as c:
        session = c.connected["session"]
        assert disconnect(stack, session, reason=None)[0] == 400
        assert disconnect(stack, session, {"code": 4000})[0] == 422 and disconnect(stack, session, {"resume": 1})[0] == 422
        assert disconnect(stack, session, query="?validate_only=true")[0] == 200
        assert (await c.call(op="ping"))["op"] == "pong"


def sessions(stack, query=""):
    status, _, doc = http("GET", f"{stack.control_url}/v1/sessions{query}", token=stack.admin_key)
    assert status == 200, doc
    assert doc["silent"] == []
    return doc


async def test_who_is_there(stack, tenant, penstock):
    """All edges' sessions in one list, by tenant, page after page, each once."""
    clients = [await Client(stack.url(f"edge-{1 + i % 2}"), tenant.key).__aenter__() for i in range(7)]
    try:
        await clients[3].subscribe("room.1")
        await clients[3].subscribe("room.2")
        # One that moves: its old and its new socket are at two edges.
        moved = await Client(stack.url("edge-2"), resume=clients[0].resume).__aenter__()
        clients.append(moved)
        mine = {c.connected["session"]: c for c in clients}
        doc = sessions(stack, f"?tenant={tenant.id}")
        assert [i["session"] for i in doc["items"]] == sorted(mine) and doc["next_page_token"] is None
        for item in doc["items"]:
            client = mine[item["session"]]
            overlaps = client is moved
            assert item["tenant"] == tenant.id and item["principal"] and item["sockets"] == 1 + overlaps, item
            assert sorted(item["edges"]) == (["edge-1", "edge-2"] if overlaps else [client.connected["edge"]])
            assert item["subscriptions"] == (2 if client is clients[3] else 0)
        got, token = [], ""
        while token is not None:
            doc = sessions(stack, f"?tenant={tenant.id}&page_size=2&page_token={token}")
            assert len(doc["items"]) <= 2
            got, token = got + [i["session"] for i in doc["items"]], doc["next_page_token"]
        assert got == sorted(mine)
        everybody = penstock("-o", "json", "session", "list")
        assert set(mine) <= {i["session"] for i in everybody}
        assert [i["session"] for i in penstock("-o", "json", "session", "list", "--tenant", tenant.id)] == sorted(mine)
        assert clients[5].connected["session"] in penstock("session", "list", parse=False).stdout
    finally:
        for c in clients:
            await c.__aexit__()
    wait_for("nobody", lambda: sessions(stack, f"?tenant={tenant.id}")["items"] == [], 10)
    for query, status in (("?tenant=a.b", 400), ("?page_size=0", 400), ("?page_token=x", 400), ("?state=open", 400)):
        assert http("GET", f"{stack.control_url}/v1/sessions{query}", token=stack.admin_key)[0] == status, query
    assert http("GET", f"{stack.control_url}/v1/sessions")[0] == 401
