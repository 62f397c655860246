"""One door to a model: what the target itself counts never exceeds its limits, whoever dies; and nothing goes round."""
import pathlib
import subprocess
import time

import pytest

from conftest import BIN, CHAT, Tenant, end_stack, make_stack, provision
from stack import http, wait_for

ANSWER = 40  # tokens
DOCUMENT = "A penstock feeds a turbine. The gate decides how much water goes through. " * 3
LIMITS = {"rpm": 120, "tpm": 9000, "concurrent": 5}
SAFE = {"rpm": 60, "tpm": 9000, "concurrent": 2}


@pytest.fixture(scope="module")
def stack():
    stack = make_stack(workers=2, env={"worker": {"PENSTOCK_WORKER_ACK_WAIT_MS": 2000}})
    try:
        yield provision(stack.start())
    finally:
        end_stack(stack)


def make_model(stack, name, limits, knobs="first_token_ms=100,token_ms=10", **doc):
    c = stack.control()
    c.model(name, stack.modelsim_url + "/v1", model=f"sim-{name}@{knobs}", limits=limits, **doc)
    c.pipeline(name, [{"id": "talk", "kind": "chat", "model": name, "max_tokens": ANSWER, "input": CHAT,
                       "retry": {"max_attempts": 9, "initial_ms": 50, "max_ms": 500}}])


def counts(stack, name):
    return http("GET", stack.modelsim_url + "/sim/stats")[2]["models"].get(f"sim-{name}", {"requests": 0})


def submit(tenant, pipeline, n):
    tasks = []
    for i in range(n):
        status, _, doc = tenant.http("POST", "/v1/tasks", {"pipeline": pipeline, "key": f"{pipeline}-{i}",
                                                           "input": DOCUMENT})
        assert status == 202, doc
        tasks.append(doc["task"])
    return tasks


def state(tenant, task):
    return tenant.http("GET", f"/v1/tasks/{task}")[2].get("state")


def metric(stack, name, what):
    text = http("GET", stack.url(f"admin-{name}") + "/metrics")[2]
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(what))


def check(stack, name, limits=LIMITS):
    seen = counts(stack, name)
    assert seen["rpm_peak"] <= limits["rpm"], seen
    assert seen["tpm_peak"] <= limits["tpm"], seen
    assert seen["concurrent_peak"] <= limits["concurrent"], seen
    return seen


def wait_calls(stack, name, n, timeout=40):
    wait_for(f"{n} calls of {name}", lambda: counts(stack, name)["requests"] >= n, timeout=timeout)


def test_never_above_a_limit(stack):
    """A burst, a dead worker, no grantor, a new one: the target's own counts say so."""
    tenant = Tenant(stack)
    make_model(stack, "narrow", LIMITS, safe_capacity=SAFE)
    tasks = submit(tenant, "narrow", 180)
    wait_calls(stack, "narrow", 12)
    stack.kill("worker-2")
    wait_calls(stack, "narrow", counts(stack, "narrow")["requests"] + 8)
    stack.start_one("worker-2")
    stack.kill("control-1")
    # By the safe capacity, of which each worker has its half.
    before = counts(stack, "narrow")["requests"]
    wait_for("a worker to hear no grantor", lambda: metric(stack, "worker-1", "penstock_worker_lease_silent") == 1,
             timeout=20)
    wait_calls(stack, "narrow", before + 4)
    stack.start_one("control-1")
    stack.wait_ready()
    wait_for("a grantor that has learned", lambda: metric(stack, "control-1", "penstock_control_lease_grantor") == 1
             and metric(stack, "control-1", "penstock_control_lease_learning") == 0, timeout=30)
    wait_calls(stack, "narrow", counts(stack, "narrow")["requests"] + 15)
    seen = check(stack, "narrow")
    assert seen["concurrent_peak"] >= 2
    # The limits go, and what waited is done at once: nothing was lost.
    make_model(stack, "narrow", {}, knobs="first_token_ms=1,token_ms=0")
    wait_for("all tasks", lambda: all(state(tenant, t) == "completed" for t in tasks), timeout=60, step=0.5)


def test_both_workers_have_their_part(stack):
    tenant = Tenant(stack)
    make_model(stack, "shared", {"concurrent": 4})
    before = [metric(stack, f"worker-{i}", "penstock_worker_calls_total") for i in (1, 2)]
    tasks = submit(tenant, "shared", 40)
    wait_for("all tasks", lambda: all(state(tenant, t) == "completed" for t in tasks), timeout=60, step=0.2)
    seen = counts(stack, "shared")
    assert seen["concurrent_peak"] <= 4 and seen["requests"] == 40
    done = [metric(stack, f"worker-{i}", "penstock_worker_calls_total") - b for i, b in zip((1, 2), before)]
    assert sum(done) == 40 and min(done) >= 8, done


def test_a_call_that_comes_alone_does_not_wait(stack):
    tenant = Tenant(stack)
    make_model(stack, "easy", {"rpm": 600, "tpm": 100000, "concurrent": 10}, knobs="first_token_ms=1,token_ms=0")
    start = time.monotonic()
    task, = submit(tenant, "easy", 1)
    wait_for("the task", lambda: state(tenant, task) == "completed")
    assert time.monotonic() - start < 5


def symbols(path):
    """(defined, used) by an object file."""
    defined, used = set(), set()
    for line in subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout.splitlines():
        kind, name = line.split()[-2:]
        (used if kind == "U" else defined).add(name)
    return defined, used


def test_no_other_path_leads_to_a_model():
    """By what the linker sees: curl is used in one file, that file by one other, and there a call starts in one
    function, behind the lease. First try, retry, fallback, redrive, replay, another version: all are stages, and a
    stage has nothing but target_call()."""
    objects = {p.stem: symbols(p) for p in (BIN.parent / "services/orchestrator-worker").glob("*.o")}
    assert {"target", "http", "exec", "lease"} <= set(objects)

    def users(*names, prefix=None):
        return {o for o, (_, used) in objects.items()
                if used & set(names) or prefix and any(u.startswith(prefix) for u in used)}
    assert users(prefix="curl_") == {"http"}
    # Besides it, outgoing webhooks: they know neither models nor stages, and only main starts them.
    assert users("http_start") == {"target", "post"}
    assert not [u for u in objects["post"][1] if u.startswith(("catalog_", "target", "exec_", "lease"))]
    assert users("posts_start") == {"main"}
    assert users("target_call") == {"exec"}
    assert users("lease_take") == {"target"}
    assert users("connect", "getaddrinfo") == set()
    assert users("socket") <= {"http"}  # made for curl, behind its look at the address

    source = (pathlib.Path(__file__).resolve().parents[2] / "services/orchestrator-worker/target.c").read_text()
    bodies = {}
    for part in source.split("\n}\n"):
        head = [line for line in part.splitlines() if line and line[0].isalpha() and "(" in line]
        if head:
            bodies[head[-1].split("(")[0].split()[-1].lstrip("*")] = part

    def callers(name):
        return {f for f, text in bodies.items() if f != name and f" {name}(" in text.replace("!", " ").replace("\t", " ")}
    assert callers("http_start") == {"start"}
    assert callers("start") == {"begin"}
    assert callers("begin") == {"on_work"}
    assert callers("lease_take") == {"permit"}
    work = bodies["on_work"]
    assert work.index("!permit(t, target, job)") < work.index("break") < work.index("begin(t, job)")
