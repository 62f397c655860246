"""Bad days of a model: what is tried again, how often, when, and where instead (docs/decisions/0021)."""
import secrets
import time

import pytest

import audit
from conftest import Tenant, chat, end_stack, make_stack, provision
from stack import http, wait_for


@pytest.fixture(scope="module")
def stack():
    """Breakers and budgets belong to a worker: one of them, so that the numbers are known."""
    stack = make_stack(workers=1, env={"worker": {"PENSTOCK_WORKER_SLOTS": 100}})
    try:
        yield provision(stack.start())
    finally:
        end_stack(stack)


class Model:
    """A simulated one, with a pipeline that calls it once."""

    def __init__(self, stack, fallbacks=(), retry=None, stage=None, **knobs):
        self.stack, self.name = stack, "sim-" + secrets.token_hex(5)
        self.turn(**knobs)
        c = stack.control()
        c.model(self.name, stack.modelsim_url + "/v1", model=self.name, fallbacks=list(fallbacks))
        c.pipeline(self.name, [chat("talk", self.name, **{
            "retry": retry or {"max_attempts": 3, "initial_ms": 10, "factor": 2, "max_ms": 50}, **(stage or {})})])

    def turn(self, **knobs):
        assert http("POST", self.stack.modelsim_url + "/sim/knobs", {"model": self.name, **knobs})[0] == 200

    def asked(self):
        return http("GET", self.stack.modelsim_url + "/sim/stats")[2]["models"].get(self.name, {"requests": 0})["requests"]

    def submit(self, tenant, n=1, **more):
        def one(i):
            return tenant.http("POST", "/v1/tasks", {"pipeline": self.name, "key": f"{self.name}-{i}", "input": "Hi.", **more})
        wait_for("the pipeline", lambda: one(0)[0] in (200, 202))
        answers = [one(i) for i in range(n)]
        assert all(status in (200, 202) for status, _, _ in answers), answers
        return [doc["task"] for _, _, doc in answers]

    def run(self, tenant, **more):
        task, = self.submit(tenant, **more)
        audit.wait_task(self.stack, tenant.id, task)
        return audit.transitions(self.stack, tenant.id, task)


def of(log, type):
    return [data for t, data in log if t == type]


def metric(stack, what):
    text = http("GET", stack.url("admin-worker-1") + "/metrics")[2]
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith((what + " ", what + "{")))


def test_throttled_is_no_attempt(stack, tenant):
    log = Model(stack, fail_rate=1, fail_status=429, fail_count=6, retry_after=0.01).run(tenant)
    failed = of(log, "task.stage.failed")
    assert len(failed) == 6 and all(f["throttled"] and not f["final"] for f in failed), failed
    assert log[-1][0] == "task.completed"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_what_will_not_get_better(stack, tenant, status):
    model = Model(stack, fail_rate=1, fail_status=status)
    log = model.run(tenant)
    assert [(f["attempt"], f["final"]) for f in of(log, "task.stage.failed")] == [(1, True)]
    end = of(log, "task.failed")[0]
    assert end["reason"] in ("upstream_denied", "upstream_rejected") and str(status) in end["message"]
    assert model.asked() == 1


def test_a_long_retry_after_costs_no_place(stack, tenant):
    """It is parked, and comes back through the slow path; not a moment too early."""
    start = time.time()
    log = Model(stack, fail_rate=1, fail_status=503, fail_count=1, retry_after=3).run(tenant)
    parked, = of(log, "task.parked")
    assert parked["stage"] == "talk" and parked["reason"] == "upstream_error"
    assert parked["not_before"] >= (start + 3) * 1000 and time.time() >= start + 3
    assert [s["attempt"] for s in of(log, "task.stage.started")] == [1, 2]
    assert log[-1][0] == "task.completed"


def test_a_model_that_is_down(stack, tenant):
    """The breaker opens: the model has its peace, tasks are parked, none fails; when the model is back they all end."""
    model = Model(stack, fail_rate=1, fail_status=503, retry={"max_attempts": 30, "initial_ms": 10, "factor": 1, "max_ms": 10})
    opened = metric(stack, "penstock_worker_breakers_opened_total")
    tasks = model.submit(tenant, 40)
    wait_for("the breaker", lambda: metric(stack, "penstock_worker_breakers_opened_total") > opened)
    parked = 'penstock_worker_tasks_total{result="parked"}'
    wait_for("tasks that are parked", lambda: metric(stack, parked) > 0)
    asked = model.asked()
    assert asked < 60, "some were on their way when it opened; then it is three at a time"
    model.turn(fail_rate=0)
    for task in tasks:
        audit.check_task(stack, tenant.id, task, ["talk"], timeout=90)
    assert metric(stack, "penstock_worker_breakers_open") == 0
    logs = [audit.transitions(stack, tenant.id, task) for task in tasks]
    assert any(p["reason"] == "target_down" for log in logs for p in of(log, "task.parked"))


def test_fallbacks_while_it_is_down(stack, tenant):
    other = Model(stack)
    model = Model(stack, fallbacks=[other.name], fail_rate=1, fail_status=500,
                  retry={"max_attempts": 30, "initial_ms": 10, "factor": 1, "max_ms": 10})
    tasks = model.submit(tenant, 40)
    answered = set()
    for task in tasks:
        log = audit.check_task(stack, tenant.id, task, ["talk"])
        answered |= {d["model"] for d in of(log, "task.stage.completed")}
    assert answered == {other.name}
    assert other.asked() == 40 and metric(stack, "penstock_worker_fallbacks_total") >= 40


def test_retries_within_their_budget(stack):
    """A third of the calls fail: too few for the breaker, and more than a tenth of the retries would be."""
    tenant = Tenant(stack)
    model = Model(stack, fail_rate=0.33, fail_status=500,
                  retry={"max_attempts": 30, "initial_ms": 1, "factor": 1, "max_ms": 1})
    before = metric(stack, "penstock_worker_calls_again_total")
    start = time.time()
    tasks = model.submit(tenant, 60)
    for task in tasks:
        audit.check_task(stack, tenant.id, task, ["talk"], timeout=90)
    windows = (time.time() - start) // 10 + 2
    again = metric(stack, "penstock_worker_calls_again_total") - before
    assert model.asked() == 60 + again
    assert again <= 60 / 10 + 10 * windows, (again, windows)
    assert metric(stack, 'penstock_worker_calls_held_total{reason="retry_budget"}') > 0
    logs = [audit.transitions(stack, tenant.id, task) for task in tasks]
    assert any(p["reason"] == "retry_budget" for log in logs for p in of(log, "task.parked"))


def test_a_stage_that_cannot_start_in_time(stack, tenant):
    """One call at once, and that one takes its time: the second stage has no permit before it is too late."""
    model = Model(stack, stage={"start_within_ms": 600}, hang_rate=1)
    stack.control().model(model.name, stack.modelsim_url + "/v1", model=model.name, limits={"concurrent": 1})
    time.sleep(0.2)  # the worker hears of it by watch
    first, second = model.submit(tenant, 2, deadline_ms=5000)
    log = audit.check_task(stack, tenant.id, second, [], "failed")
    start, = of(log, "task.stage.started")
    end, = of(log, "task.failed")
    assert end["reason"] == "start_timeout" and start["start_by"] > 0
    assert audit.check_task(stack, tenant.id, first, [], "expired"), "its call had begun"
    assert model.asked() == 1


def test_a_stage_that_takes_too_long(stack, tenant):
    """All attempts share one deadline, and the call that runs is stopped."""
    log = Model(stack, stage={"deadline_ms": 900, "timeout_ms": 500}, hang_rate=1).run(tenant)
    starts = of(log, "task.stage.started")
    assert len(starts) == 2 and len({s["deadline_at"] for s in starts}) == 1
    assert [f["reason"] for f in of(log, "task.stage.failed")] == ["timeout", "stage_timeout"]
    assert log[-1] == ("task.failed", {**log[-1][1], "stage": "talk", "reason": "stage_timeout"})
