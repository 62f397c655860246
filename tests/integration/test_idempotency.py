"""One key, one event or task, whatever has been killed and however long ago it was (DESIGN 4): while the broker knows
the key, while only the router does, and when nobody does any more."""
import time

import pytest

import audit
from conftest import PIPELINES, Tenant, end_stack, make_stack, provision

KINDS = ("edge", "router", "worker", "store", "control")
WINDOW_S = 1.0


def publish(t, key, data, status=202):
    got, _, answer = t.http("POST", "/v1/events", {"channel": "room.1", "type": "chat.message", "data": data},
                            headers={"Idempotency-Key": f'"{key}"'})
    assert got == status, answer
    return answer


def task(t, key, input, status=202):
    got, _, answer = t.http("POST", "/v1/tasks", {"pipeline": "noop", "input": input}, headers={"Idempotency-Key": key})
    assert got == status, answer
    return answer


def restart_routers(stack):
    """All that a router remembers is gone."""
    for i in range(1, stack.counts["router"] + 1):
        stack.kill(f"router-{i}")
        stack.start_one(f"router-{i}")
    stack.wait_ready(*[f"router-{i}" for i in range(1, stack.counts["router"] + 1)])


def retry(ask):
    """A command in flight while its router died may go unanswered: a client repeats it with its key."""
    for _ in range(50):
        try:
            return ask()
        except AssertionError as e:
            if "unavailable" not in str(e):
                raise
            time.sleep(0.1)
    return ask()


def test_after_the_routers_were_killed(private):
    """Within the window: the same event, and a conflict is still a conflict."""
    stack = private(routers=2)
    t = Tenant(stack)
    first, job = publish(t, "k", {"n": 1}), task(t, "j", {"n": 1})
    restart_routers(stack)
    again = retry(lambda: publish(t, "k", {"n": 1}))
    assert again == {**first, "duplicate": True}
    assert publish(t, "k", {"n": 2}, 422)["code"] == "conflict"
    assert retry(lambda: task(t, "j", {"n": 1})) == {**job, "duplicate": True}
    assert task(t, "j", {"n": 2}, 422)["code"] == "conflict"
    # … and when the one that owns the part is another one than before.
    stack.kill("router-1")
    assert retry(lambda: publish(t, "k", {"n": 1})) == {**first, "duplicate": True}
    assert publish(t, "k", {"n": 3}, 422)["code"] == "conflict"
    audit.check_events(stack, t.id, [("room.1", {"n": 1}, first)])
    audit.check_task(stack, t.id, job["task"], [s["id"] for s in PIPELINES["noop"]])


@pytest.fixture(scope="module")
def forgetful():
    """A stack whose broker knows a key for no longer than a second."""
    stack = make_stack(env={kind: {"PENSTOCK_STREAM_DEDUPE_MS": int(WINDOW_S * 1000)} for kind in KINDS})
    try:
        yield provision(stack.start())
    finally:
        end_stack(stack)


def test_the_router_remembers_longer_than_the_broker(forgetful):
    t = Tenant(forgetful)
    first, job = publish(t, "k", {"n": 1}), task(t, "j", {"n": 1})
    time.sleep(2 * WINDOW_S)  # nothing but time ends the window
    assert publish(t, "k", {"n": 1}) == {**first, "duplicate": True}
    assert publish(t, "k", {"n": 2}, 422)["code"] == "conflict"
    assert task(t, "j", {"n": 1}) == {**job, "duplicate": True}
    audit.check_events(forgetful, t.id, [("room.1", {"n": 1}, first)])


def test_when_nobody_remembers(forgetful):
    """A repeat may be another message of the stream, but it is the same event: one row, one item of the history."""
    t = Tenant(forgetful)
    first, job = publish(t, "k", {"n": 1}), task(t, "j", {"n": 1})
    audit.wait_stored(forgetful, t.id, [first["event_id"]])
    time.sleep(2 * WINDOW_S)
    restart_routers(forgetful)
    again = retry(lambda: publish(t, "k", {"n": 1}))
    assert again["event_id"] == first["event_id"] and again["channel"] == first["channel"]
    fence = publish(t, "fence", "fence")
    audit.check_events(forgetful, t.id, [("room.1", {"n": 1}, first), ("room.1", "fence", fence)])
    rows = [r for r in audit.rows(forgetful, "SELECT seq FROM events WHERE tenant = %s AND event_id = %s", t.id,
                                  first["event_id"])]
    assert rows == [(first["offset"],)]
    page = t.http("GET", "/v1/channels/room.1/events?after=0")[2]
    assert [e["data"] for e in page["events"] if e["event_id"] == first["event_id"]].count({"n": 1}) >= 1
    # A task's key is its channel: as long as that is kept, the stream itself refuses a second one.
    assert retry(lambda: task(t, "j", {"n": 1})) == {**job, "duplicate": True}
    assert task(t, "j", {"n": 2}, 422)["code"] == "conflict"
    audit.check_task(forgetful, t.id, job["task"], [s["id"] for s in PIPELINES["noop"]])
