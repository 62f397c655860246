"""Accounting: every ended call is in the sums once, also when the event-store dies in the middle."""
import asyncio

from client import Client
from conftest import Tenant, chat
from stack import http, wait_for

TEXT = "One. Two. Three. Four."
PRICE = {"input": 0.25, "output": 2}


def usage(stack, **query):
    words = "&".join(f"{k}={v}" for k, v in query.items())
    status, _, doc = http("GET", f"{stack.control_url}/v1/usage?{words}", token=stack.admin_key)
    assert status == 200, doc
    return doc["items"]


async def run_some(t, stack, n, prefix):
    """Runs n tasks of one call each; the sum of what their last events say they took."""
    total = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    async with Client(stack.edge_url, t.key) as c:
        tasks = [(await c.task("priced", TEXT, f"{prefix}{i}"))["task"] for i in range(n)]
        for task in tasks:
            end = await c.wait_end(task)
            assert end["type"] == "task.completed", end
            for name in total:
                total[name] += end["data"]["usage"][name]
    return tasks, total


def provide(stack):
    control = stack.control()
    control.model("priced", stack.modelsim_url + "/v1", model="sim-quick", price=PRICE)
    control.pipeline("priced", [chat("talk", "priced")])


async def test_usage_by_day_task_and_command(stack, penstock):
    provide(stack)
    t = Tenant(stack)
    tasks, total = await run_some(t, stack, 3, "u")
    wait_for("the sums", lambda: sum(i["calls"] for i in usage(stack, tenant=t.id)) >= 3)
    items = usage(stack, tenant=t.id)
    assert sum(i["calls"] - i["failed"] for i in items) == 3
    assert all((i["pipeline"], i["model"], i["tenant"]) == ("priced", "priced", t.id) for i in items)
    one, = usage(stack, tenant=t.id, by="tenant")
    assert total["total_tokens"] > 0 and {name: one[name] for name in total} == total
    cost = (total["prompt_tokens"] * PRICE["input"] + total["completion_tokens"] * PRICE["output"]) / 1e6
    assert abs(one["cost"] - cost) < 1e-9
    of_task, = usage(stack, tenant=t.id, task=tasks[0])
    assert of_task["task"] == tasks[0] and of_task["calls"] - of_task["failed"] == 1
    said = penstock("-o", "json", "usage", "--tenant", t.id, "--by", "tenant")
    assert said[0]["total_tokens"] == total["total_tokens"] and said[0]["calls"] >= 3
    table = penstock("usage", "--tenant", t.id, parse=False).stdout.splitlines()
    assert table[0].split()[0] == "DAY" and any(t.id in line and "priced" in line for line in table[1:])


async def test_event_store_killed_in_the_middle(private):
    """Killed over and over while events come: each time it goes on where its last transaction ended."""
    stack = private()
    provide(stack)
    t = Tenant(stack)
    n = 120
    running = asyncio.ensure_future(run_some(t, stack, n, "k"))
    kills = 0
    while not running.done() or kills < 4:
        await asyncio.to_thread(stack.wait_ready, "store-1")
        await asyncio.sleep(0.02 * kills)  # a little further each time
        stack.kill("store-1")
        kills += 1
        await asyncio.to_thread(stack.start_one, "store-1")
    _, total = await running
    await asyncio.to_thread(stack.wait_ready, "store-1")

    def done():
        sums = usage(stack, tenant=t.id, by="tenant")
        return sums and sums[0]["calls"] - sums[0]["failed"] >= n and sums[0]
    one = wait_for("the sums", done)
    await asyncio.sleep(1)  # nothing comes behind
    assert usage(stack, tenant=t.id, by="tenant") == [one]
    assert one["calls"] - one["failed"] == n and {name: one[name] for name in total} == total
