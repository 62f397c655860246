"""Dead letters: what failed for good and why, and how it comes back."""

import time
import uuid

import audit
from client import Client
from conftest import CHAT
from stack import http, wait_for

# A stage that is asked too much of, and one that nobody answers.
BROKEN = [{"id": "first", "kind": "transform", "input": ".input"},
          {"id": "second", "kind": "transform", "needs": ["first"], "input": ".stages.first | error"}]


def fail(stack, tenant, n, pipeline="broken"):
    """Tasks that failed, as PostgreSQL has them."""
    stack.control().pipeline("broken", BROKEN)
    tasks = []
    for i in range(n):
        def submit():
            status, _, answer = tenant.http("POST", "/v1/tasks", {"pipeline": pipeline, "key": f"d{i}", "input": f"x{i}"})
            return answer["task"] if status == 202 else None
        tasks.append(wait_for("the pipeline is known", submit))
    wait_for("their ends", lambda: audit.rows(stack, "SELECT count(*) FROM tasks WHERE tenant = %s AND state = 'failed'",
                                              tenant.id) == [(n,)], 60)
    return tasks


def control(stack, method, path, body=None, **kw):
    return http(method, stack.control_url + "/v1" + path, body, stack.admin_key, **kw)


def test_list_and_show(stack, tenant, penstock):
    tasks = fail(stack, tenant, 5)
    seen, token = [], ""
    while token is not None:
        status, _, doc = control(stack, "GET", f"/dead-letters?tenant={tenant.id}&page_size=2&page_token={token}")
        assert status == 200, doc
        seen += doc["items"]
        token = doc["next_page_token"]
    assert {d["task"] for d in seen} == set(tasks) and len(seen) == 5
    assert [d["finished_at"] for d in seen] == sorted((d["finished_at"] for d in seen), reverse=True)
    letter = next(d for d in seen if d["task"] == tasks[3])
    assert letter["error"]["stage"] == "second" and letter["error"]["reason"] and "x3" in letter["error"]["message"]
    assert letter["state"] == "failed" and letter["pipeline"] == "broken" and letter["redrive_gen"] == 0
    assert letter["attempts"] == 2
    reason = letter["error"]["reason"]
    for query, n in ((f"&reason={reason}", 5), ("&reason=other", 0), ("&pipeline=broken", 5), ("&pipeline=noop", 0)):
        assert len(control(stack, "GET", f"/dead-letters?tenant={tenant.id}{query}")[2]["items"]) == n
    assert tenant.id in {d["tenant"] for d in control(stack, "GET", "/dead-letters?page_size=1000")[2]["items"]}
    assert control(stack, "GET", "/dead-letters?nonsense=1")[0] == 400
    assert control(stack, "GET", "/dead-letters?page_token=x")[0] in (400, 422)
    assert control(stack, "GET", "/tasks")[0] == 400
    all_tasks = control(stack, "GET", f"/tasks?tenant={tenant.id}&state=failed")[2]["items"]
    assert {d["task"] for d in all_tasks} == set(tasks)
    assert control(stack, "GET", f"/tasks?tenant={tenant.id}&state=completed")[2]["items"] == []
    rows = penstock("-o", "json", "dead-letter", "list", "--tenant", tenant.id)
    assert {d["task"] for d in rows} == set(tasks)
    text = penstock("dead-letter", "list", "--tenant", tenant.id, parse=False).stdout
    assert tasks[0] in text and reason in text
    doc = penstock("-o", "json", "dead-letter", "get", tenant.id, tasks[0])
    assert doc["error"]["reason"] == reason and [s["state"] for s in doc["stages"]] == ["completed", "failed"]
    assert {d["task"] for d in penstock("-o", "json", "task", "list", tenant.id)} == set(tasks)


# --- redriving


class Fragile:
    """A tenant's pipeline whose second stage calls a model that refuses, until it is mended."""

    def __init__(self, stack, tenant):
        self.stack, self.tenant, self.name = stack, tenant, f"fragile-{tenant.id}"
        self.model("sim-x@fail=400")
        stack.control().pipeline(self.name, [
            {"id": "prepare", "kind": "transform", "input": ".input"},
            {"id": "talk", "kind": "chat", "model": self.name, "needs": ["prepare"], "input": CHAT}])
        self.tasks = []

    def model(self, model):
        self.stack.control().model(self.name, self.stack.modelsim_url + "/v1", model=model,
                                   limits={"rpm": 1000000, "tpm": 1000000000, "concurrent": 64})

    def fail(self, n):
        self.tasks += [self.submit(f"f{i}") for i in range(len(self.tasks), len(self.tasks) + n)]
        self.wait(len(self.tasks), "failed", 120)

    def submit(self, key):
        def once():
            status, _, answer = self.tenant.http("POST", "/v1/tasks", {"pipeline": self.name, "key": key, "input": key})
            return answer["task"] if status == 202 else None
        return wait_for("the pipeline is known", once)

    def wait(self, n, state, timeout=60):
        wait_for(f"{n} tasks {state}", lambda: audit.rows(
            self.stack, "SELECT count(*) FROM tasks WHERE tenant = %s AND state = %s", self.tenant.id, state) == [(n,)],
            timeout, 0.1)

    def mend(self):
        """Workers learn of it by watch: a fresh task shows when."""
        self.model("sim-x")

        def works():
            self.i = getattr(self, "i", 0) + 1
            task = self.submit(f"probe{self.i}")
            return wait_for("its end", lambda: audit.rows(
                self.stack, "SELECT state FROM tasks WHERE task = %s AND finished_at IS NOT NULL", task)) == [("completed",)]
        wait_for("the model is mended", works)


def redrive(stack, path, body=None):
    status, head, doc = control(stack, "POST", path, body)
    assert status == 202, doc
    assert head["Location"] == f"/v1/operations/{doc['id']}"
    return doc


def operation(stack, id):
    return control(stack, "GET", f"/operations/{id}")[2]


def wait_operation(stack, id, timeout=60):
    wait_for("the operation's end", lambda: operation(stack, id)["state"] == "done", timeout, 0.1)
    return operation(stack, id)


def check_redriven(stack, tenant, task, gen=1):
    """Behind its failure it went on, once: what was complete stayed so, the failed stage had its next attempt."""
    events = audit.transitions(stack, tenant.id, task)
    types = [t for t, _ in events]
    assert types.count("task.redriven") == gen and types.count("task.completed") == 1, types
    behind = events[types.index("task.redriven") + 1:]
    assert events[types.index("task.redriven") - 1][0] == "task.failed"
    assert behind[0][0] == "task.started" and [t for t, _ in behind].count("task.started") == gen
    starts = [(d["stage"], d["attempt"]) for t, d in events if t == "task.stage.started"]
    assert starts == [("prepare", 1)] + [("talk", i) for i in range(1, gen + 2)]


def test_redrive_one(stack, tenant, penstock):
    f = Fragile(stack, tenant)
    f.fail(2)
    one, other = f.tasks
    # Still broken: it fails again, and is a dead letter again.
    doc = penstock("-o", "json", "task", "redrive", tenant.id, one)
    assert doc["kind"] == "redrive" and doc["total"] == 1 and doc["filter"]["task"] == one
    wait_for("its second failure", lambda: audit.rows(
        stack, "SELECT redrive_gen, state FROM tasks WHERE task = %s", one) == [(1, "failed")])
    f.mend()
    doc = redrive(stack, f"/tasks/{one}:redrive?tenant={tenant.id}")
    assert wait_operation(stack, doc["id"])["done"] == 1
    wait_for("its completion", lambda: audit.rows(
        stack, "SELECT redrive_gen, state, error FROM tasks WHERE task = %s", one) == [(2, "completed", None)])
    check_redriven(stack, tenant, one, 2)
    redriven = [d for t, d in audit.transitions(stack, tenant.id, one) if t == "task.redriven"]
    assert [d["redrive_gen"] for d in redriven] == [1, 2] and redriven[0]["by"]
    assert audit.rows(stack, "SELECT state FROM tasks WHERE task = %s", other) == [("failed",)]
    # What is no dead letter, is nobody's, or is another tenant's.
    for task, who in ((one, tenant.id), ("x", tenant.id), (other, "somebody-else")):
        assert control(stack, "POST", f"/tasks/{task}:redrive?tenant={who}")[0] == 404
    assert control(stack, "POST", f"/tasks/{other}:redrive")[0] == 400
    assert control(stack, "GET", "/operations/x")[0] == 404
    assert penstock("-o", "json", "operation", "get", doc["id"])["state"] == "done"


def test_redrive_2000(stack, tenant, penstock):
    """At the rate that was asked for, through everything that fresh tasks go through, each once."""
    n, rate = 2000, 400
    f = Fragile(stack, tenant)
    f.fail(n)
    f.mend()
    body = {"tenant": tenant.id, "pipeline": f.name, "per_s": rate}
    status, _, doc = control(stack, "POST", "/dead-letters:redrive?validate_only=true", body)
    assert status == 202 and doc["total"] == n
    assert audit.rows(stack, "SELECT count(*) FROM redrives WHERE id = %s", doc["id"]) == [(0,)]
    began = time.time()
    doc = redrive(stack, "/dead-letters:redrive", body)
    assert doc["total"] == n and doc["pending"] == n
    end = wait_operation(stack, doc["id"], 120)
    assert (end["done"], end["refused"], end["pending"]) == (n, 0, 0)
    assert time.time() - began > n / rate - 1.5
    f.wait(n + f.i, "completed", 120)
    print(f"{n} redriven and completed in {time.time() - began:.1f} s")
    assert control(stack, "GET", f"/dead-letters?tenant={tenant.id}")[2]["items"] == []
    twice = audit.rows(stack, "SELECT channel FROM events WHERE tenant = %s AND type IN ('task.completed', 'task.redriven') "
                       "GROUP BY channel, type HAVING count(*) > 1", tenant.id)
    assert twice == []
    for task in f.tasks[::100]:
        check_redriven(stack, tenant, task)
    # Once more there is nothing to do.
    again = redrive(stack, "/dead-letters:redrive", body)
    assert again["total"] == 0 and wait_operation(stack, again["id"])["state"] == "done"


def test_redrive_counts_against_limits(stack, tenant):
    f = Fragile(stack, tenant)
    f.fail(60)
    f.mend()
    stack.control().put(f"/tenants/{tenant.id}/limits", {"events_per_s": 10, "burst": 10})
    time.sleep(0.5)  # routers learn of it by watch, and nothing shows that they have
    began = time.time()
    doc = redrive(stack, "/dead-letters:redrive", {"tenant": tenant.id, "per_s": 1000})
    end = wait_operation(stack, doc["id"], 120)
    # Each costs two commands, one to live again and one for its ticket.
    assert time.time() - began > (60 - 10) / 10, "faster than its limit"
    assert end["done"] == 60
    f.wait(60 + f.i, "completed", 120)


def test_redrive_by_filter_and_cancelled(stack, tenant):
    f = Fragile(stack, tenant)
    f.fail(30)
    for bad in (None, [], {"per_s": 0}, {"limit": 0}, {"nonsense": 1}, {"tenant": 7}, {"before": "x"}):
        assert control(stack, "POST", "/dead-letters:redrive", bad)[0] in (400, 422), bad
    none = {"reason": "other"}, {"state": "expired"}, {"pipeline": "noop"}, {"before": 1000}
    for filter in none:
        assert redrive(stack, "/dead-letters:redrive", {"tenant": tenant.id, **filter})["total"] == 0, filter
    doc = redrive(stack, "/dead-letters:redrive", {"tenant": tenant.id, "limit": 20, "per_s": 2})
    assert doc["total"] == 20
    wait_for("the first ones", lambda: operation(stack, doc["id"])["done"] >= 2)
    status, _, end = control(stack, "POST", f"/operations/{doc['id']}:cancel")
    assert status == 200 and end["state"] == "cancelled" and end["pending"] == 0
    time.sleep(1)  # in which two more would be redriven
    assert operation(stack, doc["id"])["done"] <= end["done"] + 1
    redriven = audit.rows(stack, "SELECT count(*) FROM tasks WHERE tenant = %s AND redrive_gen = 1", tenant.id)[0][0]
    assert redriven < 8


async def test_cancelled_by_an_operator(stack, tenant, penstock):
    async with Client(stack.edge_url, tenant.key) as c:
        task = (await c.task("slow", "A long answer. " * 20, "k"))["task"]
        await c.wait(lambda f: f["op"] == "delta" and f["task"] == task)
        path = f"/tasks/{task}:cancel"
        assert control(stack, "POST", path)[0] == 400
        wait_for("PostgreSQL has it", lambda: control(stack, "POST", f"{path}?tenant={tenant.id}&validate_only=true")[0] == 200)
        assert not [e for e in c.events(f"task.{task}") if e["type"] == "task.cancelled"]
        doc = penstock("-o", "json", "task", "cancel", task, "--tenant", tenant.id, "--reason", "it says too much")
        end = await c.wait_end(task)
        assert end["type"] == "task.cancelled" and end["data"]["by"] == "admin", end
        assert doc == {"task": task, "tenant": tenant.id, "channel": f"task.{task}", "event_id": end["event_id"],
                       "offset": end["offset"], "duplicate": False}
        # Again, and of one that is not there.
        status, _, again = control(stack, "POST", f"{path}?tenant={tenant.id}")
        assert status == 200 and again["duplicate"] and again["event_id"] == end["event_id"]
        unknown = f"/tasks/{uuid.uuid4()}:cancel?tenant={tenant.id}"
        for path in (unknown, unknown + "&validate_only=true", f"/tasks/x:cancel?tenant={tenant.id}"):
            assert control(stack, "POST", path)[0] == 404
    rows = audit.rows(stack, "SELECT actor, reason FROM control.audit WHERE tenant = %s AND action = 'task.cancel' ORDER BY id", tenant.id)
    assert rows == [("admin", "it says too much"), ("admin", None)], rows
