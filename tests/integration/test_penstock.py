"""The operators' command against a whole stack."""
import json
import secrets

import audit
from client import Client


def one(prefix):
    return f"{prefix}-{secrets.token_hex(4)}"


def test_from_a_new_tenant_to_its_timeline(stack, penstock):
    """What an operator does on the first day, with nothing but the command."""
    tenant, pipeline = one("acme"), one("p")
    penstock("-o", "json", "tenant", "create", tenant, "--name", "Acme")
    assert tenant in {t["id"] for t in penstock("-o", "json", "tenant", "list")}
    assert tenant in penstock("tenant", "list", parse=False).stdout
    key = penstock("-o", "json", "key", "create", tenant)
    secret = next(v for v in key.values() if str(v).startswith("pk_"))
    assert secret not in penstock("-o", "json", "key", "list", tenant, parse=False).stdout
    penstock("-o", "json", "type", "create", tenant, "note", "durable")
    penstock("-o", "json", "model", "put", "cli-model", "-", input=json.dumps(
        {"name": "cli-model", "kind": "openai", "url": stack.modelsim_url + "/v1", "model": "sim-a"}))
    penstock("-o", "json", "pipeline", "put", pipeline, "-", input=json.dumps({"stages": [
        {"id": "talk", "kind": "chat", "model": "cli-model",
         "input": '{messages: [{role: "user", content: .input}]}'}]}))

    def publish():
        return penstock("-o", "json", "publish", "room.1", "note", '{"text": "hello"}', "--key", "k", key=secret,
                        ok=False)
    from stack import wait_for
    done = wait_for("the first event", lambda: (lambda d: d if d.returncode == 0 else None)(publish()))
    event = json.loads(done.stdout)["event_id"]
    run = penstock("task", "run", pipeline, '"Water goes through the gate. The gate is open now."', "--follow",
                   key=secret, parse=False)
    assert "gate" in run.stdout
    task = run.stderr.split()[1]
    audit.check_task(stack, tenant, task, ["talk"])
    doc = penstock("-o", "json", "trace", task)
    assert [e["type"] for e in doc["events"]][0] == "task.accepted"
    assert doc["attempts"][0]["stage"] == "talk" and doc["attempts"][0]["state"] == "completed"
    text = penstock("trace", task, parse=False).stdout
    assert task in text and "talk" in text and "sim" not in tenant
    audit.wait_stored(stack, tenant, [event])
    assert event in penstock("trace", event, parse=False).stdout


async def test_trace_of_a_session(stack, tenant, penstock):
    async with Client(stack.edge_url, tenant.key) as c:
        session = c.connected["session"]
        answer = await c.publish("room.1", {"n": 1})
        task = (await c.task("noop", {}, "k"))["task"]
        await c.wait_end(task)
    audit.wait_stored(stack, tenant.id, [answer["event_id"]])
    audit.wait_task(stack, tenant.id, task)
    doc = penstock("-o", "json", "trace", session)
    assert doc["kind"] == "session" and doc["session"] == session
    channels = [e["channel"] for e in doc["events"]]
    assert channels[0] == "room.1" and set(channels[1:]) == {f"task.{task}"}
    assert doc["events"][-1]["type"] == "task.completed"
    text = penstock("trace", session, parse=False).stdout
    assert all(e["event_id"] in text for e in doc["events"]) and answer["event_id"] in text
    assert f"task     {task}  noop version 1  completed\n" in text


def test_subscribe_prints_what_was_and_what_comes(stack, tenant, penstock):
    for i in range(3):
        assert tenant.http("POST", "/v1/events", {"channel": "room.1", "type": "chat.message",
                                                  "data": {"word": f"w{i}"}})[0] == 202
    done = penstock("subscribe", "room.1", "--after", "0", "--count", "3", "--timeout", "20", key=tenant.key,
                    parse=False)
    at = [done.stdout.index(f"w{i}") for i in range(3)]
    assert at == sorted(at)


def test_what_goes_wrong_is_said(stack, penstock):
    for args in (["trace", "11111111-1111-4111-8111-111111111111"], ["tenant", "get", "nosuch"], ["nosuch"],
                 ["task", "run", "nosuch", "1"], ["publish", "room.1", "no.such", "{}"], ["publish", "room.1"],
                 ["model", "put", "m", "{"], ["--control", "http://127.0.0.1:1", "tenant", "list"],
                 ["--admin-key", "wrong", "tenant", "list"]):
        done = penstock(*args, ok=False)
        assert done.returncode not in (0, -11, -6) and done.stderr.strip(), (args, done)
