"""make demo: the main job on a private stack, shown in the terminal.

A client connects over WebSocket, submits this project's own README.md to the pipeline `summarize` (transform, chat on
model A, chat on model B, transform), its tokens stream in as they are made, the result arrives, and the timeline of
that one task is printed from PostgreSQL. Exit status 0 only if the result and the timeline are really there.
"""
import json
import os
import pathlib
import subprocess
import sys
import time

from stack import ROOT, Stack, StackError, wait_for

TOKEN_MS = 4  # of the simulated models: slow enough to be seen streaming


def say(text):
    bold = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold[0]}── {text}{bold[1]}\n", flush=True)


def query(stack, sql):
    """One value, by psql: what PostgreSQL itself says."""
    done = subprocess.run(["psql", "-XAtq", "-d", stack.pg_dsn, "-c", sql], capture_output=True, text=True)
    if done.returncode != 0:
        raise StackError(f"psql: {done.stderr.strip()}")
    return done.stdout.strip()


def penstock(stack, *args, **kw):
    env = {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")}
    env.update(PENSTOCK_EDGE_URL=stack.edge_url, PENSTOCK_CONTROL_URL=stack.control_url,
               PENSTOCK_ADMIN_KEY=stack.admin_key, PENSTOCK_KEY=stack.state["key"])
    return subprocess.run([str(stack.bin / "penstock"), *args], env=env, cwd=ROOT, timeout=120, **kw)


def main_job(stack):
    say("penstock task run summarize @README.md --follow")
    run = penstock(stack, "task", "run", "summarize", "@README.md", "--follow", stderr=subprocess.PIPE, text=True)
    words = run.stderr.split()
    if run.returncode != 0 or words[:1] != ["task"]:
        raise StackError(f"the task did not complete: {run.stderr.strip()}")
    return words[1]


def show_timeline(stack, task):
    # The live result comes before PostgreSQL has it: a moment later it must.
    wait_for("the task's end in PostgreSQL", lambda: query(
        stack, f"SELECT state FROM tasks WHERE task = '{task}'") == "completed", 10)
    say(f"penstock trace {task}")
    if penstock(stack, "trace", task).returncode != 0:
        raise StackError("there is no timeline")
    doc = json.loads(penstock(stack, "-o", "json", "trace", task, stdout=subprocess.PIPE).stdout)
    rows = int(query(stack, f"SELECT count(*) FROM events WHERE channel = 'task.{task}'"))
    done = [a for a in doc["attempts"] if a["state"] == "completed"]
    if rows != len(doc["events"]) or len(done) != 4 or not doc["session"]:
        raise StackError(f"the timeline is not whole: {rows} rows, {len(doc['events'])} events, {len(done)} stages")
    return rows


def run(args):
    begin = time.monotonic()
    folder = pathlib.Path(args.dir) / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    say("a private stack: nats-server, PostgreSQL, five services, a model simulator")
    stack = Stack(folder, bin=args.bin, die=True, knobs={"token_ms": TOKEN_MS, "first_token_ms": 60})
    try:
        stack.start()
        stack.provision()
        for name, pid, word, url in stack.status():
            print(f"  {name:<12} {pid or '-':>8}  {word:<6} {url}")
        task = main_job(stack)
        rows = show_timeline(stack, task)
    finally:
        stack.stop()
    print(f"\nThe result arrived, and its {rows} events are in PostgreSQL. {time.monotonic() - begin:.1f} s; the stack is "
          f"stopped.\nmake up starts one that stays.")
    return 0
