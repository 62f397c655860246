"""The operators' command, against real services: what it prints, in both forms, and with which status it ends."""
import json
import secrets
import subprocess

import pytest

import audit
from conftest import BIN, NOOP
from stack import wait_for


@pytest.fixture
def name():
    return "n" + secrets.token_hex(5)


def lines(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_tenant_key_type(penstock, stack, name):
    """From nothing to a tenant that publishes."""
    made = penstock("-o", "json", "tenant", "create", name, "--name", "Ünïcode & Co", "--weight", "3")
    assert made["id"] == name and made["name"] == "Ünïcode & Co" and made["weight"] == 3
    assert penstock("-o", "json", "tenant", "get", name)["name"] == "Ünïcode & Co"
    assert name in [t["id"] for t in penstock("-o", "json", "tenant", "list")]
    table = penstock("tenant", "list", parse=False).stdout.splitlines()
    assert table[0].split()[0].lower() == "tenant" and any(name in line and "active" in line for line in table[1:])

    limits = penstock("-o", "json", "tenant", "limits", name, "events_per_s=50", "burst=60", "mode=shadow")
    assert (limits["events_per_s"], limits["burst"], limits["mode"]) == (50, 60, "shadow")
    assert penstock("-o", "json", "tenant", "limits", name)["events_per_s"] == 50

    penstock("-o", "json", "type", "create", name, "note", "durable", '{"type":"object"}')
    key = penstock("-o", "json", "key", "create", name, "--name", "mine", "--scopes", "publish,subscribe")
    secret = next(v for v in key.values() if str(v).startswith("pk_"))
    listed = penstock("-o", "json", "key", "list", name, parse=False).stdout
    assert secret.split("_")[1] in listed and secret not in listed and secret.split("_", 2)[2] not in listed

    def published():
        done = penstock("-o", "json", "publish", "room.1", "note", '{"n":1}', "--key", "k1", key=secret, ok=False)
        return done.returncode == 0 and json.loads(done.stdout)
    accepted = wait_for("the key at the edge", published)
    assert accepted["offset"] > 0
    again = penstock("-o", "json", "publish", "room.1", "note", '{"n":1}', "--key", "k1", key=secret)
    assert again["duplicate"] and again["event_id"] == accepted["event_id"]
    refused = penstock("task", "run", "noop", "1", key=secret, ok=False)
    assert refused.returncode == 1 and "forbidden" in refused.stderr.lower() + refused.stdout.lower()

    penstock("key", "revoke", name, secret.split("_")[1], parse=False)
    wait_for("the end of the key", lambda: penstock(
        "publish", "room.1", "note", "{}", key=secret, ok=False).returncode == 1)
    penstock("tenant", "suspend", name, parse=False)
    assert penstock("-o", "json", "tenant", "get", name)["status"] == "suspended"
    penstock("tenant", "resume", name, parse=False)
    assert penstock("-o", "json", "tenant", "get", name)["status"] == "active"


def test_model_and_pipeline(penstock, stack, name):
    doc = {"kind": "openai", "url": stack.modelsim_url + "/v1", "model": "sim-" + name}
    penstock("model", "put", name, json.dumps(doc), parse=False)
    assert penstock("-o", "json", "model", "get", name)["url"] == doc["url"]
    penstock("model", "put", name, "-", input=json.dumps({**doc, "timeout_ms": 5000}), parse=False)
    assert penstock("-o", "json", "model", "get", name)["timeout_ms"] == 5000
    assert name in penstock("model", "list", parse=False).stdout
    penstock("pipeline", "put", name, json.dumps({"stages": NOOP}), parse=False)
    assert [s["id"] for s in penstock("-o", "json", "pipeline", "get", name)["stages"]] == ["s1", "s2", "s3", "s4"]
    assert name in penstock("pipeline", "list", parse=False).stdout
    penstock("model", "delete", name, parse=False)
    assert penstock("model", "get", name, ok=False).returncode == 1


def test_subscribe(penstock, stack, name):
    for i in range(3):
        penstock("-o", "json", "publish", f"room.{name}", "chat.message", json.dumps({"text": f"{i} äöü"}))
    got = lines(penstock("-o", "json", "subscribe", f"room.{name}", "--after", "0", "--count", "3", parse=False))
    assert [f["data"]["text"] for f in got if f["op"] == "event"] == ["0 äöü", "1 äöü", "2 äöü"]
    table = penstock("subscribe", f"room.{name}", "--after", "0", "--count", "2", parse=False)
    assert len(table.stdout.splitlines()) == 2 and "0 äöü" in table.stdout.splitlines()[0]
    few = penstock("subscribe", f"room.{name}", "--after", "0", "--count", "4", "--timeout", "1", ok=False)
    assert few.returncode == 1 and len(few.stdout.splitlines()) == 3


def test_task_and_trace(penstock, stack, name, tmp_path):
    document = tmp_path / "document.md"
    document.write_text("# A title\n\nThe gate decides how much water goes through the pipe. The pipe feeds a turbine.\n")
    done = penstock("task", "run", "summarize", f"@{document}", "--key", name, "--follow", parse=False)
    assert "gate" in done.stdout and "A title" in done.stdout
    task = done.stderr.split("task ")[1].split()[0]
    again = penstock("task", "run", "summarize", f"@{document}", "--key", name, "--follow", parse=False)
    assert task in again.stderr and "before" in again.stderr

    audit.wait_task(stack, "demo", task)
    assert penstock("-o", "json", "task", "get", task)["state"] == "completed"
    assert "completed" in penstock("task", "get", task, parse=False).stdout
    table = penstock("trace", task, parse=False).stdout
    for word in (task, "prepare", "draft", "refine", "assemble", "router-", "worker-", "sim-a", "sim-b", "completed"):
        assert word in table, (word, table)
    timeline = penstock("-o", "json", "trace", task)
    event = audit.channel_rows(stack, "demo", f"task.{task}")[0][1]
    text = json.dumps(timeline)
    assert event in text and "task.completed" in text
    assert penstock("-o", "json", "trace", event) is not None


def test_task_run_without_following(penstock, stack, name):
    accepted = penstock("-o", "json", "task", "run", "noop", '{"n": 5}', "--key", name)
    audit.wait_task(stack, "demo", accepted["task"])
    assert penstock("-o", "json", "task", "get", accepted["task"])["output"] == {"n": 5}
    slow = penstock("-o", "json", "task", "run", "slow", '"One. Two. Three. Four."', "--key", name + "-s")
    penstock("task", "cancel", slow["task"], parse=False)
    assert audit.wait_task(stack, "demo", slow["task"])[0] == "cancelled"


def test_a_task_that_fails_is_status_1(penstock, stack, name):
    stack.control().model(name, stack.modelsim_url + "/v1", model="not-there")
    stack.control().pipeline(name, [{"id": "a", "kind": "chat", "model": name, "input": '{messages: [{role: "user", content: "x"}]}'}])

    def ended():
        done = penstock("task", "run", name, "1", "--follow", ok=False)
        return "not_found: no such pipeline" not in done.stderr and "task.failed" in done.stderr and done
    assert wait_for("the pipeline", ended).returncode == 1


@pytest.mark.parametrize("args", [
    [], ["nothing"], ["tenant"], ["tenant", "get"], ["tenant", "create"], ["-o", "xml", "tenant", "list"], ["-o"],
    ["--no-such-option", "x"], ["publish", "room.1", "chat.message"], ["publish", "room.1", "chat.message", "{"],
    ["tenant", "create", "x", "--weight"], ["tenant", "create", "x", "--nothing", "1"], ["subscribe"],
    ["subscribe", "room.1", "--count", "none"], ["task", "run", "noop"], ["task", "run", "noop", "@/no/such/file"],
    ["task", "run", "noop", "1", "--deadline", "soon"], ["model", "put", "m", "not json"]], ids=" ".join)
def test_wrong_use_is_status_2(penstock, args):
    done = penstock(*args, ok=False)
    assert done.returncode == 2 and done.stderr and not done.stdout, done


@pytest.mark.parametrize("args", [
    ["tenant", "get", "nobody"], ["tenant", "create", "demo"], ["tenant", "create", "a.b"], ["model", "get", "nothing"],
    ["pipeline", "get", "nothing"], ["pipeline", "put", "bad", '{"stages": []}'], ["key", "list", "nobody"],
    ["key", "revoke", "demo", "nothing"], ["publish", "room.1", "never.declared", "{}"], ["publish", "a b", "chat.message", "{}"],
    ["task", "get", "0197a000-0000-7000-8000-000000000000"], ["task", "run", "nowhere", "1"],
    ["trace", "0197a000-0000-7000-8000-000000000000"], ["trace", "no-id"], ["tenant", "limits", "demo", "burst=-5"],
    ["--key", "pk_a_b", "publish", "room.1", "chat.message", "{}"], ["--admin-key", "ak_wrong", "tenant", "list"],
    ["--control", "http://127.0.0.1:9", "tenant", "list"], ["--edge", "http://127.0.0.1:9", "publish", "r", "chat.message", "{}"],
    ["--edge", "http://127.0.0.1:9", "subscribe", "room.1"]], ids=" ".join)
def test_what_is_refused_is_status_1(penstock, args):
    done = penstock(*args, ok=False)
    assert done.returncode == 1 and done.stderr.startswith("penstock: ") and not done.stdout, done


def test_help(penstock):
    done = penstock("--help", parse=False)
    for word in ("trace", "tenant", "key", "type", "model", "pipeline", "publish", "subscribe", "task"):
        assert word in done.stdout
    assert "subscribe" not in penstock("tenant", "--help", parse=False).stdout.split("suspend")[1][:40]


def test_nothing_is_configured(tmp_path):
    """Without settings it says what is missing."""
    for args in (["tenant", "list"], ["publish", "room.1", "chat.message", "{}"]):
        done = subprocess.run([str(BIN / "penstock"), *args], env={"PATH": "/usr/bin"}, cwd=tmp_path, capture_output=True,
                              text=True, timeout=20)
        assert done.returncode in (1, 2) and done.stderr.startswith("penstock: "), done
