/* Subscriptions: positions, holes, gaps, repeats, and readers that are slow. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { connected, outcome, settle, world } from "../fake.mjs";

/* A subscription that is live at this offset, with what it has seen. */
async function live(offset, options, clientOptions) {
	const w = await connected(clientOptions);
	w.sub = w.client.subscribe("room.1", options);
	w.socket.subscribed(offset);
	return w;
}

function collect(sub) {
	const seen = [];
	sub.on("event", (e) => seen.push(e.offset ?? e.event_id));
	return seen;
}

function gaps(sub) {
	const all = [];
	sub.on("gap", (g) => all.push([g.from, g.to, g.reason]));
	return all;
}

test("subscribe: from now on, from a position, from the beginning", async () => {
	const w = await connected();
	w.client.subscribe("a");
	assert.equal(w.socket.last("subscribe").after, undefined);
	w.client.subscribe("b", { after: { epoch: "e1", offset: 7 } });
	assert.deepEqual(w.socket.last("subscribe").after, { epoch: "e1", offset: 7 });
	w.client.subscribe("c", { after: 0 });
	assert.deepEqual(w.socket.last("subscribe").after, { offset: 0 });
	assert.throws(() => w.client.subscribe("d", { after: 7 }), TypeError);
});

test("ready and position", async () => {
	const w = await live(5);
	assert.deepEqual(await w.sub.ready, { epoch: "e1", offset: 5 });
	w.socket.event("room.1", 6, 5);
	assert.deepEqual(w.sub.position, { epoch: "e1", offset: 6 });
});

test("after a reconnect it goes on behind the last event, and repeats are dropped", async () => {
	const w = await live(5);
	const seen = collect(w.sub);
	w.socket.event("room.1", 6, 5);
	w.socket.event("room.1", 9, 6);
	w.socket.drop();
	await w.clock.run(500);
	w.socket.hello();
	assert.deepEqual(w.socket.last("subscribe").after, { epoch: "e1", offset: 9 });
	w.socket.subscribed(9);
	w.socket.event("room.1", 9, 6);
	w.socket.event("room.1", 10, 9);
	assert.deepEqual(seen, [6, 9, 10]);
});

test("subscribed while there is no connection: asked when there is", async () => {
	const w = world();
	w.client.subscribe("room.1");
	await settle();
	w.socket.hello();
	assert.equal(w.socket.last("subscribe").channel, "room.1");
});

test("a hole is read again from the log, and nothing overtakes", async () => {
	const w = await live(5);
	const seen = collect(w.sub);
	w.socket.event("room.1", 8, 7);
	assert.deepEqual(seen, []);
	assert.equal(w.socket.all("unsubscribe").length, 1);
	assert.deepEqual(w.socket.last("subscribe").after, { epoch: "e1", offset: 5 });
	w.socket.event("room.1", 9, 8); // still of before
	w.socket.subscribed(5);
	for (const [o, p] of [[6, 5], [7, 6], [8, 7], [9, 8]]) w.socket.event("room.1", o, p);
	assert.deepEqual(seen, [6, 7, 8, 9]);
	assert.equal(w.socket.all("subscribe").length, 2, "asked once for one hole");
});

test("prev 0: the log was trimmed behind it, which is no hole", async () => {
	const w = await live(5);
	const seen = collect(w.sub);
	w.socket.event("room.1", 8, 0);
	assert.deepEqual(seen, [8]);
});

test("the same event with another offset, and an ephemeral one twice", async () => {
	const w = await live(5);
	const seen = collect(w.sub);
	w.socket.event("room.1", 6, 5, { event_id: "x" });
	w.socket.event("room.1", 7, 6, { event_id: "x" });
	w.socket.event("room.1", 8, 7);
	for (let i = 0; i < 2; i++) w.socket.say({ op: "event", channel: "room.1", type: "cursor.move", version: 1, event_id: "c1", data: 1 });
	assert.deepEqual(seen, [6, 8, "c1"]);
	assert.equal(w.sub.position.offset, 8);
});

test("what operators deliver again is shown, once for each replay", async () => {
	const w = await live(5);
	const seen = [];
	w.sub.on("event", (e) => seen.push([e.event_id, e.replay]));
	w.socket.event("room.1", 6, 5, { event_id: "x" });
	const again = (replay) => w.socket.say({ op: "event", channel: "room.1", type: "chat.message", version: 1, event_id: "x", data: 6, replay });
	again("r1");
	again("r1"); // its answer was lost
	again("r2");
	w.socket.event("room.1", 7, 6, { event_id: "x" });
	assert.deepEqual(seen, [["x", undefined], ["x", "r1"], ["x", "r2"]]);
	assert.equal(w.sub.position.offset, 7);
});

test("how many ids are remembered is bounded", async () => {
	const w = await live(0, {}, { remember: 10 });
	collect(w.sub);
	for (let i = 1; i <= 100; i++) w.socket.event("room.1", i, i - 1);
	assert.equal(w.sub._ids.size, 10);
});

test("a gap that cannot be replayed is told, and passed over", async () => {
	const w = await live(5);
	const [seen, lost] = [collect(w.sub), gaps(w.sub)];
	w.socket.say({ op: "gap", channel: "room.1", from: 6, to: 9, reason: "missed", replayable: false });
	w.socket.event("room.1", 10, 9);
	assert.deepEqual(lost, [[6, 9, "missed"]]);
	assert.deepEqual(seen, [10]);
	assert.equal(w.socket.all("subscribe").length, 1);
});

test("a gap that is being replayed is waited for; if nothing comes, asked for", async () => {
	const w = await live(5);
	const seen = collect(w.sub);
	w.socket.say({ op: "gap", channel: "room.1", from: 6, to: 8, reason: "slow_consumer", replayable: true });
	await w.clock.run(20_000);
	w.socket.event("room.1", 6, 5);
	await w.clock.run(20_000);
	assert.equal(w.socket.all("subscribe").length, 1, "there was progress");
	w.socket.say({ op: "pong" });
	await w.clock.run(20_000);
	assert.deepEqual(w.socket.last("subscribe").after, { epoch: "e1", offset: 6 });
	w.socket.subscribed(6);
	w.socket.event("room.1", 7, 6);
	w.socket.event("room.1", 8, 7);
	await w.clock.run(10_000);
	assert.equal(w.socket.all("subscribe").length, 2);
	assert.deepEqual(seen, [6, 7, 8]);
});

test("a gap that the edge could not read is asked for, before anything later is shown", async () => {
	const w = await live(5);
	const seen = collect(w.sub);
	w.socket.say({ op: "gap", channel: "room.1", from: 6, to: 8, reason: "missed", replayable: true });
	await w.clock.run(999);
	assert.equal(w.socket.all("subscribe").length, 1);
	await w.clock.run(1);
	assert.deepEqual(w.socket.last("subscribe").after, { epoch: "e1", offset: 5 });
	w.socket.answer("subscribe", { op: "error", code: "unavailable", message: "m", scope: "channel", temporary: true, retry_after_ms: 1000 });
	await w.clock.run(2000);
	w.socket.subscribed(5);
	for (const [o, p] of [[6, 5], [7, 6], [8, 7], [9, 8]]) w.socket.event("room.1", o, p);
	assert.deepEqual(seen, [6, 7, 8, 9]);
});

test("recovered false, expired: told once, with what is lost", async () => {
	const w = await connected();
	const sub = w.client.subscribe("room.1", { after: { epoch: "e1", offset: 5 } });
	const [seen, lost] = [collect(sub), gaps(sub)];
	w.socket.subscribed(20, { recovered: false });
	w.socket.say({ op: "gap", channel: "room.1", from: 6, to: 20, reason: "expired", replayable: false });
	w.socket.event("room.1", 21, 20);
	assert.deepEqual(lost, [[6, 20, "expired"]]);
	assert.deepEqual(seen, [21]);
});

test("recovered false, another epoch: goes on afresh and tells", async () => {
	const w = await live(500);
	const [seen, lost] = [collect(w.sub), gaps(w.sub)];
	w.socket.drop(4301);
	await w.clock.run(500);
	w.socket.hello({ session: "s2" });
	assert.deepEqual(w.socket.last("subscribe").after, { epoch: "e1", offset: 500 });
	w.socket.subscribed(3, { epoch: "e2", recovered: false });
	w.socket.event("room.1", 4, 3, { event_id: "n4" });
	assert.deepEqual(lost, [[0, 3, "epoch_changed"]]);
	assert.deepEqual(seen, [4]);
	assert.deepEqual(w.sub.position, { epoch: "e2", offset: 4 });
});

test("a position ahead of the log is one of another log", async () => {
	const w = await connected();
	const sub = w.client.subscribe("room.1", { after: { epoch: "e1", offset: 99 } });
	const lost = gaps(sub);
	w.socket.subscribed(7, { recovered: false });
	assert.deepEqual(lost, [[0, 7, "epoch_changed"]]);
	assert.equal(sub.position.offset, 7);
});

test("gaps: true puts them into the iteration, in their place", async () => {
	const w = await live(5, { gaps: true });
	w.socket.event("room.1", 6, 5);
	w.socket.say({ op: "gap", channel: "room.1", from: 7, to: 9, reason: "missed", replayable: false });
	w.socket.event("room.1", 10, 9);
	const got = [];
	for await (const item of w.sub) {
		got.push(item.op === "gap" ? "gap" : item.offset);
		if (got.length === 3) break;
	}
	assert.deepEqual(got, [6, "gap", 10]);
	assert.equal(w.socket.all("unsubscribe").length, 1, "leaving the loop ends the subscription");
});

test("a reader that is slow: the channel is left, and caught up with", async () => {
	const w = await live(0, { buffer: { count: 4 } });
	for (let i = 1; i <= 8; i++) w.socket.event("room.1", i, i - 1);
	assert.equal(w.sub.paused, true);
	assert.equal(w.sub.buffered, 5);
	assert.equal(w.socket.all("unsubscribe").length, 1);
	const it = w.sub[Symbol.asyncIterator]();
	const got = [];
	for (let i = 0; i < 3; i++) got.push((await it.next()).value.offset);
	assert.deepEqual(w.socket.last("subscribe").after, { epoch: "e1", offset: 5 });
	assert.equal(w.sub.paused, false);
	w.socket.subscribed(5);
	for (let i = 6; i <= 8; i++) w.socket.event("room.1", i, i - 1);
	for (let i = 0; i < 5; i++) got.push((await it.next()).value.offset);
	assert.deepEqual(got, [1, 2, 3, 4, 5, 6, 7, 8]);
	assert.equal(w.sub.dropped, 0);
});

test("the bound counts bytes as well", async () => {
	const w = await live(0, { buffer: { count: 1000, bytes: 1000 } });
	for (let i = 1; i <= 20; i++) w.socket.event("room.1", i, i - 1, { data: "x".repeat(100) });
	assert.equal(w.sub.paused, true);
	assert.ok(w.sub.buffered < 10, w.sub.buffered);
});

test("ephemeral events: the oldest goes, durable ones stay", async () => {
	const w = await live(0, { buffer: { count: 4 } });
	const dropped = [];
	w.sub.on("drop", (e) => dropped.push(e.event_id));
	w.socket.event("room.1", 1, 0);
	for (let i = 1; i <= 6; i++) w.socket.say({ op: "event", channel: "room.1", type: "cursor.move", version: 1, event_id: `c${i}`, data: i });
	assert.deepEqual(dropped, ["c1", "c2", "c3"]);
	assert.equal(w.sub.dropped, 3);
	assert.equal(w.sub.buffered, 4);
	assert.equal(w.sub.paused, false);
	assert.equal((await w.sub[Symbol.asyncIterator]().next()).value.offset, 1);
});

test("policy drop-oldest drops durable ones, too", async () => {
	const w = await live(0, { buffer: { count: 3 }, policy: "drop-oldest" });
	for (let i = 1; i <= 5; i++) w.socket.event("room.1", i, i - 1);
	assert.equal(w.sub.dropped, 2);
	assert.equal(w.sub.paused, false);
	assert.equal((await w.sub[Symbol.asyncIterator]().next()).value.offset, 3);
});

test("two readers of one channel share one subscription of the protocol", async () => {
	const w = await live(5);
	const a = collect(w.sub);
	w.socket.event("room.1", 6, 5);
	const second = w.client.subscribe("room.1");
	const b = collect(second);
	assert.deepEqual(await second.ready, { epoch: "e1", offset: 6 });
	assert.equal(w.socket.all("subscribe").length, 1);
	w.socket.event("room.1", 7, 6);
	assert.deepEqual([a, b], [[6, 7], [7]]);
	w.sub.close();
	assert.equal(w.socket.all("unsubscribe").length, 0);
	second.close();
	assert.equal(w.socket.all("unsubscribe").length, 1);
});

test("a second reader of the past: the first one sees nothing twice", async () => {
	const w = await live(5);
	const a = collect(w.sub);
	w.socket.event("room.1", 6, 5);
	const b = collect(w.client.subscribe("room.1", { after: 0 }));
	assert.deepEqual(w.socket.last("subscribe").after, { offset: 0 });
	w.socket.subscribed(0);
	for (const [o, p] of [[4, 0], [6, 4], [7, 6]]) w.socket.event("room.1", o, p);
	assert.deepEqual([a, b], [[6, 7], [4, 6, 7]]);
});

test("a subscription that is refused: temporary tries again, else it ends with the error", async () => {
	const w = await connected();
	w.random = 1;
	const sub = w.client.subscribe("room.1");
	w.socket.answer("subscribe", { op: "error", code: "unavailable", message: "m", scope: "channel", temporary: true, retry_after_ms: 1000 });
	await w.clock.run(1499);
	assert.equal(w.socket.all("subscribe").length, 1);
	await w.clock.run(1);
	assert.equal(w.socket.all("subscribe").length, 2);
	w.socket.answer("subscribe", { op: "error", code: "forbidden", message: "m", scope: "channel", temporary: false });
	assert.equal((await outcome(sub.ready)).code, "forbidden");
	assert.equal((await outcome(sub[Symbol.asyncIterator]().next())).code, "forbidden");
	assert.equal(sub.closed, true);
});

test("already subscribed (a resumed session): asked again from our position", async () => {
	const w = await live(5);
	w.socket.event("room.1", 6, 5);
	w.socket.drop();
	await w.clock.run(500);
	w.socket.hello();
	w.socket.answer("subscribe", { op: "error", code: "conflict", message: "already subscribed", scope: "connection", temporary: false });
	w.socket.answer("unsubscribe", { op: "unsubscribed", channel: "room.1" });
	assert.deepEqual(w.socket.last("subscribe").after, { epoch: "e1", offset: 6 });
	assert.equal(w.socket.all("subscribe").length, 2);
});

test("no answer to a subscription: the line is given up", async () => {
	const w = await connected();
	w.client.subscribe("room.1");
	for (let i = 0; i < 16; i++) {
		await w.clock.run(1000);
		w.sockets[0].say({ op: "pong" });
	}
	assert.equal(w.sockets[0].closed, true);
});

test("ack: by hand, cumulative, once a second", async () => {
	const w = await live(0);
	const it = w.sub[Symbol.asyncIterator]();
	for (let i = 1; i <= 3; i++) w.socket.event("room.1", i, i - 1);
	await it.next();
	w.sub.ack();
	await it.next();
	w.sub.ack();
	assert.equal(w.socket.all("ack").length, 0);
	await w.clock.run(1000);
	assert.deepEqual(w.socket.all("ack").map((f) => f.offset), [2]);
	await w.clock.run(10_000);
	assert.equal(w.socket.all("ack").length, 1);
});

test("ack: a refused one is nobody's business", async () => {
	const w = await live(0);
	const errors = [];
	w.client.on("error", (e) => errors.push(e));
	w.sub.ack(99);
	await w.clock.run(1000);
	w.socket.answer("ack", { op: "error", code: "bad_request", message: "m", scope: "connection", temporary: false });
	assert.deepEqual(errors, []);
	assert.equal(w.client.state, "open");
});

test("ack: automatic, when the next one is asked for", async () => {
	const w = await live(0, { ack: "auto" });
	const it = w.sub[Symbol.asyncIterator]();
	w.socket.event("room.1", 1, 0);
	w.socket.event("room.1", 2, 1);
	await it.next();
	await w.clock.run(2000);
	assert.equal(w.socket.all("ack").length, 0, "it is still being worked on");
	await it.next();
	await w.clock.run(2000);
	const { id, ...ack } = w.socket.last("ack");
	assert.deepEqual(ack, { op: "ack", channel: "room.1", offset: 1 });
});

test("ack: automatic with a callback, and what waits for a connection", async () => {
	const w = await live(0, { ack: "auto" });
	collect(w.sub);
	w.socket.event("room.1", 1, 0);
	w.socket.drop();
	await w.clock.run(1500);
	w.socket.hello();
	w.socket.subscribed(1);
	await w.clock.run(1000);
	const { id, ...ack } = w.socket.last("ack");
	assert.deepEqual(ack, { op: "ack", channel: "room.1", offset: 1 });
});

test("events that came before anybody read are kept for the callback", async () => {
	const w = await live(0);
	w.socket.event("room.1", 1, 0);
	const seen = collect(w.sub);
	w.socket.event("room.1", 2, 1);
	assert.deepEqual(seen, [1, 2]);
});

test("a callback that throws does not hurt the others", async () => {
	const w = await live(0);
	const thrown = [];
	const handler = (e) => thrown.push(e.message);
	process.setUncaughtExceptionCaptureCallback(handler);
	try {
		w.sub.on("event", () => {
			throw new Error("mine");
		});
		const seen = collect(w.sub);
		w.socket.event("room.1", 1, 0);
		await settle();
		assert.deepEqual(seen, [1]);
		assert.deepEqual(thrown, ["mine"]);
	} finally {
		process.setUncaughtExceptionCaptureCallback(null);
	}
});
