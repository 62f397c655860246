"""The JavaScript client in Node and in Chromium against a real stack, also while its parts are killed."""
import json
import os
import re
import signal

import pytest

import audit
from conftest import Tenant, running_stack
from line import Line
from natsraw import Nats
from runtimes import ROOT, Missing, Node
from stack import http, wait_for
from tokens import Signer

DOCUMENT = "A penstock feeds a turbine. The gate decides how much water goes through. " * 6

# What the pieces below share. `open` remembers what its client went through; a publisher sends one event after the
# other under keys of its own until it is told to end; a reader keeps all that it sees of a channel.
PRELUDE = """
globalThis.all = [];
globalThis.open = (options) => {
	const client = penstock.connect({ backoff: { min_ms: 50, max_ms: 500 }, ...options });
	client.trail = [];
	client.on("state", (s) => client.trail.push(s.state));
	client.told = [];
	client.on("session", (s) => client.told.push(s));
	client.drains = [];
	client.on("drain", (d) => client.drains.push(d));
	all.push(client);
	return client;
};
globalThis.sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
globalThis.until = async (what, predicate, ms = 30000) => {
	const end = Date.now() + ms;
	for (;;) {
		const value = predicate();
		if (value) return value;
		if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
		await sleep(10);
	}
};
globalThis.publisher = (client, channel) => {
	const p = { acked: [], going: true };
	p.done = (async () => {
		while (p.going) {
			const data = { n: p.acked.length };
			const answer = await client.publish(channel, "chat.message", data);
			p.acked.push([channel, data, answer]);
			await sleep(5);
		}
	})();
	p.done.catch(() => {});
	return p;
};
globalThis.reader = (client, channel, options) => {
	const r = { seen: [], gaps: [], sub: client.subscribe(channel, options) };
	r.sub.on("gap", (g) => r.gaps.push(g));
	r.done = (async () => {
		for await (const e of r.sub) r.seen.push(e);
	})();
	r.done.catch((e) => (r.error = e));
	return r;
};
"""


@pytest.fixture(scope="module")
def broken():
    """Two of what is killed, one router; short waits, so that what is waited for is what happens."""
    with running_stack(edges=2, routers=1, workers=2, stores=1, env={
        "worker": {"PENSTOCK_WORKER_ACK_WAIT_MS": 2000, "PENSTOCK_WORKER_GRACE_MS": 2000},
        "edge": {"PENSTOCK_EDGE_COMMAND_MS": 1500, "PENSTOCK_EDGE_PING_MS": 1000, "PENSTOCK_EDGE_PONG_MS": 500}}) as stack:
        yield stack


@pytest.fixture
def stack(broken):
    """Whole again, whatever the test before has left."""
    for name in broken.names():
        broken.start_one(name)
    broken.wait_ready()
    return broken


@pytest.fixture(params=["node", "chromium"])
def js(request):
    """A fresh place to run JavaScript in. Errors that nobody caught fail the test."""
    if request.param == "node":
        try:
            place = Node()
        except Missing as e:
            pytest.skip(str(e))
    else:
        place = request.getfixturevalue("browser").page()
    place.run(PRELUDE)
    yield place
    place.run("for (const client of all) client.close();")
    stray = list(place.stray)
    place.close()
    assert stray == []


def urls(stack):
    return [stack.url("edge-1"), stack.url("edge-2")]


def test_publish_and_subscribe(stack, tenant, js):
    got = js.run("""
        globalThis.a = open(args);
        await a.ready;
        const r = reader(a, "room.1");
        const place = await r.sub.ready;
        const answers = [];
        for (let n = 0; n < 20; n++) answers.push(await a.publish("room.1", "chat.message", { n }));
        const again = await a.publish("room.1", "chat.message", { n: 0 }, { key: answers[0].key });
        const other = await a.publish("room.1", "chat.message", { n: 1 }, { key: answers[0].key }).catch((e) => e.code);
        const unknown = await a.publish("room.1", "nobody.knows", 1).catch((e) => [e.name, e.code, e.temporary]);
        const mouse = await a.publish("room.1", "cursor.move", { x: 1 });
        await until("all of them", () => r.seen.length >= 21);
        await sleep(100);
        return { place, answers, again, other, unknown, seen: r.seen, tenant: a.tenant, trail: a.trail, mouse };
    """, url=stack.edge_url, token=tenant.key)
    durable = [e for e in got["seen"] if e["type"] == "chat.message"]
    assert [e["data"]["n"] for e in durable] == list(range(20))
    assert [e["offset"] for e in durable] == [a["offset"] for a in got["answers"]]
    assert [e["data"] for e in got["seen"] if e["type"] == "cursor.move"] == [{"x": 1}]
    assert got["again"]["duplicate"] and got["again"]["event_id"] == got["answers"][0]["event_id"]
    assert got["other"] == "conflict" and got["unknown"] == ["PenstockError", "unknown_type", False]
    assert got["tenant"] == tenant.id and got["trail"] == ["open"]
    audit.check_events(stack, tenant.id, [("room.1", {"n": n}, a) for n, a in enumerate(got["answers"])])


def test_task_streams_and_ends(stack, js):
    got = js.run("""
        const client = open(args.open);
        const task = client.task("summarize", { document: args.document });
        const chunks = [];
        const types = [];
        const events = (async () => { for await (const e of task) types.push(e.type); })();
        for await (const c of task.stream("draft")) chunks.push(c);
        const result = await task.result;
        await events;
        const stage = task.events.find((e) => e.type === "task.stage.completed" && e.data.stage === "draft");
        const followed = await client.follow(task.id).result;
        return { chunks, types, result, followed, text: stage.data.output.text, status: task.status,
                 channels: client._channels.size };
    """, open={"url": stack.edge_url, "token": stack.state["key"]}, document=DOCUMENT)
    assert got["types"][0] == "task.accepted" and got["types"][-1] == "task.completed"
    assert got["types"].count("task.stage.completed") == 4
    assert got["chunks"] and not any(c["reset"] for c in got["chunks"])
    assert "".join(c["data"] for c in got["chunks"]) == got["text"]
    assert got["result"]["key_sentences"] == got["text"] and got["followed"] == got["result"]
    assert got["status"] == "completed" and got["channels"] == 0


def test_worker_killed_while_it_streams(stack, tenant, js):
    """What the dead one said is void: the stream says so, and ends with what the log has."""
    js.run("""
        globalThis.task = open(args.open).task("slow", args.document);
        globalThis.chunks = [];
        globalThis.reading = (async () => { for await (const c of task.stream("talk")) chunks.push(c); })();
        await until("text", () => task.text("talk").length > 20);
    """, open={"url": urls(stack), "token": tenant.key}, document=DOCUMENT)
    worker = js.run("return task.events.find((e) => e.type === 'task.started').data.worker")
    stack.kill(worker)
    got = js.run("""
        const result = await task.result;
        await reading;
        const stage = task.events.find((e) => e.type === "task.stage.completed" && e.data.stage === "talk");
        let text = "";
        for (const c of chunks) text = (c.reset ? "" : text) + c.data;
        return { chunks, text, stage: stage.data.output.text, result };
    """)
    assert any(c["reset"] for c in got["chunks"])
    assert [c["attempt"] for c in got["chunks"]] == sorted(c["attempt"] for c in got["chunks"])
    assert got["text"] == got["stage"]


def test_cut_off_while_it_streams(stack, tenant, js):
    """The line is cut again and again in mid-answer: the iterator goes on, and shows each delta once, in order. Then the
    worker dies in such a gap: the next attempt begins with a reset."""
    def cut(chunks):
        js.run("await until('more', () => chunks.length >= args.chunks);", chunks=chunks)
        assert line.cut() == 1

    with Line(stack.url("edge-2")) as line:
        begin = """
            globalThis.client ??= open(args.open);
            globalThis.task = client.task("slow", args.document, { key: args.key });
            globalThis.chunks = [];
            globalThis.reading = (async () => { for await (const c of task.stream("talk")) chunks.push(c); })();
        """
        end = """
            const result = await task.result;
            await reading;
            return { chunks, result, told: client.told, trail: client.trail, worker: task.events.filter(
                (e) => e.type === "task.started").map((e) => e.data.worker) };
        """
        args = {"open": {"url": line.url, "token": tenant.key}, "document": DOCUMENT}
        js.run(begin, **args, key="cut")
        for chunks in (3, 8, 14):
            cut(chunks)
        got = js.run(end)
        assert [c["reset"] for c in got["chunks"]].count(True) == 0 and {c["attempt"] for c in got["chunks"]} == {1}
        assert "".join(c["data"] for c in got["chunks"]) == got["result"]["text"]
        assert len(got["chunks"]) > 14 and all(c["data"] for c in got["chunks"])
        assert [t["resumed"] for t in got["told"]] == [False, True, True, True], "each cut was one, and was overcome"
        js.run(begin, **args, key="cut and killed")
        cut(5)
        stack.kill(js.run("return task.events.find((e) => e.type === 'task.started').data.worker"))
        got = js.run(end)
        again = [i for i, c in enumerate(got["chunks"]) if c["reset"]]
        assert len(again) == 1 and len(set(got["worker"])) == 2, "one attempt is superseded by one"
        assert [c["attempt"] for c in got["chunks"]] == [1] * again[0] + [2] * (len(got["chunks"]) - again[0])
        assert "".join(c["data"] for c in got["chunks"][again[0]:]) == got["result"]["text"]
        assert got["result"]["text"].startswith("".join(c["data"] for c in got["chunks"][:again[0]]))


def test_cancel(stack, tenant, js):
    got = js.run("""
        const task = open(args.open).task("slow", args.document);
        await until("text", () => task.text("talk").length > 5);
        const answer = await task.cancel();
        const error = await task.result.catch((e) => e.code);
        return { answer, error, end: (await task.end).type, id: task.id };
    """, open={"url": stack.edge_url, "token": tenant.key}, document=DOCUMENT)
    assert got["error"] == "task_cancelled" and got["end"] == "task.cancelled" and got["answer"]["task"] == got["id"]


def start_traffic(js, stack, tenant, url=None):
    """A publisher and a reader with clients of their own."""
    js.run("""
        globalThis.writer = open(args);
        globalThis.listener = open(args);
        await Promise.all([writer.ready, listener.ready]);
        globalThis.r = reader(listener, "room.1");
        await r.sub.ready;
        globalThis.p = publisher(writer, "room.1");
        await until("traffic", () => p.acked.length > 10 && r.seen.length > 10);
    """, url=url or urls(stack), token=tenant.key)


def go_on(js, n=20):
    js.run("""
        const [a, b] = [p.acked.length, r.seen.length];
        await until("traffic goes on", () => p.acked.length >= a + args.n && r.seen.length >= b + args.n);
    """, n=n)


def end_traffic(js, stack, tenant):
    """Everything that was accepted was seen, once and in order, and is in PostgreSQL."""
    got = js.run("""
        p.going = false;
        await p.done;
        await until("the last of them", () => r.seen.at(-1)?.offset >= p.acked.at(-1)[2].offset);
        return { acked: p.acked, seen: r.seen.map((e) => [e.event_id, e.offset, e.data]), gaps: r.gaps,
                 error: r.error?.code, trails: [writer.trail, listener.trail], told: listener.told,
                 drains: [...writer.drains, ...listener.drains] };
    """)
    assert got.get("error") is None and got["gaps"] == []
    assert [e[0] for e in got["seen"]] == [a["event_id"] for _, _, a in got["acked"]]
    offsets = [e[1] for e in got["seen"]]
    assert offsets == sorted(set(offsets))
    audit.check_events(stack, tenant.id, [tuple(a) for a in got["acked"]])
    return got


def test_router_killed(stack, tenant, js):
    """Commands in flight are unavailable for a while; the same key again makes one event."""
    start_traffic(js, stack, tenant)
    stack.kill("router-1")
    js.run("await until('a command that waits', () => writer.pending.count > 0); await sleep(500);")
    stack.start_one("router-1")
    stack.wait_ready("router-1")
    go_on(js)
    got = end_traffic(js, stack, tenant)
    assert got["trails"] == [["open"], ["open"]], "no connection was lost by it"


def test_edge_killed(stack, tenant, js):
    """The next of the addresses; nothing is lost, and none is seen twice."""
    start_traffic(js, stack, tenant)
    stack.kill("edge-1")
    go_on(js)
    edge = js.run("return [writer.edge, listener.edge]")
    assert edge == ["edge-2", "edge-2"]
    got = end_traffic(js, stack, tenant)
    assert all(t[-1] == "open" and "stopped" not in t for t in got["trails"])
    assert got["told"][-1]["resumed"] and len({t["session"] for t in got["told"]}) == 1, "the same session elsewhere"


def test_edge_killed_and_located(stack, tenant, js):
    """GET /v1/locate before every connection; where nobody answers, the address itself."""
    start_traffic(js, stack, tenant)
    js.run("""
        globalThis.located = open({ ...args, locate: true });
        await located.ready;
    """, url=urls(stack), token=tenant.key)
    edge = js.run("return located.edge")
    assert edge == tenant.http("GET", "/v1/locate")[2]["edge"]
    stack.kill(edge)
    js.run("""
        const answer = await located.publish("room.2", "chat.message", 1);
        if (!answer.offset) throw new Error("no offset");
    """)
    end_traffic(js, stack, tenant)


def test_edge_frozen(stack, tenant, js):
    """A line on which nothing comes any more is noticed, and left."""
    start_traffic(js, stack, tenant)
    js.run("""
        globalThis.quiet = open({ ...args, pong_ms: 500 });
        await quiet.ready;
        globalThis.q = reader(quiet, "room.1");
        await q.sub.ready;
    """, url=urls(stack), token=tenant.key)
    js.run("p.going = false; await p.done;")
    pid = stack.pid("edge-1")
    os.kill(pid, signal.SIGSTOP)
    try:
        js.run("await until('another edge', () => quiet.state === 'open' && quiet.edge === 'edge-2', 15000);")
    finally:
        os.kill(pid, signal.SIGCONT)


def test_edge_drained(stack, tenant, js):
    """SIGTERM: told where to go, connected there before the old socket goes, never offline."""
    start_traffic(js, stack, tenant)
    assert stack.kill("edge-1", signal.SIGTERM) == 0
    go_on(js)
    assert js.run("return [writer.edge, listener.edge]") == ["edge-2", "edge-2"]
    got = end_traffic(js, stack, tenant)
    assert len(got["drains"]) == 2, got["drains"]
    assert all(d["url"] == stack.url("edge-2") for d in got["drains"])
    for trail in got["trails"]:
        assert "waiting" not in trail and "stopped" not in trail, trail
    assert got["told"][-1]["resumed"]


def test_revoked_key_stops(stack, js):
    fresh = Tenant(stack)
    js.run("""
        globalThis.a = open(args);
        await a.ready;
        globalThis.r = reader(a, "room.1");
        await r.sub.ready;
    """, url=urls(stack), token=fresh.key)
    key = fresh.key.split("_")[1]
    keys = f"/tenants/{fresh.id}/keys/{key}"
    c = stack.control()
    _, head, _ = c.call("GET", keys)
    c.call("DELETE", keys, headers={"If-Match": head["ETag"]})
    for name in ("edge-1", "edge-2"):
        wait_for(f"the revocation at {name}", lambda: http(
            "GET", stack.url(name) + "/v1/channels/room.1/events?limit=1", token=fresh.key)[0] == 401)
    got = js.run("""
        if (a.state === "open") a._link._socket.close(); // where only new connections notice
        await until("the end", () => a.state === "stopped");
        const late = await a.publish("room.1", "chat.message", 1).catch((e) => [e.code, e.close_code]);
        await r.done.catch(() => {});
        const trail = [...a.trail];
        await sleep(1500);
        return { late, error: r.error?.code, trail, after: a.trail };
    """)
    assert got["late"][1] == 4001 and got["error"] == "unauthenticated"
    assert got["trail"] == got["after"] and got["trail"][-1] == "stopped"


def test_token_that_runs_out(stack, tenant, js):
    """A JWT ends on the live socket: another one is asked for, and nothing is missed. One that stays the same stops."""
    signer = Signer(stack, tenant.id)
    js.run("""
        globalThis.tokens = args.tokens;
        globalThis.asked = 0;
        globalThis.a = open({ url: args.url, getToken: async () => tokens[Math.min(asked++, tokens.length - 1)] });
        await a.ready;
        globalThis.r = reader(a, "room.1");
        await r.sub.ready;
        globalThis.w = open({ url: args.url, token: args.key });
        globalThis.p = publisher(w, "room.1");
        await until("the second token", () => asked >= 2 && a.state === "open", 20000);
        p.going = false;
        await p.done;
        await until("all of it", () => r.seen.at(-1)?.offset >= p.acked.at(-1)[2].offset);
    """, url=urls(stack), key=tenant.key, tokens=[signer.token(ttl=2), signer.token(ttl=6)])
    got = js.run("""
        const same = r.seen.map((e) => e.event_id).join() === p.acked.map(([, , e]) => e.event_id).join();
        await until("the end", () => a.state === "stopped", 20000);
        return { same, gaps: r.gaps, asked, error: (await a.publish("room.1", "chat.message", 1).catch((e) => e)).code };
    """)
    assert got["same"] and got["gaps"] == [] and got["asked"] == 3 and got["error"] == "unauthenticated"


def test_offline_queue(stack, tenant, js):
    """Bounded; in order; sent when there is an edge again."""
    stack.kill("edge-1")
    got = js.run("""
        globalThis.a = open({ ...args, queue: { count: 5 } });
        globalThis.answers = [0, 1, 2, 3, 4].map((n) => a.publish("room.1", "chat.message", { n }, { key: `k${n}` }));
        const full = await a.publish("room.1", "chat.message", { n: 5 }).catch((e) => e.code);
        const now = await a.publish("room.1", "cursor.move", 0, { queue: false }).catch((e) => e.code);
        await until("it waits", () => a.state === "waiting");
        return { full, now, pending: a.pending.count };
    """, url=stack.edge_url, token=tenant.key)
    assert got == {"full": "queue_full", "now": "offline", "pending": 5}
    stack.start_one("edge-1")
    stack.wait_ready("edge-1")
    answers = js.run("return Promise.all(answers)")
    assert [a["offset"] for a in answers] == sorted(a["offset"] for a in answers)
    audit.check_events(stack, tenant.id, [("room.1", {"n": n}, a) for n, a in enumerate(answers)])


def test_reader_that_is_slow(stack, tenant, js):
    """Its buffer fills, the channel is left and caught up with: all come, in order, and memory stays bounded."""
    got = js.run("""
        const a = open(args);
        const sub = a.subscribe("room.1", { buffer: { count: 16 } });
        await sub.ready;
        await Promise.all(Array.from({ length: 200 }, (_, n) => a.publish("room.1", "chat.message", { n })));
        await until("the pause", () => sub.paused);
        const waits = sub.buffered;
        const seen = [];
        for await (const e of sub) {
            seen.push(e.offset);
            if (seen.length % 10 === 0) await sleep(2);
            if (seen.length === 200) break;
        }
        return { waits, seen, dropped: sub.dropped };
    """, url=stack.edge_url, token=tenant.key)
    assert got["waits"] <= 17 and got["dropped"] == 0
    assert len(got["seen"]) == 200 and got["seen"] == sorted(set(got["seen"]))


def test_position_of_another_log(stack, tenant, js):
    """recovered false: told as a gap, and it goes on from here."""
    got = js.run("""
        const a = open(args);
        await a.publish("room.1", "chat.message", { n: 0 });
        const r = reader(a, "room.1", { after: { epoch: "nowhere", offset: 3 } });
        await r.sub.ready;
        const answer = await a.publish("room.1", "chat.message", { n: 1 });
        await until("the event", () => r.seen.length > 0);
        return { gaps: r.gaps, seen: r.seen.map((e) => e.offset), answer };
    """, url=stack.edge_url, token=tenant.key)
    assert [(g["reason"], g["replayable"]) for g in got["gaps"]] == [("epoch_changed", False)]
    assert got["seen"] == [got["answer"]["offset"]]


def test_the_log_is_made_anew(private, js):
    """4301: a fresh session; the reader is told that its position is void, and sees what is new."""
    alone = private()
    tenant = Tenant(alone)
    js.run("""
        globalThis.a = open(args);
        globalThis.r = reader(a, "room.1");
        await r.sub.ready;
        for (let n = 0; n < 5; n++) await a.publish("room.1", "chat.message", { n });
        await until("five", () => r.seen.length === 5);
        globalThis.before = r.sub.position;
    """, url=alone.edge_url, token=tenant.key)
    stored = "SELECT count(*) FROM events WHERE tenant = %s AND channel = 'room.1'"
    wait_for("them in PostgreSQL", lambda: audit.rows(alone, stored, tenant.id)[0][0] == 5)
    with Nats(alone.nats_url) as nats:
        conf = nats.api("STREAM.INFO.EVENTS")["config"]
        assert nats.api("STREAM.DELETE.EVENTS")["success"]
        assert "error" not in nats.api("STREAM.CREATE.EVENTS", **conf)
    got = js.run("""
        await until("it is told", () => r.gaps.length > 0);
        const answer = await a.publish("room.1", "chat.message", { n: 5 });
        await until("the new one", () => r.seen.length === 6);
        return { gaps: r.gaps, last: r.seen.at(-1), answer, before, after: r.sub.position, told: a.told };
    """)
    assert [(g["reason"], g["replayable"]) for g in got["gaps"]] == [("epoch_changed", False)]
    assert got["last"]["event_id"] == got["answer"]["event_id"]
    assert got["after"]["epoch"] != got["before"]["epoch"]
    assert [t["resumed"] for t in got["told"]] == [False, False]


def test_history_and_resubscription(stack, tenant, js):
    """A position that one client gives, another continues from."""
    got = js.run("""
        const a = open(args);
        const r = reader(a, "room.1", { after: 0 });
        for (let n = 0; n < 5; n++) await a.publish("room.1", "chat.message", { n });
        await until("five", () => r.seen.length === 5);
        const position = r.sub.position;
        a.close();
        const b = open({ ...args, url: args.other });
        for (let n = 5; n < 8; n++) await b.publish("room.1", "chat.message", { n });
        const more = reader(b, "room.1", { after: position });
        const start = reader(b, "room.1", { after: 0 });
        await until("the rest", () => more.seen.length >= 3 && start.seen.length >= 8);
        await sleep(100);
        return { more: more.seen.map((e) => e.data.n), start: start.seen.map((e) => e.data.n), gaps: more.gaps };
    """, url=stack.edge_url, other=stack.url("edge-2"), token=tenant.key)
    assert got == {"more": [5, 6, 7], "start": [0, 1, 2, 3, 4, 5, 6, 7], "gaps": []}


def test_tokens_stay_out_of_addresses_and_logs(stack, tenant, js):
    js.run("await open(args).ready;", url=stack.edge_url, token=tenant.key)
    secret = re.split("_", tenant.key)[-1]
    for path in sorted((stack.dir / "log").glob("*.log")):
        assert secret not in path.read_text(errors="replace"), path.name


def test_package_is_whole():
    """What package.json names is there, and it needs nothing."""
    folder = ROOT / "clients/js"
    package = json.loads((folder / "package.json").read_text())
    assert "dependencies" not in package
    for name in [package["main"], package["types"], *package["files"]]:
        assert (folder / name).is_file(), name
