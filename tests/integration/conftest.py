"""Fixtures: one stack for all tests that break nothing, and stacks of their own for those that do.

Each test has tenants of its own, so tests share a stack in any order and at any time. Processes die with pytest.
PENSTOCK_BIN chooses the binaries (a sanitizer build), PENSTOCK_TEST_KEEP=1 keeps the folders.
"""
import asyncio
import contextlib
import functools
import inspect
import itertools
import os
import pathlib
import secrets
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(pathlib.Path(__file__).parent)]

from stack import Stack, http, wait_for  # noqa: E402

BIN = pathlib.Path(os.environ.get("PENSTOCK_BIN", ROOT / "build/release/bin")).absolute()
SANITIZED = "asan" in str(BIN) or "address" in str(BIN) or "thread" in str(BIN)
SUSPECT = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:", "Assertion `", "double free")


def pytest_collection_modifyitems(items):
    """Coroutine tests run in a loop of their own; there is no plugin for it in Debian that we would need."""
    for item in items:
        if inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.obj = functools.wraps(item.obj)(lambda *a, _f=item.obj, **kw: asyncio.run(_f(*a, **kw)))


# Four stages that do nothing; tokens that take their time; a call that can be made to fail.
NOOP = [{"id": f"s{i}", "kind": "transform", "input": ".input", **({"needs": [f"s{i - 1}"]} if i > 1 else {})}
        for i in range(1, 5)]
CHAT = ('{messages: [{role: "user", content: (.input | if type == "object" then .document else tostring end)}]}')


def chat(stage, model, needs=(), **more):
    return {"id": stage, "kind": "chat", "model": model, "needs": list(needs), "input": CHAT,
            "retry": {"max_attempts": 5, "initial_ms": 20, "factor": 2, "max_ms": 200}, **more}


PIPELINES = {
    "noop": NOOP,
    "slow": [{"id": "first", "kind": "transform", "input": ".input"}, chat("talk", "slow", ["first"]),
             {"id": "last", "kind": "transform", "needs": ["talk"], "input": "{text: .stages.talk.text}"}],
    "quick": [chat("talk", "quick")],
}


def provision(stack):
    """What all tests find: the local stack's own things, and the pipelines above."""
    stack.provision()
    c = stack.control()
    c.model("slow", stack.modelsim_url + "/v1", model="sim-slow@first_token_ms=300,token_ms=25")
    c.model("quick", stack.modelsim_url + "/v1", model="sim-quick")
    for name, stages in PIPELINES.items():
        c.pipeline(name, stages)
    return stack


def check_logs(stack):
    """No service may have said what only a broken program says."""
    for path in sorted((stack.dir / "log").glob("*.log")):
        if path.name.partition("-")[0] in ("edge", "router", "worker", "store", "control", "modelsim"):
            text = path.read_text(errors="replace")
            found = [w for w in SUSPECT if w in text]
            at = text.find(found[0]) if found else 0
            assert not found, f"{path.name}: {text[max(0, at - 500):at + 4000]}"


def make_stack(**kw):
    folder = tempfile.mkdtemp(prefix="penstock-it-")
    os.chmod(folder, 0o755)
    # fsync=False: processes are killed here, never the machine; what a killed process wrote, the kernel has.
    return Stack(folder, bin=BIN, die=True, fsync=False, **kw)


def end_stack(stack, failed=False):
    try:
        stack.stop()
        check_logs(stack)
    finally:
        if not os.environ.get("PENSTOCK_TEST_KEEP"):
            stack.purge()
        elif failed:
            print(f"kept: {stack.dir}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the last words of the services in its stack."""
    report = (yield).get_result()
    if report.when == "call" and report.failed:
        for name in ("stack", "private"):
            stack = item.funcargs.get(name)
            for one in ([stack] if isinstance(stack, Stack) else getattr(stack, "made", [])):
                for service in one.names():
                    report.sections.append((f"{service} ({one.log(service)})", one.tail(service, 12)))


@contextlib.contextmanager
def running_stack(**kw):
    """A stack with what all tests find, until the block ends."""
    stack = make_stack(**kw)
    try:
        provision(stack.start())
        yield stack
    finally:
        end_stack(stack)


@pytest.fixture(scope="session")
def stack():
    with running_stack(edges=2, routers=2, workers=2, stores=1) as stack:
        yield stack


@pytest.fixture
def private():
    """Makes stacks for one test: private(workers=2)."""
    made = []

    def make(start=True, **kw):
        stack = make_stack(**kw)
        made.append(stack)
        return provision(stack.start()) if start else stack
    make.made = made
    yield make
    for stack in made:
        end_stack(stack)


class Tenant:
    _n = itertools.count(1)

    def __init__(self, stack, limits=None, **doc):
        self.stack = stack
        self.id = f"t{next(self._n)}-{secrets.token_hex(4)}"
        c = stack.control()
        c.tenant(self.id, limits, **doc)
        c.event_type(self.id, "chat.message", "durable")
        c.event_type(self.id, "cursor.move", "ephemeral")
        self.key = c.key(self.id)
        # Edges and routers learn of it by watch, each for itself.
        for i in range(1, stack.counts["edge"] + 1):
            wait_for(f"{self.id} at edge-{i}", lambda: http(
                "POST", stack.url(f"edge-{i}") + "/v1/events",
                {"channel": "warm", "type": "cursor.move", "data": 0}, self.key)[0] == 202)
        wait_for(f"{self.id}: its durable type", lambda: http(
            "POST", stack.edge_url + "/v1/events",
            {"channel": "warm", "type": "chat.message", "data": 0}, self.key)[0] == 202)

    def http(self, method, path, body=None, edge="edge-1", **kw):
        return http(method, self.stack.url(edge) + path, body, self.key, **kw)


@pytest.fixture
def tenant(stack):
    return Tenant(stack)


@pytest.fixture
def penstock(stack):
    """Runs the operators' command against the shared stack."""
    import json
    import subprocess

    def run(*args, input=None, ok=True, parse=True, key=None):
        env = {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")}
        env.update(PENSTOCK_EDGE_URL=stack.edge_url, PENSTOCK_CONTROL_URL=stack.control_url,
                   PENSTOCK_ADMIN_KEY=stack.admin_key, PENSTOCK_KEY=key or stack.state["key"])
        done = subprocess.run([str(BIN / "penstock"), *args], input=input, capture_output=True, text=True, env=env,
                              timeout=60)
        if ok:
            assert done.returncode == 0, f"penstock {args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout) if ok and parse else done
    return run


@pytest.fixture(scope="module")
def browser():
    """Chromium, skipped where there is none."""
    from runtimes import Browser, Missing

    try:
        browser = Browser()
    except Missing as e:
        pytest.skip(str(e))
    yield browser
    browser.close()
