"""Operators' replays: events of the log that are delivered again, marked, with their own ids, at a rate."""
import json
import time

import audit
from client import Client
from stack import http, wait_for


def control(stack, method, path, body=None):
    return http(method, stack.control_url + "/v1" + path, body, stack.admin_key)


def get(stack, id):
    return control(stack, "GET", f"/replays/{id}")[2]


def wait_done(stack, id):
    wait_for("the replay's end", lambda: get(stack, id)["state"] == "done", 60, 0.1)
    return get(stack, id)


async def publish(stack, c, tenant, n):
    acked = [await c.publish("room.1", {"n": i}) for i in range(n)]
    audit.wait_stored(stack, tenant.id, [a["event_id"] for a in acked])
    return acked


async def test_replay_to_another_channel(stack, tenant):
    """In order, each with the id, type, data and time that it has in the log; the log itself stays as it is."""
    async with Client(stack.edge_url, tenant.key) as c:
        acked = await publish(stack, c, tenant, 20)
        await c.subscribe("again")
        status, head, doc = control(stack, "POST", "/replays", {
            "tenant": tenant.id, "channel": "room.1", "target": "again", "after": acked[4]["offset"],
            "until": acked[14]["offset"], "per_s": 20})
        assert status == 201 and head["Location"] == f"/v1/replays/{doc['id']}", doc
        began = time.time()
        await c.wait(lambda f: f["op"] == "event" and f["channel"] == "again" and f["event_id"] == acked[14]["event_id"])
        assert time.time() - began > 0.2, "faster than its rate"
        seen = [f for f in c.frames if f["op"] == "event" and f["channel"] == "again"]
        assert [f["event_id"] for f in seen] == [a["event_id"] for a in acked[5:15]]
        assert [f["data"]["n"] for f in seen] == list(range(5, 15))
        assert {f["replay"] for f in seen} == {doc["id"]} and all("offset" not in f for f in seen)
        end = wait_done(stack, doc["id"])
        assert (end["sent"], end["refused"], end["position"]) == (10, 0, acked[14]["offset"])
    assert audit.rows(stack, "SELECT count(*) FROM events WHERE tenant = %s AND channel = 'again'", tenant.id) == [(0,)]
    stored = audit.channel_rows(stack, tenant.id, "room.1")
    assert len(stored) == 20


async def test_replay_to_its_own_channel_paused_and_cancelled(stack, tenant):
    async with Client(stack.edge_url, tenant.key) as c:
        await publish(stack, c, tenant, 30)
        await c.subscribe("room.1")
        doc = control(stack, "POST", "/replays", {"tenant": tenant.id, "channel": "room.1", "per_s": 5})[2]
        await c.wait(lambda f: f["op"] == "event" and f.get("replay") == doc["id"] and f["data"]["n"] == 1)
        assert control(stack, "POST", f"/replays/{doc['id']}:pause")[2]["state"] == "paused"
        time.sleep(0.5)  # a round that had begun
        at = get(stack, doc["id"])["sent"]
        time.sleep(1)  # in which five would be sent
        assert get(stack, doc["id"])["sent"] == at < 30
        assert control(stack, "POST", f"/replays/{doc['id']}:resume")[2]["state"] == "running"
        wait_for("more", lambda: get(stack, doc["id"])["sent"] > at)
        assert control(stack, "POST", f"/replays/{doc['id']}:cancel")[2]["state"] == "cancelled"
        assert control(stack, "POST", f"/replays/{doc['id']}:resume")[2]["state"] == "cancelled"
        # The channel goes on as ever.
        new = await c.publish("room.1", {"n": "new"})
        live = await c.wait(lambda f: f["op"] == "event" and f["event_id"] == new["event_id"])
        assert live["offset"] == new["offset"] and "replay" not in live
    assert doc["id"] in {d["id"] for d in control(stack, "GET", "/replays?page_size=1000")[2]["items"]}


async def test_replay_counts_against_limits(stack, tenant):
    async with Client(stack.edge_url, tenant.key) as c:
        acked = await publish(stack, c, tenant, 30)
        stack.control().put(f"/tenants/{tenant.id}/limits", {"events_per_s": 5, "burst": 5})
        time.sleep(0.5)  # routers learn of it by watch, and nothing shows that they have
        began = time.time()
        doc = control(stack, "POST", "/replays", {"tenant": tenant.id, "channel": "room.1", "target": "x", "per_s": 1000})[2]
        assert wait_done(stack, doc["id"])["sent"] == len(acked)
        assert time.time() - began > (30 - 5) / 5 - 1


def tasks_of(stack, tenant, replay):
    """{event id: (task, input)} of the tasks that a replay has started, which have all been completed."""
    want = get(stack, replay)["sent"]
    wait_for("its tasks", lambda: audit.rows(
        stack, "SELECT count(*) FROM tasks WHERE tenant = %s AND state = 'completed'", tenant.id)[0][0] >= want, 60)
    rows = audit.rows(stack, "SELECT data FROM events WHERE tenant = %s AND type = 'task.accepted' AND key LIKE %s",
                      tenant.id, f"replay.{replay}.%")
    accepted = [json.loads(r[0]) for r in rows]
    tasks = {a["input"]["event"]["id"]: (a["task"], a["input"]) for a in accepted}
    assert len(tasks) == len(accepted), "an event has started two tasks"
    return tasks


async def test_replay_to_a_pipeline(stack, tenant, penstock):
    """One task an event, through admission: what the tenant's limit refuses for now is asked for again. By the
    operators' command."""
    async with Client(stack.edge_url, tenant.key) as c:
        acked = await publish(stack, c, tenant, 20)
    stack.control().put(f"/tenants/{tenant.id}/limits", {"events_per_s": 10, "burst": 5})
    doc = penstock("-o", "json", "replay", "put", tenant.id, "room.1", "--pipeline", "noop", "--after",
                   str(acked[4]["offset"]), "--until", str(acked[14]["offset"]), "--rate", "1000")
    end = wait_done(stack, doc["id"])
    assert (end["pipeline"], end["sent"], end["refused"], end["reason"]) == ("noop", 10, 0, None)
    tasks = tasks_of(stack, tenant, doc["id"])
    assert set(tasks) == {a["event_id"] for a in acked[5:15]}
    log = {id: (seq, type, data) for seq, id, type, data in audit.channel_rows(stack, tenant.id, "room.1")}
    for id, (_, input) in tasks.items():
        assert input["replay"] == doc["id"] and (input["event"]["channel"], input["event"]["version"]) == ("room.1", 1)
        assert (input["event"]["offset"], input["event"]["type"], input["event"]["data"]) == log[id]
    assert penstock("-o", "json", "replay", "show", doc["id"]) == end
    assert "noop" in penstock("replay", "list", parse=False).stdout
    assert penstock("-o", "json", "replay", "cancel", doc["id"])["state"] == "done"


async def test_replay_to_a_pipeline_that_goes_away(stack, tenant):
    """What is refused for good is counted, with the reason, and the replay comes to its end."""
    pipeline = f"gone-{tenant.id}"
    stack.control().pipeline(pipeline, [{"id": "a", "kind": "transform", "input": ".input"}])
    async with Client(stack.edge_url, tenant.key) as c:
        await publish(stack, c, tenant, 5)
    doc = control(stack, "POST", "/replays", {"tenant": tenant.id, "channel": "room.1", "pipeline": pipeline, "per_s": 1})[2]
    assert control(stack, "POST", f"/replays/{doc['id']}:pause")[2]["state"] == "paused"
    before = get(stack, doc["id"])["sent"]
    etag = control(stack, "GET", f"/pipelines/{pipeline}/versions/1")[1]["ETag"]
    assert http("DELETE", stack.control_url + f"/v1/pipelines/{pipeline}/versions/1", None, stack.admin_key,
                headers={"If-Match": etag})[0] == 204
    audit.execute(stack, "UPDATE replays SET per_s = 1000, state = 'running' WHERE id = %s::uuid", doc["id"])
    end = wait_done(stack, doc["id"])
    assert end["sent"] + end["refused"] == 5 and end["sent"] <= before + 1 and end["reason"] == "not_found", end


def test_what_cannot_be_replayed(stack, tenant):
    good = {"tenant": tenant.id, "channel": "room.1"}
    for bad in ({"tenant": ""}, {"channel": "a b"}, {"target": "task.x"}, {"per_s": 0}, {"after": -1}, {"nonsense": 1},
                {"target": "x", "pipeline": "noop"}, {"hook": "h", "pipeline": "noop"}):
        assert control(stack, "POST", "/replays", {**good, **bad})[0] == 422, bad
    assert control(stack, "POST", "/replays", {**good, "pipeline": "nobodys"})[0] == 404
    assert control(stack, "POST", "/replays")[0] == 400
    assert control(stack, "GET", "/replays/x")[0] == 404
    assert control(stack, "POST", "/replays/00000000-0000-4000-8000-000000000000:cancel")[0] == 404
    doc = control(stack, "POST", "/replays", {"tenant": tenant.id, "channel": "nothing-there"})[2]
    assert wait_done(stack, doc["id"])["sent"] == 0
