"""Who runs next in a worker: a tenant whose calls never end leaves a slot to the others."""
import pytest

from client import Client
from conftest import Tenant, chat, end_stack, make_stack, provision

SLOTS = 8


@pytest.fixture(scope="module")
def narrow():
    stack = make_stack(edges=1, routers=1, workers=1, stores=1, env={"worker": {"PENSTOCK_WORKER_SLOTS": SLOTS}})
    try:
        provision(stack.start())
        c = stack.control()
        c.model("stuck", stack.modelsim_url + "/v1", model="sim-stuck@hang=1")
        c.pipeline("stuck", [chat("talk", "stuck")])
        yield stack
    finally:
        end_stack(stack)


async def test_a_tenant_that_hangs_does_not_shut_out_another(narrow):
    greedy, modest = Tenant(narrow), Tenant(narrow)
    async with Client(narrow.edge_url, greedy.key) as a, Client(narrow.edge_url, modest.key) as b:
        tasks = [(await a.task("stuck", f"Text {i}.", f"stuck-{i}"))["task"] for i in range(3 * SLOTS)]
        await a.wait(lambda f: len([e for t in tasks for e in a.events(f"task.{t}", "task.stage.started")]) == SLOTS - 1)
        for i in range(5):  # one after the other, each in the slot that is left
            task = (await b.task("quick", f"Text {i}.", f"quick-{i}"))["task"]
            assert (await b.wait_end(task))["type"] == "task.completed"
        started = [t for t in tasks if a.events(f"task.{t}", "task.stage.started")]
        assert len(started) == SLOTS - 1, "all the slots but one are one tenant's"
        for task in tasks:
            await a.call(op="cancel", task=task)
