"""Operators end a session, wherever it is."""
import uuid

import audit
from client import Client
from stack import http


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
    assert disconnect(stack, unknown)[0] == 404 and disconnect(stack, "x")[0] == 404
    async with Client(stack.edge_url, tenant.key) as c:
        session = c.connected["session"]
        assert disconnect(stack, session, reason=None)[0] == 400
        assert disconnect(stack, session, {"code": 4000})[0] == 422 and disconnect(stack, session, {"resume": 1})[0] == 422
        assert disconnect(stack, session, query="?validate_only=true")[0] == 200
        assert (await c.call(op="ping"))["op"] == "pong"
