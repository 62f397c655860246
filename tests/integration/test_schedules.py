"""Schedules: at its due time a schedule starts one task, through admission, whatever is asked twice."""
import audit
from conftest import Tenant
from stack import http, wait_for


def put(stack, tenant, name, **doc):
    body = {"cron": "0 0 1 1 *", "pipeline": "noop", "input": {"of": name}, **doc}
    return stack.control().put(f"/tenants/{tenant.id}/schedules/{name}", body)


def get(stack, tenant, name):
    return http("GET", f"{stack.control_url}/v1/tenants/{tenant.id}/schedules/{name}", None, stack.admin_key)[2]


def make_due(stack, tenant, name, at):
    """As if its time had come: nobody wants to wait for a minute of the clock. `at` is an SQL expression."""
    audit.execute(stack, f"UPDATE control.schedules SET next_at = date_trunc('second', {at}) WHERE tenant = %s AND name = %s",
                  tenant.id, name)


def wait_last(stack, tenant, name, where=lambda last: True):
    wait_for(f"a run of {name}", lambda: (lambda last: last and where(last))(get(stack, tenant, name)["status"]["last"]))
    return get(stack, tenant, name)["status"]


def tasks(stack, tenant):
    return audit.rows(stack, "SELECT task::text, pipeline, state FROM tasks WHERE tenant = %s", tenant.id)


def test_fires_once(stack, tenant):
    put(stack, tenant, "yearly", zone="America/New_York", priority=-1)
    assert get(stack, tenant, "yearly")["status"]["next_at"][4:] == "-01-01T05:00:00Z"
    make_due(stack, tenant, "yearly", "now()")
    status = wait_last(stack, tenant, "yearly")
    last = status["last"]
    assert last["result"] == "started" and status["runs"] == 1 and status["missed"] == 0
    assert status["next_at"][4:] == "-01-01T05:00:00Z"
    wait_for("the task's end", lambda: (last["task"], "noop", "completed") in tasks(stack, tenant))
    accepted = audit.rows(stack, "SELECT principal, data::json->'input', key, trace FROM events WHERE tenant = %s AND "
                          "type = 'task.accepted'", tenant.id)
    assert [(p, i) for p, i, _, _ in accepted] == [("schedule:yearly", {"of": "yearly"})]
    assert accepted[0][2].startswith("schedule.yearly.") and accepted[0][3].startswith("00-")
    # Whoever fired it was killed before that was noted: it is due again, and is the same task.
    make_due(stack, tenant, "yearly", f"'{last['due_at']}'::timestamptz")
    wait_for("the repeat", lambda: get(stack, tenant, "yearly")["status"]["runs"] == 2)
    again = get(stack, tenant, "yearly")["status"]
    assert again["last"]["task"] == last["task"] and again["next_at"] == status["next_at"]
    assert len(tasks(stack, tenant)) == 1


def test_missed_refused_and_paused(stack, tenant):
    put(stack, tenant, "skip")
    put(stack, tenant, "once", missed="run_once")
    put(stack, tenant, "nowhere", pipeline="there-is-no-such-pipeline")
    put(stack, tenant, "paused", paused=True)
    assert get(stack, tenant, "paused")["status"]["next_at"] is None
    for name, at in (("skip", "now() - interval '1 hour'"), ("once", "now() - interval '1 hour'"), ("nowhere", "now()")):
        make_due(stack, tenant, name, at)
    skip = wait_last(stack, tenant, "skip")
    assert (skip["last"]["result"], skip["runs"], skip["missed"]) == ("missed", 0, 1) and "task" not in skip["last"]
    once = wait_last(stack, tenant, "once")
    assert (once["last"]["result"], once["runs"], once["missed"]) == ("started", 1, 0)
    nowhere = wait_last(stack, tenant, "nowhere")
    assert (nowhere["last"]["result"], nowhere["last"]["code"], nowhere["runs"]) == ("refused", "not_found", 0)
    assert all(s["next_at"] for s in (skip, once, nowhere))
    assert get(stack, tenant, "paused")["status"]["last"] is None


def test_waits_for_admission(stack):
    """A limit is no refusal: what is rate_limited stays due."""
    tenant = Tenant(stack, limits={"events_per_s": 1, "burst": 1})
    for i in range(3):
        put(stack, tenant, f"s{i}")
    audit.execute(stack, "UPDATE control.schedules SET next_at = date_trunc('second', now()) WHERE tenant = %s", tenant.id)
    for i in range(3):
        assert wait_last(stack, tenant, f"s{i}")["last"]["result"] == "started"
    assert len({get(stack, tenant, f"s{i}")["status"]["last"]["task"] for i in range(3)}) == 3


def test_command(stack, tenant, penstock):
    made = penstock("-o", "json", "schedule", "put", tenant.id, "n", "30 2 * * mon-fri", "noop", "--zone", "Europe/Berlin",
                    "--input", '{"a":1}', "--missed", "run_once")
    assert made["zone"] == "Europe/Berlin" and made["input"] == {"a": 1} and made["status"]["next_at"]
    assert penstock("-o", "json", "schedule", "pause", tenant.id, "n")["status"]["next_at"] is None
    assert "30 2 * * mon-fri" in penstock("schedule", "list", tenant.id, parse=False).stdout
    resumed = penstock("-o", "json", "schedule", "resume", tenant.id, "n")
    assert resumed["status"]["next_at"] == made["status"]["next_at"] and resumed["input"] == {"a": 1}
    assert penstock("-o", "json", "schedule", "get", tenant.id, "n")["missed"] == "run_once"
    bad = penstock("schedule", "put", tenant.id, "n", "30 2 * *", "noop", ok=False)
    assert bad.returncode == 1 and "cron" in bad.stderr
    penstock("schedule", "delete", tenant.id, "n", parse=False)
    assert penstock("schedule", "get", tenant.id, "n", ok=False).returncode == 1
