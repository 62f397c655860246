/* Commands: one key until it is accepted, refused or late; the queue and its bounds. Tasks and their text. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { connected, outcome, settle, world } from "../fake.mjs";

const OK = { op: "accepted", event_id: "x", channel: "room.1", offset: 1, duplicate: false };
const busy = (more = {}) => ({ op: "error", code: "rate_limited", message: "m", scope: "tenant", temporary: true, retry_after_ms: 2000, ...more });

test("publish: the frame, a key of its own, the answer", async () => {
	const w = await connected();
	const done = w.client.publish("room.1", "chat.message", { text: "hi" }, { version: 2 });
	const { id, key, ...frame } = w.socket.last("publish");
	assert.deepEqual(frame, { op: "publish", channel: "room.1", type: "chat.message", version: 2, data: { text: "hi" } });
	assert.match(key, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
	w.socket.say({ ...OK, id });
	assert.deepEqual(await done, { event_id: "x", channel: "room.1", offset: 1, duplicate: false, key });
	assert.deepEqual(w.client.pending, { count: 0, bytes: 0 });
});

test("temporary errors: the same key again, not before retry_after_ms and with jitter", async () => {
	const w = await connected();
	w.random = 1;
	const done = w.client.publish("room.1", "chat.message", 1, { key: "k" });
	w.socket.answer("publish", busy());
	await w.clock.run(2499);
	assert.equal(w.socket.all("publish").length, 1);
	await w.clock.run(1);
	assert.deepEqual(w.socket.all("publish").map((f) => f.key), ["k", "k"]);
	w.socket.answer("publish", busy());
	await w.clock.run(2999);
	assert.equal(w.socket.all("publish").length, 2);
	await w.clock.run(1);
	w.socket.answer("publish", { ...OK, duplicate: true });
	assert.equal((await done).duplicate, true);
});

test("what is refused for good is refused at once, with all that was said", async () => {
	const w = await connected();
	const done = w.client.publish("room.1", "chat.message", 1);
	w.socket.answer("publish", { op: "error", code: "schema_invalid", message: "text is missing", scope: "channel", temporary: false, details: { path: "/text" } });
	const e = await outcome(done);
	assert.deepEqual([e.name, e.code, e.message, e.scope, e.temporary, e.details], ["PenstockError", "schema_invalid", "text is missing", "channel", false, { path: "/text" }]);
});

test("the deadline holds over all tries, and says why", async () => {
	const w = await connected();
	const done = w.client.publish("room.1", "chat.message", 1, { timeout_ms: 5000 });
	for (let i = 0; i < 4; i++) {
		w.socket.answer("publish", busy());
		await w.clock.run(2500);
	}
	const e = await outcome(done);
	assert.equal(e.code, "deadline");
	assert.equal(e.cause.code, "rate_limited");
	const sent = w.socket.all("publish").length;
	await w.clock.run(10_000);
	assert.equal(w.socket.all("publish").length, sent);
	assert.deepEqual(w.client.pending, { count: 0, bytes: 0 });
});

test("no answer: sent again after 15 s, and a late answer of the first try counts", async () => {
	const w = await connected();
	const done = w.client.publish("room.1", "chat.message", 1, { key: "k" });
	const first = w.socket.last("publish").id;
	await w.clock.run(15_000);
	w.socket.say({ op: "pong" });
	assert.equal(w.socket.all("publish").length, 2);
	w.socket.say({ ...OK, id: first });
	assert.equal((await done).offset, 1);
	w.socket.answer("publish", { ...OK, duplicate: true });
});

test("a lost connection: what is not answered goes out again under its key, in its order", async () => {
	const w = await connected();
	for (const key of ["a", "b", "c"]) w.client.publish("room.1", "chat.message", key, { key });
	w.socket.say({ ...OK, id: w.socket.all("publish")[1].id });
	w.socket.drop();
	w.client.publish("room.1", "chat.message", "d", { key: "d" });
	await w.clock.run(500);
	w.socket.hello();
	assert.deepEqual(w.socket.all("publish").map((f) => f.key), ["a", "c", "d"]);
});

test("offline: queued, and sent in order when there is a connection", async () => {
	const w = world();
	await settle();
	const all = [1, 2, 3].map((n) => w.client.publish("room.1", "chat.message", n));
	assert.deepEqual(w.client.pending.count, 3);
	w.socket.hello();
	assert.deepEqual(w.socket.all("publish").map((f) => f.data), [1, 2, 3]);
	for (const f of w.socket.all("publish")) w.socket.say({ ...OK, id: f.id, offset: f.data });
	assert.deepEqual((await Promise.all(all)).map((a) => a.offset), [1, 2, 3]);
});

test("offline: queue false is refused at once", async () => {
	const w = world();
	assert.equal((await outcome(w.client.publish("room.1", "cursor.move", 1, { queue: false }))).code, "offline");
});

test("the queue is bounded by count", async () => {
	const w = world({ queue: { count: 2 } });
	const [a, b, c] = [1, 2, 3].map((n) => w.client.publish("room.1", "chat.message", n));
	const e = await outcome(c);
	assert.equal(e.code, "queue_full");
	assert.match(e.message, /2 commands/);
	w.socket.hello();
	for (const f of w.socket.all("publish")) w.socket.say({ ...OK, id: f.id });
	await Promise.all([a, b]);
	const d = w.client.publish("room.1", "chat.message", 4);
	w.socket.answer("publish", OK);
	await d;
});

test("the queue is bounded by bytes", async () => {
	const w = world({ queue: { bytes: 1000 } });
	w.client.publish("room.1", "chat.message", "x".repeat(800)).catch(() => {});
	assert.equal((await outcome(w.client.publish("room.1", "chat.message", "x".repeat(800)))).code, "queue_full");
	w.client.close();
});

test("no more in flight than the edge allows", async () => {
	const w = await connected(); // commands_in_flight: 4
	for (let i = 0; i < 10; i++) w.client.publish("room.1", "chat.message", i);
	assert.equal(w.socket.all("publish").length, 4);
	w.socket.say({ ...OK, id: w.socket.all("publish")[0].id });
	await settle();
	assert.equal(w.socket.all("publish").length, 5);
	w.socket.say({ ...busy(), id: w.socket.all("publish")[1].id });
	assert.equal(w.socket.all("publish").length, 6);
});

test("what is too large is never sent", async () => {
	const w = await connected();
	assert.equal((await outcome(w.client.publish("room.1", "chat.message", "x".repeat(66_000)))).code, "too_large");
	assert.equal((await outcome(w.client.publish("room.1", "chat.message", "ä".repeat(40_000)))).code, "too_large");
	assert.equal((await outcome(w.client.task("p", "x".repeat(300_000)).accepted)).code, "too_large");
	assert.equal(w.socket.all("publish").length + w.socket.all("task").length, 0);
});

test("what was queued before the limits were known is checked when they are", async () => {
	const w = world();
	await settle();
	const done = w.client.publish("room.1", "chat.message", "x".repeat(66_000));
	w.socket.hello();
	assert.equal((await outcome(done)).code, "too_large");
	assert.equal(w.socket.all("publish").length, 0);
});

test("abort gives up", async () => {
	const w = await connected();
	const abort = new AbortController();
	const done = w.client.publish("room.1", "chat.message", 1, { signal: abort.signal });
	abort.abort();
	assert.equal((await outcome(done)).code, "aborted");
	assert.equal((await outcome(w.client.publish("room.1", "chat.message", 1, { signal: abort.signal }))).code, "aborted");
});

/* --- tasks */

const CH = "task.t1";
const event = (offset, type, data = {}) => ({ op: "event", channel: CH, type, version: 1, event_id: `e${offset}`, time: "", trace: "", offset, prev: offset - 1, data: { task: "t1", ...data } });
const delta = (index, data, attempt = 1, stage = "draft") => ({ op: "delta", channel: CH, task: "t1", stage, attempt, index, data });

async function started(options) {
	const w = await connected(options);
	w.task = w.client.task("summarize", { document: "d" }, { key: "k", deadline_ms: 1000, priority: 5, not_before: new Date(0) });
	w.socket.answer("task", { ...OK, channel: CH, offset: 1, task: "t1" });
	await settle();
	w.say = (...frames) => frames.forEach((f) => w.socket.say(f));
	return w;
}

async function chunks(stream) {
	const all = [];
	for await (const c of stream) all.push(c);
	return all;
}

test("a task: the frame, accepted, its transitions, its result, and the channel is left", async () => {
	const w = await started();
	const { id, ...frame } = w.socket.last("task");
	assert.deepEqual(frame, { op: "task", pipeline: "summarize", key: "k", deadline_ms: 1000, priority: 5, not_before: "1970-01-01T00:00:00.000Z", input: { document: "d" } });
	assert.equal((await w.task.accepted).task, "t1");
	assert.equal(w.task.id, "t1");
	assert.equal(w.socket.all("subscribe").length, 0, "the command subscribes");
	const types = (async () => {
		const all = [];
		for await (const e of w.task) all.push(e.type);
		return all;
	})();
	w.say(event(1, "task.accepted"), event(2, "task.started"), event(3, "task.completed", { output: { summary: "s" } }));
	assert.deepEqual(await w.task.result, { summary: "s" });
	assert.deepEqual(await types, ["task.accepted", "task.started", "task.completed"]);
	assert.equal((await w.task.end).type, "task.completed");
	assert.equal(w.task.status, "completed");
	assert.equal(w.socket.last("unsubscribe").channel, CH);
});

for (const [type, code] of [["task.failed", "task_failed"], ["task.cancelled", "task_cancelled"], ["task.expired", "task_expired"]]) {
	test(`${type} rejects the result with ${code}`, async () => {
		const w = await started();
		w.say(event(1, "task.accepted"), event(2, type, { reason: "r", stage: "draft" }));
		const e = await outcome(w.task.result);
		assert.deepEqual([e.code, e.reason, e.stage], [code, "r", "draft"]);
		assert.equal((await w.task.end).type, type);
	});
}

test("text in order of the index, repeats dropped", async () => {
	const w = await started();
	const got = chunks(w.task.stream("draft"));
	w.say(event(1, "task.accepted"), delta(0, "a"), delta(2, "c"), delta(0, "a"), delta(1, "b"), delta(3, "d"));
	await settle();
	w.say(event(2, "task.stage.completed", { stage: "draft", attempt: 1, output: { text: "abcd" } }));
	assert.deepEqual(await got, [{ stage: "draft", attempt: 1, data: "abcd", reset: false }]);
	assert.equal(w.task.text("draft"), "abcd");
});

test("a reset voids what lower attempts said, also late", async () => {
	const w = await started();
	const got = [];
	const reading = (async () => {
		for await (const c of w.task.stream("draft")) got.push(c);
	})();
	w.say(event(1, "task.accepted"), delta(0, "old "), delta(1, "words"));
	await settle();
	w.say({ op: "reset", channel: CH, task: "t1", stage: "draft", attempt: 2 });
	await settle();
	w.say(delta(2, " more", 1), delta(0, "new", 2));
	await settle();
	w.say(event(2, "task.stage.completed", { stage: "draft", attempt: 2, output: { text: "new" } }));
	await reading;
	assert.deepEqual(got.map((c) => [c.reset, c.data, c.attempt]), [[false, "old words", 1], [true, "", 2], [false, "new", 2]]);
});

test("a higher attempt without its reset frame is one all the same", async () => {
	const w = await started();
	w.say(event(1, "task.accepted"), delta(0, "old"), delta(0, "new", 2));
	await settle();
	assert.equal(w.task.text("draft"), "new");
});

test("a piece that never comes: after a second it goes on, and the stage's record makes it whole", async () => {
	const w = await started();
	const got = [];
	const reading = (async () => {
		for await (const c of w.task.stream("draft")) got.push(c);
	})();
	w.say(event(1, "task.accepted"), delta(0, "a"), delta(2, "c"));
	await w.clock.run(999);
	assert.equal(w.task.text("draft"), "a");
	await w.clock.run(1);
	assert.equal(w.task.text("draft"), "ac");
	w.say(event(2, "task.stage.completed", { stage: "draft", attempt: 1, output: { text: "abc" } }));
	await reading;
	assert.deepEqual(got.map((c) => [c.reset, c.data]), [[false, "a"], [false, "c"], [true, "abc"]]);
});

test("the end of a text that was not streamed is only added", async () => {
	const w = await started();
	const got = [];
	const reading = (async () => {
		for await (const c of w.task.stream("draft")) got.push(c);
	})();
	w.say(event(1, "task.accepted"), delta(0, "ab"));
	await settle();
	w.say(event(2, "task.stage.completed", { stage: "draft", attempt: 1, output: { text: "abcd" } }));
	await reading;
	assert.deepEqual(got.map((c) => [c.reset, c.data]), [[false, "ab"], [false, "cd"]]);
});

test("all stages in one stream, until the task ends", async () => {
	const w = await started();
	const got = chunks(w.task.stream());
	w.say(event(1, "task.accepted"), delta(0, "one"), delta(0, "two", 1, "refine"));
	await settle();
	w.say(event(2, "task.completed", { output: 1 }));
	assert.deepEqual((await got).map((c) => [c.stage, c.data]), [["draft", "one"], ["refine", "two"]]);
});

test("who reads slowly gets longer pieces", async () => {
	const w = await started();
	w.say(event(1, "task.accepted"));
	for (let i = 0; i < 1000; i++) w.say(delta(i, "x"));
	w.say(event(2, "task.completed", {}));
	const all = await chunks(w.task.stream("draft"));
	assert.equal(all.length, 1);
	assert.equal(all[0].data.length, 1000);
});

test("a lost connection: the task's channel is read from its start, and nothing is told twice", async () => {
	const w = await started();
	w.say(event(1, "task.accepted"), event(2, "task.started"));
	w.socket.drop();
	await w.clock.run(500);
	w.socket.hello();
	assert.equal(w.socket.all("task").length, 0, "it was accepted");
	assert.deepEqual(w.socket.last("subscribe").after, { offset: 0 });
	w.socket.subscribed(0);
	w.say(event(1, "task.accepted"), event(2, "task.started"), event(3, "task.completed", { output: 7 }));
	assert.equal(await w.task.result, 7);
	assert.deepEqual(w.task.events.map((e) => e.type), ["task.accepted", "task.started", "task.completed"]);
});

test("lost before it was accepted: the same key again", async () => {
	const w = await connected();
	const task = w.client.task("p", 1, { key: "k" });
	w.socket.drop();
	await w.clock.run(500);
	w.socket.hello();
	assert.equal(w.socket.last("task").key, "k");
	w.socket.answer("task", { ...OK, channel: CH, offset: 1, task: "t1", duplicate: true });
	assert.equal((await task.accepted).duplicate, true);
});

test("a task that is refused", async () => {
	const w = await connected();
	const task = w.client.task("nope", 1);
	w.socket.answer("task", { op: "error", code: "not_found", message: "no such pipeline", scope: "tenant", temporary: false });
	for (const p of [task.accepted, task.result, task.end]) assert.equal((await outcome(p)).code, "not_found");
	assert.equal((await outcome(chunks(task.stream("draft")))).code, "not_found");
});

test("follow: a task of before, from its start", async () => {
	const w = await connected();
	const task = w.client.follow("t1");
	assert.deepEqual(w.socket.last("subscribe").after, { offset: 0 });
	w.socket.subscribed(0);
	w.socket.say(event(1, "task.accepted"));
	w.socket.say(event(2, "task.completed", { output: 3 }));
	assert.equal(await task.result, 3);
});

test("cancel: the command with the task's id", async () => {
	const w = await started();
	const done = w.task.cancel();
	await settle();
	assert.equal(w.socket.last("cancel").task, "t1");
	w.socket.answer("cancel", { ...OK, channel: CH, offset: 2, task: "t1" });
	assert.equal((await done).task, "t1");
});

test("detach: nobody listens any more", async () => {
	const w = await started();
	w.task.detach();
	assert.equal((await outcome(w.task.result)).code, "closed");
	assert.equal(w.socket.last("unsubscribe").channel, CH);
});

test("deltas as frames of a subscription, in order", async () => {
	const w = await connected();
	const sub = w.client.subscribe(CH, { deltas: true });
	w.socket.subscribed(0);
	for (const f of [delta(0, "a"), delta(2, "c"), delta(1, "b"), { op: "reset", channel: CH, task: "t1", stage: "draft", attempt: 2 }, delta(0, "x", 2), delta(3, "d")]) w.socket.say(f);
	const it = sub[Symbol.asyncIterator]();
	const got = [];
	for (let i = 0; i < 5; i++) got.push((await it.next()).value);
	assert.deepEqual(got.map((f) => f.data ?? f.op), ["a", "b", "c", "reset", "x"]);
	assert.deepEqual([got[0].task, got[0].stage, got[0].attempt, got[0].index], ["t1", "draft", 1, 0]);
	assert.equal(sub.buffered, 0);
});
