"""Triggers: each durable event of a type starts one task, through admission, and a loop of them ends."""
import audit
from conftest import Tenant
from stack import http, wait_for

ECHO = [{"id": "say", "kind": "publish", "input": '{channel: .input.event.channel, type: "chat.message", data: .task.id}'}]


def path(tenant, name):
    return f"/tenants/{tenant.id}/triggers/{name}"


def put(stack, tenant, name, **doc):
    return stack.control().put(path(tenant, name), {"type": "chat.message", "channel": "room.*", "pipeline": "noop", **doc})


def status(stack, tenant, name):
    return http("GET", f"{stack.control_url}/v1{path(tenant, name)}", None, stack.admin_key)[2]["status"]


def publish(tenant, channel, data, kind="chat.message"):
    code, _, answer = tenant.http("POST", "/v1/events", {"channel": channel, "type": kind, "data": data})
    assert code == 202, answer
    return answer


def wait_status(stack, tenant, name, **want):
    wait_for(f"{name}: {want}", lambda: want.items() <= status(stack, tenant, name).items())
    return status(stack, tenant, name)


def started_by(stack, tenant):
    return audit.rows(stack, "SELECT key, principal, data::json->'input', depth FROM events WHERE tenant = %s AND "
                      "type = 'task.accepted' ORDER BY seq", tenant.id)


def test_starts_one_task_an_event(stack, tenant):
    before = publish(tenant, "room.1", "before")["event_id"]
    audit.wait_stored(stack, tenant.id, [before])  # what is not stored yet may count as published after the PUT
    put(stack, tenant, "t", priority=-1)
    answer = publish(tenant, "room.1", {"a": [1]})
    publish(tenant, "hall.1", "elsewhere")
    tenant.http("POST", "/v1/events", {"channel": "room.1", "type": "cursor.move", "data": 0})
    last = wait_status(stack, tenant, "t", started=1)["last"]
    assert last["result"] == "started" and last["event"] == answer["event_id"]
    audit.wait_task(stack, tenant.id, last["task"])
    (key, principal, given, depth), = started_by(stack, tenant)
    assert (key, principal, depth) == (f"trigger.t.{answer['event_id']}", "trigger:t", 1)
    event = given["event"]
    assert {k: event[k] for k in ("id", "channel", "type", "offset", "data")} == {
        "id": answer["event_id"], "channel": "room.1", "type": "chat.message", "offset": answer["offset"], "data": {"a": [1]}}
    # One trace, from the event to its task.
    assert len(audit.rows(stack, "SELECT DISTINCT substr(trace, 4, 32) FROM events WHERE tenant = %s AND (event_id = %s OR "
                          "channel = %s)", tenant.id, answer["event_id"], f"task.{last['task']}")) == 1
    # What comes behind its end starts nothing.
    http("DELETE", f"{stack.control_url}/v1{path(tenant, 't')}", None, stack.admin_key, headers={"If-Match": "*"})
    after = publish(tenant, "room.1", "after")["event_id"]
    audit.wait_stored(stack, tenant.id, [after])
    put(stack, tenant, "next")
    publish(tenant, "room.1", "next")
    wait_status(stack, tenant, "next", started=1, waiting=0)
    assert not any(e in key for key, *_ in started_by(stack, tenant) for e in (before, after))


def test_refused_is_shown(stack, tenant):
    put(stack, tenant, "nowhere", pipeline="there-is-no-such-pipeline")
    put(stack, tenant, "there")
    answer = publish(tenant, "room.1", 1)
    last = wait_status(stack, tenant, "nowhere", refused=1, waiting=0)["last"]
    assert (last["result"], last["code"], last["event"]) == ("refused", "not_found", answer["event_id"])
    wait_status(stack, tenant, "there", started=1, refused=0)


def test_waits_for_admission(stack):
    """A limit is no refusal: what is rate_limited waits."""
    tenant = Tenant(stack, limits={"events_per_s": 4, "burst": 4})
    put(stack, tenant, "a")
    put(stack, tenant, "b")
    wait_for("room for an event", lambda: tenant.http(
        "POST", "/v1/events", {"channel": "room.1", "type": "chat.message", "data": 1})[0] == 202)
    for name in ("a", "b"):
        assert wait_status(stack, tenant, name, started=1)["refused"] == 0
        audit.wait_task(stack, tenant.id, status(stack, tenant, name)["last"]["task"])
    assert len(started_by(stack, tenant)) == 2


def test_a_loop_ends(stack, tenant):
    """What a task publishes, and a task's own transitions, know how many triggers led to them."""
    stack.control().pipeline("trigger-echo", ECHO)
    other = Tenant(stack)
    put(stack, tenant, "published", pipeline="trigger-echo")
    put(stack, other, "own", type="task.completed", channel="task.*")
    publish(tenant, "room.1", "begin")
    assert other.http("POST", "/v1/tasks", {"pipeline": "noop", "key": "k", "input": 1})[0] == 202
    for t, name in ((tenant, "published"), (other, "own")):
        last = wait_status(stack, t, name, started=8, refused=1, waiting=0)["last"]
        assert (last["result"], last["code"]) == ("refused", "loop")
    assert [depth for *_, depth in started_by(stack, tenant)] == list(range(1, 9))
    assert [depth for *_, depth in started_by(stack, other)] == list(range(9))


def test_a_loop_that_leaves_the_plane_ends(stack, tenant):
    """A stage that posts an event at an edge says how many triggers led to it."""
    stack.control().pipeline("trigger-post", [
        {"id": "post", "kind": "http", "input": '{url: "%s/v1/events", headers: {Authorization: "Bearer %s"}, body: {channel: '
         '.input.event.channel, type: "chat.message", data: .task.id}}' % (stack.edge_url, tenant.key)}])
    put(stack, tenant, "posted", pipeline="trigger-post")
    publish(tenant, "room.1", "begin")
    last = wait_status(stack, tenant, "posted", started=8, refused=1, waiting=0)["last"]
    assert (last["result"], last["code"]) == ("refused", "loop")
    assert [depth for *_, depth in started_by(stack, tenant)] == list(range(1, 9))


def test_depth_of_a_request(stack, tenant):
    """A request may say that it is deeper than others, and nothing else."""
    ids = {}
    for text in ("0", "3", "8", "99999999999999999999", "-1", "2x", ""):
        code, _, answer = tenant.http("POST", "/v1/events", {"channel": "room.1", "type": "chat.message", "data": 1},
                                      headers={"penstock-depth": text})
        assert code == 202, (text, answer)
        ids[text] = answer["event_id"]
    audit.wait_stored(stack, tenant.id, list(ids.values()))
    depth = {str(i): d for i, d in audit.rows(stack, "SELECT event_id, depth FROM events WHERE tenant = %s", tenant.id)}
    depths = {text: depth[i] for text, i in ids.items()}
    assert depths.pop("99999999999999999999") >= 8
    assert depths == {"0": 0, "3": 3, "8": 8, "-1": 0, "2x": 0, "": 0}


def test_command(stack, tenant, penstock):
    made = penstock("-o", "json", "trigger", "put", tenant.id, "n", "chat.message", "noop", "--channel", "room.*", "--priority", "3")
    assert made["channel"] == "room.*" and made["priority"] == 3 and made["status"]["started"] == 0
    assert penstock("-o", "json", "trigger", "pause", tenant.id, "n")["paused"]
    assert "chat.message" in penstock("trigger", "list", tenant.id, parse=False).stdout
    assert not penstock("-o", "json", "trigger", "resume", tenant.id, "n")["paused"]
    assert penstock("-o", "json", "trigger", "get", tenant.id, "n")["pipeline"] == "noop"
    bad = penstock("trigger", "put", tenant.id, "n", "chat.*", "noop", ok=False)
    assert bad.returncode == 1 and "type" in bad.stderr
    penstock("trigger", "delete", tenant.id, "n", parse=False)
    assert penstock("trigger", "get", tenant.id, "n", ok=False).returncode == 1
