"""What waits where: pools apart from each other, and who is refused at a full backlog comes in later."""
import asyncio
import time

import pytest

from client import Client, Refused
from conftest import Tenant, chat, make_stack, provision, end_stack
from stack import http, wait_for

TEXT = "One. Two. Three. Four."


@pytest.fixture(scope="module")
def narrow():
    """One worker with one slot for each pool: a window holds two tasks."""
    stack = make_stack(env={"worker": {"PENSTOCK_WORKER_SLOTS": 1, "PENSTOCK_WORKER_BATCH_SLOTS": 1}})
    try:
        yield provision(stack.start())
    finally:
        end_stack(stack)


def router_says(stack, name, pool):
    text = http("GET", stack.url("admin-router-1") + "/metrics")[2]
    line = f'{name}{{pool="{pool}"}} '
    return next(float(row[len(line):]) for row in text.splitlines() if row.startswith(line))


async def test_interactive_work_does_not_wait_behind_batch_work(narrow):
    t = Tenant(narrow)
    async with Client(narrow.edge_url, t.key) as c:
        batch = [(await c.task("slow", TEXT, f"b{i}", priority=-1))["task"] for i in range(6)]
        wait_for("the batch backlog is seen", lambda: router_says(narrow, "penstock_router_backlog_tasks", "batch") >= 2, 10)
        mine = (await c.task("noop", {}, "mine"))["task"]
        await c.wait_end(mine)
        done = sum(bool(c.events(f"task.{task}", "task.completed")) for task in batch)
        assert done < 4, "it waited behind its tenant's batch tasks"
        for task in batch:
            assert (await c.wait_end(task))["type"] == "task.completed"
        order = [f["channel"] for f in c.frames if f.get("type") == "task.completed" and f["channel"] != f"task.{mine}"]
        assert order == [f"task.{task}" for task in batch], "batch tasks overtook each other"


async def test_cancelled_in_the_backlog(narrow):
    """Its ticket comes through the window, and gives its place back."""
    t = Tenant(narrow)
    async with Client(narrow.edge_url, t.key) as c:
        tasks = [(await c.task("slow", TEXT, f"c{i}"))["task"] for i in range(5)]
        await c.call(op="cancel", task=tasks[3])
        assert [(await c.wait_end(task))["type"] for task in tasks] == ["task.completed"] * 3 + [
            "task.cancelled", "task.completed"]
    wait_for("the window is empty", lambda: router_says(
        narrow, "penstock_router_window_tasks", "default") == 0, 20)


async def test_full_backlog(narrow):
    """rate_limited, and whoever comes back after retry_after_ms gets in: all of them in the end."""
    t = Tenant(narrow, {"tasks_queued": 3})
    async with Client(narrow.edge_url, t.key) as c:
        waits = []

        async def insist(i):
            while True:
                try:
                    return (await c.task("slow", TEXT, f"k{i}"))["task"]
                except Refused as e:
                    frame = e.frame
                    assert frame["code"] == "rate_limited" and frame["scope"] == "tenant", frame
                    assert frame["details"]["limit"] == "tenant.tasks_queued" and frame["temporary"], frame
                    waits.append(frame["retry_after_ms"])
                    await asyncio.sleep(frame["retry_after_ms"] / 1000)
        start = time.monotonic()
        tasks = await asyncio.gather(*[insist(i) for i in range(9)])
        assert waits and all(500 <= w <= 60000 for w in waits), waits
        for task in tasks:
            assert (await c.wait_end(task))["type"] == "task.completed"
        assert time.monotonic() - start < 120


async def test_calls_of_a_full_model_take_turns(stack):
    """One tenant's calls fill a model and its line; another's find a place between them, not behind them."""
    c = stack.control()
    c.model("popular", stack.modelsim_url + "/v1", model="sim-popular@first_token_ms=1000,token_ms=0",
            limits={"concurrent": 4})
    c.pipeline("popular", [chat("talk", "popular")])
    greedy, modest = Tenant(stack), Tenant(stack)
    async with Client(stack.edge_url, greedy.key) as a, Client(stack.edge_url, modest.key) as b:
        tasks = [(await a.task("popular", TEXT, f"g{i}"))["task"] for i in range(60)]
        await a.wait(lambda f: all(a.events(f"task.{t}", "task.stage.started") for t in tasks))
        for i in range(2):
            task = (await b.task("popular", TEXT, f"m{i}"))["task"]
            assert (await b.wait_end(task))["type"] == "task.completed"
        ended = sum(bool(a.events(f"task.{t}", "task.completed")) for t in tasks)
        assert ended < len(tasks) - 4, "another tenant's call waited behind all of them"
        for task in tasks:
            await a.call(op="cancel", task=task)
