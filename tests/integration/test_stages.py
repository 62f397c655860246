"""What a stage may do: conditions and kinds, on the real stack."""
import json

import pytest

import audit
from client import Client
from conftest import Tenant
from stack import http

FORK = [{"id": "judge", "kind": "transform", "input": ".input.n"},
        {"id": "big", "kind": "transform", "needs": ["judge"], "when": ".stages.judge > 10 # really", "input": "{big: .stages.judge}"},
        {"id": "small", "kind": "transform", "needs": ["judge"], "when": "def small: . <= 10; .stages.judge | small"},
        {"id": "only_big", "kind": "transform", "needs": ["big"], "input": "[.stages.big.big]"},
        {"id": "join", "kind": "transform", "needs": ["big", "small"]}]


async def run(stack, tenant, pipeline, data, key="k"):
    """One task to its end: its id, its last event, and the frames of its channel."""
    async with Client(stack.edge_url, tenant.key) as c:
        task = (await c.task(pipeline, data, key))["task"]
        end = await c.wait_end(task)
        return task, end, c


@pytest.mark.parametrize("n, ran, output", [
    (11, ["judge", "big", "only_big", "join"], {"only_big": [11], "join": {"big": {"big": 11}}}),
    (3, ["judge", "small", "join"], {"join": {"small": 3}})])
async def test_conditions(stack, tenant, n, ran, output):
    stack.control().pipeline("fork", FORK)
    task, end, c = await run(stack, tenant, "fork", {"n": n}, f"fork-{n}")
    assert end["type"] == "task.completed" and end["data"]["output"] == output, end
    skipped = [f["data"]["stage"] for f in c.events(f"task.{task}", "task.stage.skipped")]
    assert sorted(ran + skipped) == sorted(s["id"] for s in FORK)
    started = [f["data"]["stage"] for f in c.events(f"task.{task}", "task.stage.started")]
    assert sorted(started) == sorted(ran)
    audit.check_task(stack, tenant.id, task, ran)
    states = {s["id"]: s["state"] for s in tenant.http("GET", f"/v1/tasks/{task}")[2]["stages"]}
    assert states == {**{s: "completed" for s in ran}, **{s: "skipped" for s in skipped}}


async def test_a_condition_that_fails(stack, tenant):
    stack.control().pipeline("bad-when", [{"id": "a", "kind": "transform", "when": ".input.n | error"}])
    task, end, c = await run(stack, tenant, "bad-when", {"n": 1})
    assert (end["type"], end["data"]["stage"], end["data"]["reason"]) == ("task.failed", "a", "jq_error"), end


SAY = [{"id": "say", "kind": "publish", "input": '{channel: .input.channel, type: .input.type, data: {n: .input.n}}',
        "retry": {"max_attempts": 10, "initial_ms": 20, "max_ms": 500}},
       {"id": "told", "kind": "transform", "needs": ["say"]}]


async def test_publish(stack, tenant):
    """An event like any other: delivered, stored, with the offset that the stage's output says."""
    stack.control().pipeline("say", SAY)
    async with Client(stack.edge_url, tenant.key) as c:
        await c.subscribe("room.1")
        task = (await c.task("say", {"channel": "room.1", "type": "chat.message", "n": 1}, "say"))["task"]
        end = await c.wait_end(task)
        assert end["type"] == "task.completed", end
        event = await c.wait_event("room.1", "chat.message")
        output = end["data"]["output"]
        assert event["data"] == {"n": 1} and not output["duplicate"]
        assert (event["event_id"], event["offset"]) == (output["event_id"], output["offset"])
    audit.check_events(stack, tenant.id, [("room.1", {"n": 1}, output)])


@pytest.mark.parametrize("channel, type, reason", [
    ("room.1", "no.such.type", "unknown_type"), ("task.x", "chat.message", "forbidden"), ("a b", "chat.message", "bad_request")])
async def test_publish_is_admitted_like_everything(stack, tenant, channel, type, reason):
    stack.control().pipeline("say", SAY)
    task, end, c = await run(stack, tenant, "say", {"channel": channel, "type": type, "n": 1})
    assert (end["type"], end["data"]["stage"], end["data"]["reason"]) == ("task.failed", "say", reason), end


async def test_published_once_whoever_is_killed(private):
    """Workers and routers die under tasks that publish; each task's event is there once."""
    stack = private(workers=2, routers=2, env={"worker": {"PENSTOCK_WORKER_ACK_WAIT_MS": 1000}})
    tenant = Tenant(stack)
    stack.control().pipeline("say", SAY)
    async with Client(stack.edge_url, tenant.key) as c:
        tasks = []
        for i in range(60):
            tasks.append((await c.task("say", {"channel": "room.1", "type": "chat.message", "n": i}, f"say-{i}"))["task"])
            if i % 20 == 10:
                for name in (f"worker-{1 + i // 20 % 2}", f"router-{1 + i // 20 % 2}"):
                    stack.kill(name)
                    stack.start_one(name)
                stack.wait_ready()
        outputs = []
        for task in tasks:
            end = await c.wait_end(task)
            assert end["type"] == "task.completed", end
            outputs.append(end["data"]["output"])
    audit.check_events(stack, tenant.id, [("room.1", {"n": i}, o) for i, o in enumerate(outputs)])
    said = audit.channel_rows(stack, tenant.id, "room.1")
    assert sorted(data["n"] for _, _, _, data in said) == list(range(60))


@pytest.mark.parametrize("stage", [
    {"id": "a", "kind": "transform", "input": '"x" * 400'},
    {"id": "a", "kind": "chat", "model": "quick", "input": '"many words. " * 100'},
    {"id": "a", "kind": "http", "input": '{url: "%s/sim/knobs"}'}], ids=["transform", "chat", "http"])
async def test_bound_of_an_output(stack, tenant, stage):
    """Beyond its own bound a stage fails at once and for good, with words that say so."""
    name = f"bound-{tenant.id}"
    stack.control().pipeline(name, [{**stage, "input": stage["input"].replace("%s", stack.modelsim_url),
                                     "max_output_bytes": 60}])
    task, end, c = await run(stack, tenant, name, {})
    assert (end["type"], end["data"]["reason"]) == ("task.failed", "output_too_large"), end
    assert "60" in end["data"]["message"], end
    assert len(c.events(f"task.{task}", "task.stage.failed")) == 1


# Which bound a greedy one meets first depends on the machine.
HOSTILE = {"loops": ("def f: f; f", ["jq_timeout"]), "eats": ('[limit(1e9; repeat("x" * 1000))]', ["jq_memory", "jq_timeout"]),
           "grows": ('last(limit(1e9; "x" | recurse(. + .)))', ["jq_memory", "jq_timeout"])}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_transform(stack, tenant, name):
    """It fails its own task and says why; tasks beside it end well, and so do those behind it."""
    program, reasons = HOSTILE[name]
    c = stack.control()
    c.pipeline(f"hostile-{name}", [{"id": "a", "kind": "transform", "input": program}])
    other = Tenant(stack)
    async with Client(stack.edge_url, tenant.key) as bad, Client(stack.edge_url, other.key) as good:
        task = (await bad.task(f"hostile-{name}", {}, "h"))["task"]
        beside = [(await good.task("noop", {"i": i}, f"n{i}"))["task"] for i in range(20)]
        end = await bad.wait_end(task)
        assert end["type"] == "task.failed" and end["data"]["reason"] in reasons, end
        for t in beside:
            assert (await good.wait_end(t))["type"] == "task.completed"
        assert len(bad.events(f"task.{task}", "task.stage.failed")) == 1


async def test_embed(stack, tenant):
    c = stack.control()
    c.model("vectors", stack.modelsim_url + "/v1", model="sim-vectors")
    c.pipeline("embed", [{"id": "e", "kind": "embed", "model": "vectors", "input": "{input: .input, dimensions: 8}"}])
    task, end, c = await run(stack, tenant, "embed", ["a penstock", "a turbine"])
    assert end["type"] == "task.completed", end
    vectors = end["data"]["output"]["embeddings"]
    assert [len(v) for v in vectors] == [8, 8] and vectors[0] != vectors[1]
    assert end["data"]["usage"]["prompt_tokens"] == end["data"]["output"]["usage"]["prompt_tokens"] > 0


async def test_anthropic(stack, tenant):
    """The same document through both interfaces: the same words, streamed, with their usage."""
    c = stack.control()
    c.put("/models/claude", {"name": "claude", "kind": "anthropic", "url": stack.modelsim_url + "/v1",
                             "model": "sim-quick@token_ms=2"})
    text = "A penstock feeds a turbine. The gate decides how much water goes through."
    talk = '{messages: [{role: "system", content: "Be brief."}, {role: "user", content: .input}]}'
    c.pipeline("both", [{"id": i, "kind": "chat", "model": m, "input": talk} for i, m in (("a", "claude"), ("o", "quick"))])
    task, end, c = await run(stack, tenant, "both", text)
    assert end["type"] == "task.completed", end
    a, o = end["data"]["output"]["a"], end["data"]["output"]["o"]
    assert (a["text"], a["finish_reason"], set(a)) == (o["text"], o["finish_reason"], set(o)) and a["text"]
    assert a["usage"]["completion_tokens"] == o["usage"]["completion_tokens"] > 0
    assert "".join(d["data"] for d in c.deltas(task, "a")) == a["text"]


async def test_anthropic_cut_and_limited(stack, tenant):
    """A stream that is cut is tried again; its deltas are void."""
    c = stack.control()
    c.put("/models/claude-cut", {"name": "claude-cut", "kind": "anthropic", "url": stack.modelsim_url + "/v1",
                                 "model": f"sim-{tenant.id}"})
    assert http("POST", stack.modelsim_url + "/sim/knobs",
                {"model": f"sim-{tenant.id}", "token_ms": 20, "cut_rate": 1, "cut_after": 5, "cut_count": 1})[0] == 200
    name = f"cut-{tenant.id}"
    c.pipeline(name, [{"id": "a", "kind": "chat", "model": "claude-cut", "retry": {"initial_ms": 20}}])
    task, end, c = await run(stack, tenant, name, "A penstock feeds a turbine. It is a pipe with a gate.")
    assert end["type"] == "task.completed", end
    failed = [f["data"]["reason"] for f in c.events(f"task.{task}", "task.stage.failed")]
    assert failed == ["cut_stream"]
    assert "".join(d["data"] for d in c.deltas(task, "a") if d["attempt"] == 2) == end["data"]["output"]["text"]


async def test_a_model_that_cannot(stack, tenant):
    c = stack.control()
    c.put("/models/claude-e", {"name": "claude-e", "kind": "anthropic", "url": stack.modelsim_url + "/v1"})
    c.pipeline("cannot", [{"id": "a", "kind": "embed", "model": "claude-e"}])
    task, end, c = await run(stack, tenant, "cannot", "x")
    assert (end["type"], end["data"]["reason"]) == ("task.failed", "unsupported_model"), end


async def test_wait(stack, tenant):
    """A short one within the worker, and one that is parked and released."""
    c = stack.control()
    c.pipeline("waits", [{"id": "w", "kind": "wait", "input": ".input.ms"}, {"id": "z", "kind": "transform", "needs": ["w"]}])
    for ms in (200, 3000):
        task, end, c = await run(stack, tenant, "waits", {"ms": ms}, f"wait-{ms}")
        assert end["type"] == "task.completed", end
        output = end["data"]["output"]
        assert output["until"] - output["since"] == ms <= end["data"]["duration_ms"]
        parked = [f["data"] for f in c.events(f"task.{task}", "task.parked")]
        assert [p["reason"] for p in parked] == (["wait"] if ms > 2000 else [])
        assert all(p["not_before"] == output["until"] for p in parked)
        audit.check_task(stack, tenant.id, task, ["w", "z"])
