"""A bad day, everything at once: bursts of two tenants, 429s, hangs, cut streams, a model that fails, workers that are
killed, no control-plane, 2,000 dead letters redriven, new versions of all pipelines, and models that move. What counts
is what the targets themselves counted, and what PostgreSQL says in the end."""
import concurrent.futures
import time

import pytest

import audit
from conftest import CHAT, Tenant, end_stack, make_stack, provision
from stack import http, wait_for

LETTERS = 2000
ANSWER = 40  # tokens
DOCUMENT = "A penstock feeds a turbine. The gate decides how much water goes through. "
# What binds in each: calls a minute, tokens a minute, calls at once, the tenants' retry budgets.
LIMITS = {"narrow": {"rpm": 900, "tpm": 400000, "concurrent": 30}, "dear": {"rpm": 9000, "tpm": 9000, "concurrent": 30},
          "tight": {"rpm": 9000, "tpm": 400000, "concurrent": 5}, "weak": {}}
TASKS = {"narrow": 100, "dear": 300, "tight": 150, "weak": 700}  # of both tenants, before the redrive and the new versions
LATER = {"narrow": 20, "dear": 20, "tight": 20, "weak": 20}      # of the second versions
DEADLINE_MS = 45000  # of the tasks whose retries are more than the budget
SECONDS = 10  # of a retry budget
DIE = 3       # times that a worker is killed


@pytest.fixture
def stack():
    stack = make_stack(workers=2, env={"worker": {"PENSTOCK_WORKER_ACK_WAIT_MS": 2000}})
    try:
        yield provision(stack.start())
    finally:
        end_stack(stack)


class Day:
    def __init__(self, stack):
        self.stack, self.c = stack, stack.control()
        self.tenants = [Tenant(stack, limits={"events_per_s": 20000, "burst": 20000}) for _ in range(2)]
        self.ids = [t.id for t in self.tenants]
        self.tasks = {}  # task → pipeline

    def model(self, name, to=None, limits=None):
        self.c.model(name, self.stack.modelsim_url + "/v1", model=to or f"sim-{name}", first_token_timeout_ms=1500,
                     limits=LIMITS[name] if limits is None else limits)

    def pipeline(self, name, version):
        """The second one has another stage."""
        self.c.pipeline(name, [{
            "id": ("talk", "speak")[version - 1], "kind": "chat", "model": name, "max_tokens": ANSWER, "input": CHAT,
            "retry": {"max_attempts": 60, "initial_ms": 50, "factor": 1.5, "max_ms": 1000}}], version)

    def knobs(self, name, **knobs):
        assert http("POST", self.stack.modelsim_url + "/sim/knobs", {"model": f"sim-{name}", **knobs})[0] == 200

    def submit(self, pipeline, n, what):
        """n tasks, the tenants in turn, many at once. Their ids."""
        def one(i):
            def send():
                status, _, doc = self.tenants[i % 2].http("POST", "/v1/tasks", {
                    "pipeline": pipeline, "key": f"{what}-{pipeline}-{i}", "input": DOCUMENT,
                    **({"deadline_ms": DEADLINE_MS} if pipeline == "weak" else {})})
                return status in (200, 202) and doc["task"]
            return wait_for("a task to be accepted", send)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            tasks = list(pool.map(one, range(n)))
        self.tasks.update({t: pipeline for t in tasks})
        return tasks

    def rows(self, sql, *args):
        return audit.rows(self.stack, sql, self.ids, *args)

    def count(self, states):
        return self.rows("SELECT count(*) FROM tasks WHERE tenant = ANY(%s) AND state = ANY(%s)", states)[0][0]

    def stats(self, name):
        return http("GET", self.stack.modelsim_url + "/sim/stats")[2]["models"].get(f"sim-{name}", {"requests": 0})

    def log(self, what):
        print(f"{time.time() - self.begun:5.1f} s {what}: " + ", ".join(f"{n} {self.stats(n)['requests']}" for n in TASKS)
              + f"; {self.count(['completed'])} done", flush=True)

    def calls(self, n, name="narrow"):
        """Until the target has seen n more."""
        before = self.stats(name)["requests"]
        wait_for(f"{n} calls of {name}", lambda: self.stats(name)["requests"] >= before + n, 60)

    def metric(self, name, what):
        text = http("GET", self.stack.url(f"admin-{name}") + "/metrics")[2]
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(what))


def check_limits(day):
    for name, limits in LIMITS.items():
        seen = day.stats(name)
        for limit, peak in (("rpm", "rpm_peak"), ("tpm", "tpm_peak"), ("concurrent", "concurrent_peak")):
            assert seen[peak] <= limits.get(limit, 1 << 40), (name, limit, {k: v for k, v in seen.items() if "keys" not in k})


def check_ends(day):
    """Each accepted task has come to one end, and each stage was completed once, by the version it began with."""
    have = day.rows("SELECT task, state, redrive_gen, version, pipeline FROM tasks WHERE tenant = ANY(%s)")
    assert {r[0]: r[4] for r in have} == day.tasks, "the tasks are those that were accepted"
    ended = {r[0]: r[1] for r in have}
    assert set(ended.values()) <= {"completed", "expired"}
    assert {r[4] for r in have if r[1] == "expired"} <= {"weak"}, "those that have a deadline"
    assert sum(r[2] for r in have) == LETTERS and max(r[2] for r in have) == 1
    events = day.rows("SELECT type, channel, coalesce(data::json->>'stage', ''), count(*) FROM events WHERE tenant = ANY(%s) "
                      "AND channel LIKE 'task.%%' AND type IN ('task.accepted', 'task.completed', 'task.failed', 'task.expired', "
                      "'task.cancelled', 'task.redriven', 'task.stage.completed') GROUP BY 1, 2, 3")
    by = {}
    for type, channel, stage, n in events:
        by.setdefault(type, {})[channel.removeprefix("task.")] = (stage, n)
    for state in ("completed", "expired"):
        once = {t for t, (_, n) in by.get(f"task.{state}", {}).items() if n == 1}
        assert once == {t for t in ended if ended[t] == state} == set(by.get(f"task.{state}", {})), state
    assert {t for t, (_, n) in by["task.accepted"].items() if n == 1} == set(day.tasks)
    letters = {r[0] for r in have if r[2] == 1}
    for type in ("task.failed", "task.redriven"):
        assert {t for t, (_, n) in by[type].items() if n == 1} == letters == set(by[type]), type
    assert "task.cancelled" not in by
    stages = [(c.removeprefix("task."), s, n) for t, c, s, n in events if t == "task.stage.completed"]
    assert {t for t, _, _ in stages} >= {t for t in ended if ended[t] == "completed"}
    assert len({t for t, _, _ in stages}) == len(stages) and {n for _, _, n in stages} == {1}, "each stage is completed once"
    versions = {r[0]: r[3] for r in have}
    assert {(versions[t], s) for t, s, _ in stages} == {(1, "talk"), (2, "speak")}
    assert sum(v == 2 for v in versions.values()) >= sum(LATER.values())


def check_budget(day, firsts, seconds):
    """Calls that the targets saw, less one for each stage, are within what the tenants' budgets allow: a tenth, and one
    a second, of which each live worker has its part; a worker that begins has its windows anew. What was under way in
    a worker that was killed is called again beside that."""
    for name, first in firsts.items():
        again = day.stats(name)["requests"] - first
        windows = seconds // SECONDS + 1 + DIE
        budget = first / 10 + len(day.tenants) * SECONDS * windows + DIE * LIMITS[name].get("concurrent", 10)
        print(f"{name}: {first} first, {again} again, at most {budget:.0f}")
        assert again <= budget, (name, again, budget, first, seconds)


def test_a_bad_day(stack):
    day = Day(stack)
    # The dead letters: a target that refuses everything.
    day.model("narrow", "sim-seed@fail=400", {})
    for name in ("dear", "tight", "weak"):
        day.model(name)
    for name in TASKS:
        day.pipeline(name, 1)
    begun = time.time()
    day.submit("narrow", LETTERS, "letter")
    wait_for("the dead letters", lambda: day.count(["failed"]) == LETTERS, 120, 0.2)
    print(f"{LETTERS} dead letters in {time.time() - begun:.1f} s")

    # The models' bad day. The target with a limit of calls is a new one, so all that it counts is from now on.
    trouble = {"cut_rate": 0.05, "cut_after": 3, "hang_rate": 0.02, "retry_after": 1, "fail_rate": 0.05}
    day.knobs("narrow", token_ms=5, fail_status=429, **trouble)
    day.knobs("dear", token_ms=2, fail_status=503, **trouble)
    day.knobs("tight", first_token_ms=100, token_ms=10, fail_status=429, **trouble)
    day.knobs("weak", fail_rate=0.5, fail_status=429)  # says nothing to the breaker, and costs a retry each
    day.model("narrow")

    def arrived():  # workers learn of it by watch
        day.submit("narrow", 2, f"probe{time.monotonic_ns()}")
        return day.stats("narrow")["requests"] > 0
    wait_for("the model at its new address", arrived, step=0.5)

    day.begun = begun = time.time()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        bursts = [pool.submit(day.submit, name, n, "burst") for name, n in TASKS.items()]
        day.calls(300, "weak")
        for id in day.ids:
            status, _, doc = http("POST", stack.control_url + "/v1/dead-letters:redrive",
                                  {"tenant": id, "per_s": 400}, stack.admin_key)
            assert status == 202, doc
        day.calls(20)
        day.log("first kill")
        stack.kill("worker-2")
        day.calls(10)
        stack.start_one("worker-2")
        for burst in bursts:
            burst.result()
    day.log("all are accepted")
    stack.kill("control-1")
    stack.kill("worker-1")
    stack.start_one("worker-1")
    stack.wait_ready("worker-1")
    for worker in ("worker-1", "worker-2"):
        wait_for("no grantor", lambda: day.metric(worker, "penstock_worker_lease_silent") == 1, 30)
    day.log("no grantor")
    day.calls(5)  # by the safe capacity
    day.log("still none")
    stack.start_one("control-1")
    stack.wait_ready()
    for name in TASKS:
        day.pipeline(name, 2)
    wait_for("a grantor that has learned", lambda: day.metric("control-1", "penstock_control_lease_grantor") == 1
             and day.metric("control-1", "penstock_control_lease_learning") == 0, 30)
    day.log("a new one")
    for name, n in LATER.items():
        day.submit(name, n, "later")
    stack.kill("worker-2")
    stack.start_one("worker-2")
    day.calls(60)
    day.log("models move")
    seconds = time.time() - begun
    check_limits(day)

    # All models move to a target that has no limits. What waits may not take the old one's door on its way there.
    for name in TASKS:
        day.model(name, "sim-later", {})
    wait_for("all tasks", lambda: day.count(["completed", "expired"]) == len(day.tasks), 120, 0.2)
    day.log("all have ended")
    check_limits(day)
    check_ends(day)
    check_budget(day, {n: TASKS[n] + LATER[n] for n in ("dear", "tight", "weak")}, seconds)
