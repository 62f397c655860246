"""Delayed tasks: accepted at once, begun at their time, by way of PostgreSQL."""
import datetime
import time

import audit
from client import Client
from conftest import Tenant
from stack import http, wait_for


def later(seconds):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return at, at.isoformat()


def submit(tenant, key, **more):
    return tenant.http("POST", "/v1/tasks", {"pipeline": "noop", "key": key, "input": 1, **more})


def state(tenant, task):
    return tenant.http("GET", f"/v1/tasks/{task}")[2]


async def test_begins_at_its_time(stack, tenant):
    at, text = later(3)
    code, _, answer = submit(tenant, "k", not_before=text, deadline_ms=60000)
    assert code == 202 and not answer["duplicate"]
    task = answer["task"]
    wait_for("its row", lambda: state(tenant, task).get("state") == "parked" or time.time() > at.timestamp())
    doc = state(tenant, task)
    if time.time() < at.timestamp():
        assert doc["started_at"] is None and abs(doc["not_before"] - at.timestamp() * 1000) <= 1
    # The same again, by another door; under its key there is one task, at one time.
    async with Client(stack.edge_url, tenant.key) as c:
        again = await c.task("noop", 1, "k", not_before=text, deadline_ms=60000)
        assert again["duplicate"] and again["task"] == task
        end = await c.wait_end(task)
        assert end["type"] == "task.completed", end
    assert submit(tenant, "k", not_before=later(60)[1])[2]["code"] == "conflict"
    # Its time is over, and yet a repeat is no second task.
    assert submit(tenant, "k", not_before=text)[2]["task"] == task
    audit.wait_task(stack, tenant.id, task)
    events = audit.transitions(stack, tenant.id, task)
    types = [t for t, _ in events]
    assert types.count("task.accepted") == types.count("task.started") == types.count("task.completed") == 1, types
    assert events[0][1]["deadline_at"] == events[0][1]["not_before"] + 60000
    started = audit.rows(stack, "SELECT extract(epoch FROM time)::float8 FROM events WHERE tenant = %s AND channel = %s AND "
                         "type = 'task.started'", tenant.id, f"task.{task}")[0][0]
    assert started >= at.timestamp()


def test_cancelled_before_its_time(stack, tenant):
    task = submit(tenant, "k", not_before=later(3600)[1])[2]["task"]
    wait_for("its row", lambda: state(tenant, task).get("state") == "parked")
    assert tenant.http("DELETE", f"/v1/tasks/{task}")[0] in (200, 202)
    wait_for("its end", lambda: state(tenant, task)["state"] == "cancelled")
    assert "not_before" not in state(tenant, task)
    assert audit.wait_task(stack, tenant.id, task)[0] == "cancelled"
    assert audit.rows(stack, "SELECT release_at FROM tasks WHERE task = %s", task) == [(None,)]


def test_times_that_are_none(stack, tenant):
    for bad in ("tomorrow", 7, later(31 * 86400)[1]):
        code, _, problem = submit(tenant, "bad", not_before=bad)
        assert code == 400 and problem["code"] == "bad_request", problem
    past = submit(tenant, "past", not_before="2020-01-01T00:00:00Z")[2]["task"]
    audit.wait_task(stack, tenant.id, past)
    assert "not_before" not in audit.transitions(stack, tenant.id, past)[0][1]


def test_trimmed_meanwhile(private):
    """A task that rests keeps nothing in the stream: it goes on from what PostgreSQL has."""
    stack = private(edges=1, routers=1, workers=1, stores=1,
                    env={"store": {"PENSTOCK_STORE_KEEP_MS": 1, "PENSTOCK_STORE_TRIM_MS": 6000}})
    tenant = Tenant(stack)
    code, _, answer = submit(tenant, "k", not_before=later(25)[1])
    assert code == 202, answer

    def first():
        text = http("GET", stack.url("admin-store-1") + "/metrics")[2]
        return max(float(line.split()[-1]) for line in text.splitlines() if line.startswith("penstock_store_stream_first_seq"))
    wait_for("the stream without its event", lambda: first() > answer["offset"], 24)
    assert state(tenant, answer["task"])["started_at"] is None
    audit.wait_task(stack, tenant.id, answer["task"])
    assert [t for t, _ in audit.transitions(stack, tenant.id, answer["task"])][-1] == "task.completed"
