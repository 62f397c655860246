"""The clients' HTTP doors as HTTP: methods, types, problems, quotas, keys in a header (RFC 9110, RFC 9457, and the
drafts of RateLimit and Idempotency-Key)."""
import http.client
import json
import re
import socket
import urllib.parse

import pytest

from conftest import Tenant
from stack import http as ask
from stack import wait_for

EVENT = {"channel": "room.1", "type": "chat.message", "data": {"n": 1}}
TASK = {"pipeline": "noop", "input": {"n": 1}}


def raw(url, method, path, body=None, headers=None):
    """Through a connection that shows whatever comes: (status, headers, body)."""
    c = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=10)
    try:
        c.request(method, path, body, headers or {})
        answer = c.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        c.close()


def bearer(tenant, **more):
    return {"Authorization": f"Bearer {tenant.key}", **{k.replace("_", "-"): v for k, v in more.items()}}


# --- methods, types, problems ---------------------------------------------------------------

@pytest.mark.parametrize("path, methods", [
    ("/v1/events", "POST"), ("/v1/tasks", "POST"), ("/v1/channels/room.1/events", "GET, HEAD"), ("/v1/locate", "GET, HEAD"),
    ("/v1/tasks/0197a000-0000-7000-8000-000000000000", "GET, HEAD, DELETE"), ("/v1/ws", "GET, HEAD")])
def test_methods(stack, tenant, path, methods):
    for method in ("PUT", "PATCH", "BREW"):
        status, head, body = raw(stack.edge_url, method, path, b"", bearer(tenant))
        assert status == 405 and head["Allow"] == methods, (method, status, head["Allow"])
        assert json.loads(body)["code"] == "method_not_allowed"
    status, head, body = raw(stack.edge_url, "OPTIONS", path)
    assert status == 204 and head["Allow"] == methods and body == b""
    assert raw(stack.edge_url, "OPTIONS", "/v1/nothing")[0] == 404


def test_head_is_get_without_a_body(stack, tenant):
    for path in ("/v1/locate", "/v1/channels/room.1/events?after=0", "/v1/tasks/0197a000-0000-7000-8000-000000000000"):
        status, head, body = raw(stack.edge_url, "GET", path, None, bearer(tenant))
        again, same, nothing = raw(stack.edge_url, "HEAD", path, None, bearer(tenant))
        assert again == status and nothing == b"" and body, path
        for name in ("Content-Type", "Content-Length"):
            assert same[name] == head[name], (path, name)
    handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                 "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    assert raw(stack.edge_url, "HEAD", "/v1/ws", None, bearer(tenant, **handshake))[0] == 426
    assert raw(stack.edge_url, "HEAD", "/v1/events", None, bearer(tenant))[0] == 405


def test_content_types(stack, tenant):
    body = json.dumps(EVENT).encode()
    for good in ("application/json", "Application/JSON; charset=utf-8", None):
        headers = bearer(tenant, **({"Content_Type": good} if good else {}))
        assert raw(stack.edge_url, "POST", "/v1/events", body, headers)[0] == 202, good
    for bad in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", "application/problem+json"):
        status, head, doc = raw(stack.edge_url, "POST", "/v1/events", body, bearer(tenant, Content_Type=bad))
        assert status == 415 and json.loads(doc)["code"] == "unsupported_media_type", bad
        assert head["Accept"] == "application/json"
    for path in ("/v1/events", "/v1/tasks"):
        assert raw(stack.edge_url, "POST", path, b"\x1f\x8b\x08", bearer(
            tenant, Content_Type="application/json", Content_Encoding="gzip"))[0] == 415
    # A body where none belongs is passed over.
    assert raw(stack.edge_url, "GET", "/v1/channels/room.1/events", b"<x/>", bearer(tenant, Content_Type="text/xml"))[0] == 200


def test_too_large_is_said_before_it_comes(stack, tenant):
    """By the length alone; and where there is none, as soon as it is too much."""
    parts = urllib.parse.urlsplit(stack.edge_url)
    for how, body in (("Content-Length: 2000000", b""), ("Transfer-Encoding: chunked", b"50000\r\n" + b"x" * 0x50000 + b"\r\n0\r\n\r\n")):
        with socket.create_connection((parts.hostname, parts.port), 10) as s:
            s.sendall(f"POST /v1/events HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {tenant.key}\r\n"
                      f"{how}\r\n\r\n".encode() + body)
            answer = http.client.HTTPResponse(s)
            answer.begin()
            assert answer.status == 413 and json.loads(answer.read())["code"] == "too_large", how


@pytest.mark.parametrize("method, path, body, code", [
    ("POST", "/v1/events", {}, "bad_request"), ("GET", "/v1/nothing", None, "not_found"),
    ("POST", "/v1/events", {**EVENT, "type": "never.declared"}, "unknown_type"),
    ("GET", "/v1/events", None, "method_not_allowed")])
def test_problems(stack, tenant, method, path, body, code):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    status, head, doc = tenant.http(method, path, body, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    assert head["Content-Type"] == "application/problem+json" and head["Cache-Control"] == "no-store"
    assert doc["type"] == f"urn:penstock:problem:{code}" and doc["code"] == code and doc["status"] == status
    assert doc["title"] and doc["detail"] and doc["trace_id"] == trace
    assert re.fullmatch(rf"00-{trace}-[0-9a-f]{{16}}-01", head["traceparent"])
    assert "00f067aa0ba902b7" not in head["traceparent"], "a span of our own"


def test_both_planes_name_a_problem_alike(stack, tenant):
    edge = tenant.http("GET", "/v1/nothing")[2]
    control = ask("GET", stack.control_url + "/v1/nothing", None, stack.admin_key)[2]
    assert edge["type"] == control["type"] == "urn:penstock:problem:not_found"


# --- RateLimit ------------------------------------------------------------------------------

def quota(head):
    policy = re.fullmatch(r'"tenant";q=(\d+);w=(\d+)', head["RateLimit-Policy"])
    limit = re.fullmatch(r'"tenant";r=(\d+);t=(\d+)', head["RateLimit"])
    assert policy and limit, (head["RateLimit-Policy"], head["RateLimit"])
    return tuple(int(n) for n in policy.groups() + limit.groups())


def test_quota(stack):
    t = Tenant(stack, {"events_per_s": 1, "burst": 20})
    # The warm-up has taken some; the rest is counted down to nothing.
    left = []
    for i in range(30):
        status, head, doc = t.http("POST", "/v1/events", {**EVENT, "data": i})
        q, w, r, reset = quota(head)
        assert (q, w) == (20, 20) and 0 <= r < 20 and 0 < reset <= 20
        left.append(r)
        if status == 429:
            break
        assert status == 202
    assert status == 429 and left[-1] == 0 and left == sorted(left, reverse=True) and left[0] > 0
    assert doc["code"] == "rate_limited" and doc["limit"] == "tenant.events_per_s" and doc["retry_after_ms"] > 0
    assert int(head["Retry-After"]) == -(-doc["retry_after_ms"] // 1000)
    # A task counts against the same limit, and says so.
    status, head, _ = t.http("POST", "/v1/tasks", {**TASK, "key": "k"})
    assert status in (202, 429) and quota(head)[:2] == (20, 20)


def test_a_limit_that_is_not_enforced_is_not_shown(stack):
    t = Tenant(stack, {"events_per_s": 5, "burst": 5, "mode": "shadow"})
    wait_for("the limits at the router", lambda: t.http("POST", "/v1/events", EVENT)[1]["RateLimit"] is None)
    for i in range(20):
        status, head, _ = t.http("POST", "/v1/events", EVENT)
        assert status == 202 and head["RateLimit"] is None and head["RateLimit-Policy"] is None


# --- Idempotency-Key ------------------------------------------------------------------------

def test_key_header(tenant):
    first = tenant.http("POST", "/v1/events", EVENT, headers={"Idempotency-Key": '"word one"'})
    assert first[0] == 202 and not first[2]["duplicate"]
    for key in ('"word one"', '"word one";v=1', "word one"):
        status, _, again = tenant.http("POST", "/v1/events", EVENT, headers={"Idempotency-Key": key})
        assert status == 202 and again == {**first[2], "duplicate": True}, key
    status, _, again = tenant.http("POST", "/v1/events", {**EVENT, "key": "word one"})
    assert status == 202 and again["event_id"] == first[2]["event_id"] and again["duplicate"]
    status, _, problem = tenant.http("POST", "/v1/events", {**EVENT, "data": 2}, headers={"Idempotency-Key": '"word one"'})
    assert status == 422 and problem["code"] == "conflict" and not problem["temporary"]


@pytest.mark.parametrize("key", ['"abc', '"abc"d', '""', '"a", "b"', "ä", "x" * 257])
def test_bad_key_header(tenant, key):
    for path, body in (("/v1/events", EVENT), ("/v1/tasks", TASK)):
        status, _, problem = tenant.http("POST", path, body, headers={"Idempotency-Key": key})
        assert status == 400 and "Idempotency-Key" in problem["detail"]


def test_task_by_key_header(stack, tenant):
    status, _, problem = tenant.http("POST", "/v1/tasks", TASK)
    assert status == 400 and "key" in problem["detail"]
    status, _, first = tenant.http("POST", "/v1/tasks", TASK, headers={"Idempotency-Key": '"t"'})
    assert status == 202 and not first["duplicate"]
    status, _, again = tenant.http("POST", "/v1/tasks", {**TASK, "key": "t"}, headers={"Idempotency-Key": "t"}, edge="edge-2")
    assert status == 202 and again == {**first, "duplicate": True}
    assert tenant.http("POST", "/v1/tasks", {**TASK, "key": "u"}, headers={"Idempotency-Key": '"t"'})[0] == 400
    assert tenant.http("POST", "/v1/tasks", {**TASK, "input": 2}, headers={"Idempotency-Key": '"t"'})[0] == 422
    task = first["task"]
    assert wait_for("the task", lambda: tenant.http("GET", f"/v1/tasks/{task}")[2].get("state") == "completed")
    status, _, cancelled = tenant.http("DELETE", f"/v1/tasks/{task}")
    assert status == 202 and cancelled["task"] == task and cancelled["duplicate"], "it had ended before"
