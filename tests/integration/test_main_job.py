"""The main job: a document goes in over a socket, tokens come out as they are made, and the log has it all."""
import json
import pathlib

import audit
from client import Client
from conftest import PIPELINES
from stack import SUMMARIZE

README = (pathlib.Path(__file__).resolve().parents[2] / "README.md")
DOCUMENT = """# The gate

A penstock is a gated pipe that feeds a turbine. The gate decides how much water goes through the pipe, and when.
Without the gate a flood of water would break the turbine. A wide pipe alone does not help the turbine.

```
not a sentence of the document at all
```

- Water that may not go through the gate waits in the reservoir.
- The keeper of the gate writes down how much water went through.
"""


def stages(pipeline):
    return [s["id"] for s in pipeline]


async def test_summarize_from_socket_to_postgresql(stack, tenant):
    async with Client(stack.edge_url, tenant.key) as c:
        accepted = await c.task("summarize", DOCUMENT, "job-1")
        task = accepted["task"]
        channel = f"task.{task}"
        assert accepted["channel"] == channel and accepted["offset"] > 0 and not accepted["duplicate"]
        end = await c.wait_end(task)
        assert end["type"] == "task.completed", end
        frames = c.events(channel)

    # The transitions, in the order of a chain of four stages, each link pointing at the one before.
    want = ["task.accepted", "task.started"]
    for s in stages(SUMMARIZE):
        want += [f"task.stage.started {s}", f"task.stage.completed {s}"]
    want.append("task.completed")
    assert [f["type"] + (" " + f["data"]["stage"] if "stage" in f["data"] else "") for f in frames] == want
    assert frames[0]["offset"] == accepted["offset"] and frames[0]["prev"] == 0
    assert all(b["prev"] == a["offset"] and b["offset"] > a["offset"] for a, b in zip(frames, frames[1:]))

    # The answer is made of the document, and the deltas are the answer.
    output = end["data"]["output"]
    assert output["title"] == "The gate"
    assert "gate" in output["summary"] and output["summary"] in output["summary"].strip()
    assert "not a sentence" not in json.dumps(output)
    done = {f["data"]["stage"]: f["data"] for f in frames if f["type"] == "task.stage.completed"}
    for stage in ("draft", "refine"):
        deltas = c.deltas(task, stage)
        assert [d["index"] for d in deltas] == list(range(len(deltas)))
        assert {d["attempt"] for d in deltas} == {1}
        assert "".join(d["data"] for d in deltas) == done[stage]["output"]["text"]
        assert done[stage]["usage"]["completion_tokens"] > 0 and done[stage]["latency_ms"] >= 0
    assert end["data"]["usage"]["total_tokens"] == output["tokens"]

    # And PostgreSQL says the same, row by row.
    log = audit.check_task(stack, tenant.id, task, stages(SUMMARIZE))
    assert [t for t, _ in log] == [f["type"] for f in frames]
    rows = audit.channel_rows(stack, tenant.id, channel)
    assert [(seq, id, data) for seq, id, _, data in rows] == [(f["offset"], f["event_id"], f["data"]) for f in frames]
    state, stored, _ = audit.wait_task(stack, tenant.id, task)
    assert (state, stored) == ("completed", output)


async def test_the_projects_own_readme(stack, tenant):
    if not README.exists():  # the tests also run on a part of the tree
        document = DOCUMENT
    else:
        document = README.read_text()
    async with Client(stack.edge_url, tenant.key) as c:
        task = (await c.task("summarize", {"document": document}, "readme"))["task"]
        end = await c.wait_end(task)
    assert end["type"] == "task.completed"
    first = end["data"]["output"]["key_sentences"].split()[:3]
    assert all(word in document for word in first)


async def test_tokens_stream_while_they_are_made(stack, tenant):
    async with Client(stack.edge_url, tenant.key) as c:
        task = (await c.task("slow", DOCUMENT, "slow-1"))["task"]
        await c.wait(lambda f: f["op"] == "delta" and f["task"] == task)
        assert not c.events(f"task.{task}", "task.stage.completed")[1:], "the stage was over before its first delta"
        await c.wait_end(task)
        # 25 ms a token and 40 ms a roll-up: many deltas, but fewer than tokens.
        deltas = c.deltas(task, "talk")
        tokens = [f for f in c.events(f"task.{task}", "task.stage.completed") if f["data"]["stage"] == "talk"][0][
            "data"]["usage"]["completion_tokens"]
        assert 3 <= len(deltas) <= tokens


async def test_a_task_is_followed_by_others_and_later(stack, tenant):
    """From another edge, over HTTP, and from the log after it has ended."""
    async with Client(stack.url("edge-1"), tenant.key) as a, Client(stack.url("edge-2"), tenant.key) as b:
        task = (await a.task("slow", DOCUMENT, "followed"))["task"]
        channel = f"task.{task}"
        await b.subscribe(channel, {"epoch": "", "offset": 0})
        end_a, end_b = await a.wait_end(task), await b.wait_end(task)
        assert end_a["event_id"] == end_b["event_id"]
        assert [f["event_id"] for f in b.events(channel)] == [f["event_id"] for f in a.events(channel)]
        audit.wait_task(stack, tenant.id, task)
        async with Client(stack.url("edge-2"), tenant.key) as late:
            await late.subscribe(channel, {"epoch": "", "offset": 0})
            await late.wait_end(task)
            assert [f["event_id"] for f in late.events(channel)] == [f["event_id"] for f in a.events(channel)]
    status, _, doc = tenant.http("GET", f"/v1/tasks/{task}")
    assert status == 200 and doc["state"] == "completed" and doc["task"] == task
    status, _, page = tenant.http("GET", f"/v1/channels/{channel}/events?after=0&limit=100")
    assert [e["event_id"] for e in page["events"]] == [f["event_id"] for f in a.events(channel)]


async def test_task_over_http(stack, tenant):
    status, _, accepted = tenant.http("POST", "/v1/tasks", {"pipeline": "noop", "input": {"n": 7}},
                                      headers={"Idempotency-Key": "http-1"})
    assert status == 202, accepted
    audit.check_task(stack, tenant.id, accepted["task"], stages(PIPELINES["noop"]))
    assert audit.wait_task(stack, tenant.id, accepted["task"])[1] == {"n": 7}


async def test_cancel_stops_the_model_call(stack, tenant):
    async with Client(stack.edge_url, tenant.key) as c:
        task = (await c.task("slow", DOCUMENT, "cancel-me"))["task"]
        await c.wait(lambda f: f["op"] == "delta" and f["task"] == task)
        await c.call(op="cancel", task=task)
        assert (await c.wait_end(task))["type"] == "task.cancelled"
    audit.check_task(stack, tenant.id, task, [], "cancelled")


async def test_a_disconnect_does_not_cancel(stack, tenant):
    async with Client(stack.edge_url, tenant.key) as c:
        task = (await c.task("slow", DOCUMENT, "left-alone"))["task"]
    audit.check_task(stack, tenant.id, task, stages(PIPELINES["slow"]))


async def test_two_hundred_tasks_at_once(stack, tenant):
    """Many in flight in one process, and every one complete and in order."""
    tasks = []
    async with Client(stack.edge_url, tenant.key) as a, Client(stack.url("edge-2"), tenant.key) as b:
        for i in range(100):
            tasks.append(await a.task("noop", {"n": i}, f"many-a-{i}"))
            tasks.append(await b.task("noop", {"n": i}, f"many-b-{i}"))
        for c, mine in ((a, tasks[0::2]), (b, tasks[1::2])):
            for t in mine:
                assert (await c.wait_end(t["task"]))["type"] == "task.completed"
    for t in tasks[::20]:
        audit.check_task(stack, tenant.id, t["task"], stages(PIPELINES["noop"]))
    audit.rows(stack, "SELECT 1")
