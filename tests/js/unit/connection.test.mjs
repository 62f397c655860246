/* When and where the client connects: bands of close codes, jitter, resume, drain, watchdog. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { closeBand, fullJitter, PenstockError, socketUrl } from "../../../clients/js/penstock.js";
import { connected, outcome, settle, world } from "../fake.mjs";

test("the bands of close codes", () => {
	const of = (...codes) => codes.map(closeBand);
	assert.deepEqual(of(4001, 4002, 4003, 4099), ["stop", "stop", "stop", "stop"]);
	assert.deepEqual(of(4100, 4101, 4102, 4103), ["backoff", "backoff", "backoff", "backoff"]);
	assert.deepEqual(of(4200, 4201), ["resume", "resume"]);
	assert.deepEqual(of(4300, 4301), ["fresh", "fresh"]);
	assert.deepEqual(of(1000, 1001, 1006, 1012, 4400, 4999), ["lost", "lost", "lost", "lost", "lost", "lost"]);
});

test("full jitter lies between nothing and a bound that doubles", () => {
	const range = { min_ms: 500, max_ms: 20_000 };
	assert.equal(fullJitter(0, range, () => 0), 0);
	assert.equal(fullJitter(0, range, () => 1), 500);
	assert.deepEqual([0, 1, 2, 5, 6, 500].map((n) => fullJitter(n, range, () => 1)), [500, 1000, 2000, 16_000, 20_000, 20_000]);
	for (let i = 0; i < 1000; i++) {
		const ms = fullJitter(3, range);
		assert.ok(ms >= 0 && ms < 4000, ms);
	}
});

test("the address of the socket", () => {
	assert.equal(socketUrl("http://a:7080"), "ws://a:7080/v1/ws");
	assert.equal(socketUrl("https://a/"), "wss://a/v1/ws");
	assert.equal(socketUrl("https://a/base/"), "wss://a/base/v1/ws");
	assert.equal(socketUrl("wss://a/v1/ws"), "wss://a/v1/ws");
	assert.throws(() => socketUrl("nonsense"));
});

test("the token goes in the first frame, not in the address", async () => {
	const w = await connected();
	assert.equal(w.socket.url, "ws://edge.test/v1/ws");
	assert.deepEqual(w.socket.protocols, ["penstock.v1.json"]);
	assert.deepEqual(w.socket.sent[0], { op: "connect", token: "pk_a_b" });
	assert.equal(w.client.state, "open");
	assert.equal(w.client.session, "s1");
	assert.equal(await w.client.ready, w.client);
});

test("without a WebSocket it is said what to do", () => {
	const had = Object.getOwnPropertyDescriptor(globalThis, "WebSocket");
	Object.defineProperty(globalThis, "WebSocket", { value: undefined, configurable: true, writable: true });
	try {
		assert.throws(() => world({ WebSocket: undefined }), (e) => e instanceof PenstockError && e.code === "unsupported" && /WebSocket/.test(e.message));
	} finally {
		if (had) Object.defineProperty(globalThis, "WebSocket", had);
		else delete globalThis.WebSocket;
	}
});

test("options that make no sense are refused at once", () => {
	assert.throws(() => world({ token: undefined }), TypeError);
	assert.throws(() => world({ url: "nonsense" }), TypeError);
});

for (const code of [4001, 4002, 4003]) {
	test(`${code} stops for good`, async () => {
		const w = await connected();
		const waits = w.client.publish("room.1", "chat.message", {});
		w.socket.say({ op: "error", code: "unauthenticated", message: "no", scope: "connection", temporary: false });
		w.socket.drop(code);
		const e = await outcome(waits);
		assert.equal(e.code, "unauthenticated");
		assert.equal(e.close_code, code);
		assert.equal(w.client.state, "stopped");
		await w.clock.run(600_000);
		assert.equal(w.sockets.length, 1);
		assert.equal(w.clock.size, 0, "no timer is left");
		assert.equal((await outcome(w.client.publish("room.1", "chat.message", {}))).code, "unauthenticated");
		assert.throws(() => w.client.subscribe("room.1"), { code: "unauthenticated" });
	});
}

test("stopped before it was ever connected: ready says so", async () => {
	const w = world();
	await settle();
	w.socket.accept();
	w.socket.drop(4001);
	assert.equal((await outcome(w.client.ready)).close_code, 4001);
});

test("4001 with getToken: another token is tried, the same one is not", async () => {
	const tokens = ["one", "two", "two"];
	const w = await connected({ token: undefined, getToken: async () => tokens.shift() });
	assert.equal(w.socket.sent[0].token, "one");
	w.socket.drop(4001, "token expired");
	await w.clock.run(500);
	w.socket.hello();
	assert.deepEqual(w.socket.sent[0], { op: "connect", token: "two" });
	w.socket.drop(4001);
	await w.clock.run(500);
	assert.equal(w.sockets.length, 2, "a token that was refused is not sent again");
	assert.equal(w.client.state, "stopped");
});

test("getToken that fails is tried again, with backoff", async () => {
	let n = 0;
	const w = world({ token: undefined, getToken: () => (n++ < 2 ? Promise.reject(new Error("no network")) : "pk_x_y") });
	await settle();
	assert.equal(w.sockets.length, 0);
	assert.equal(w.client.state, "waiting");
	await w.clock.run(5_000);
	assert.equal(w.sockets.length, 1);
});

test("41xx backs off, honouring retry_after_ms", async () => {
	const w = await connected();
	w.random = 1;
	w.socket.say({ op: "error", code: "unavailable", message: "later", scope: "connection", temporary: true, retry_after_ms: 3000 });
	w.socket.drop(4100);
	await w.clock.run(4_999);
	assert.equal(w.sockets.length, 1, "3 s as told and up to 2 s of jitter");
	await w.clock.run(1);
	assert.equal(w.sockets.length, 2);
	assert.equal(w.states.includes("waiting"), true);
});

test("a lost connection is resumed with the token of connected, and of the frame resume", async () => {
	const w = await connected();
	w.socket.drop();
	await w.clock.run(500);
	w.socket.accept();
	assert.deepEqual(w.socket.sent[0], { op: "connect", resume: "r1", token: "pk_a_b" });
	w.socket.say({ op: "connected", session: "s1", tenant: "t", edge: "e", resume: "r2", resume_ttl_ms: 120_000, ping_ms: 25_000, limits: {} });
	w.socket.say({ op: "resume", resume: "r3", resume_ttl_ms: 120_000 });
	w.socket.drop();
	await w.clock.run(2_000);
	w.socket.accept();
	assert.deepEqual(w.socket.sent[0], { op: "connect", resume: "r3", token: "pk_a_b" });
});

test("a resume token that has run out is not sent", async () => {
	const w = world();
	await settle();
	w.socket.hello({ resume_ttl_ms: 1000 });
	w.socket.drop();
	await w.clock.run(500);
	const early = w.socket;
	early.accept();
	assert.deepEqual(early.sent[0], { op: "connect", resume: "r1", token: "pk_a_b" });
	await w.clock.run(500);
	early.drop();
	await w.clock.run(1000);
	assert.notEqual(w.socket, early);
	w.socket.accept();
	assert.deepEqual(w.socket.sent[0], { op: "connect", token: "pk_a_b" }, "the second loss is of a connection that was none");
});

test("a resume token's time begins when the connection is lost, not when the token came", async () => {
	const w = world();
	await settle();
	w.socket.hello({ resume_ttl_ms: 1000 });
	await w.clock.run(10_000);
	w.socket.drop();
	await w.clock.run(500);
	w.socket.accept();
	assert.deepEqual(w.socket.sent[0], { op: "connect", resume: "r1", token: "pk_a_b" });
});

test("an edge that does not resume says so with no time at all", async () => {
	const w = world();
	await settle();
	w.socket.hello({ resume_ttl_ms: 0 });
	w.socket.drop();
	await w.clock.run(500);
	w.socket.accept();
	assert.deepEqual(w.socket.sent[0], { op: "connect", token: "pk_a_b" });
});

for (const code of [4300, 4301]) {
	test(`${code}: a fresh session, at once, and the application is told`, async () => {
		const w = await connected({ token: undefined, getToken: () => "pk_a_b" });
		const told = [];
		w.client.on("session", (s) => told.push(s));
		w.socket.drop();
		await w.clock.run(500);
		w.socket.accept();
		assert.deepEqual(w.socket.sent[0], { op: "connect", resume: "r1" }, "getToken is not asked without need");
		w.socket.say({ op: "error", code: "expired", message: "gone", scope: "connection", temporary: false });
		w.socket.drop(code);
		await w.clock.run(1_000);
		w.socket.hello({ session: "s2" });
		assert.deepEqual(w.socket.sent[0], { op: "connect", token: "pk_a_b" });
		assert.deepEqual(told.map((s) => [s.session, s.resumed]), [["s2", false]]);
	});
}

test("the backoff grows to 20 s, and starts anew after a connection that held", async () => {
	const w = world();
	w.random = 1;
	await settle();
	const waits = [];
	w.client.on("state", (s) => s.state === "waiting" && waits.push(s.retry_in_ms));
	for (let i = 0; i < 8; i++) {
		w.socket.drop();
		await w.clock.run(waits.at(-1));
	}
	assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
	w.socket.hello();
	await w.clock.run(5_000);
	w.socket.drop();
	assert.equal(waits.at(-1), 20_000, "5 s are no proof");
	await w.clock.run(20_000);
	w.socket.hello();
	await w.clock.run(10_000);
	w.socket.drop();
	assert.equal(waits.at(-1), 500);
});

test("several addresses: the next one after each loss", async () => {
	const w = world({ url: ["http://a", "http://b"] });
	w.random = 0;
	await settle();
	assert.equal(w.socket.url, "ws://a/v1/ws");
	w.socket.drop();
	await w.clock.run(0);
	assert.equal(w.socket.url, "ws://b/v1/ws");
	w.socket.hello();
	w.socket.drop();
	await w.clock.run(0);
	assert.equal(w.socket.url, "ws://a/v1/ws");
});

test("an edge that answers, if only to refuse the resume token, is asked again", async () => {
	const w = await connected({ url: ["http://a", "http://b"] });
	w.random = 0;
	w.socket.drop();
	await w.clock.run(0);
	assert.equal(w.socket.url, "ws://b/v1/ws");
	w.socket.accept();
	w.socket.drop(4300);
	await w.clock.run(0);
	assert.equal(w.socket.url, "ws://b/v1/ws");
});

test("an error without a close, as some Node has it", async () => {
	const w = world();
	w.random = 0;
	await settle();
	w.socket.onerror({});
	await w.clock.run(0);
	assert.equal(w.sockets.length, 2);
	w.socket.hello();
	w.socket.onerror({});
	await w.clock.run(999);
	assert.equal(w.client.state, "open");
	await w.clock.run(1);
	assert.notEqual(w.client.state, "open");
});

test("wake: now instead of later", async () => {
	const w = await connected();
	w.random = 1;
	w.socket.drop();
	await w.clock.run(10);
	assert.equal(w.sockets.length, 1);
	w.client.wake();
	await settle();
	assert.equal(w.sockets.length, 2);
	w.socket.hello();
	w.client.wake();
	w.client.wake();
	assert.equal(w.socket.all("ping").length, 1);
	await w.clock.run(8_000);
	assert.notEqual(w.client.state, "open", "nobody answered");
});

test("locate: the edge of this tenant; without an answer the address itself", async () => {
	const asked = [];
	let answer = { ok: true, json: async () => ({ edge: "edge-2", url: "http://edge-2.test", region: "local" }) };
	const fetch = async (url, init) => {
		asked.push([url, init.headers.Authorization]);
		if (!answer) throw new Error("unreachable");
		return answer;
	};
	const w = world({ locate: true, fetch });
	w.random = 0;
	await settle();
	assert.deepEqual(asked, [["http://edge.test/v1/locate", "Bearer pk_a_b"]]);
	assert.equal(w.socket.url, "ws://edge-2.test/v1/ws");
	answer = null;
	w.socket.drop();
	await w.clock.run(0);
	assert.equal(w.socket.url, "ws://edge.test/v1/ws");
});

test("drain: the new socket is ready before the old one goes", async () => {
	const w = await connected();
	const old = w.socket;
	const sub = w.client.subscribe("room.1");
	old.subscribed(10);
	const answered = w.client.publish("room.1", "chat.message", 1);
	old.say({ op: "drain", url: "http://edge-2.test", reconnect_after_ms: 700, deadline_ms: 10_000, reason: "shutdown" });
	await w.clock.run(699);
	assert.equal(w.sockets.length, 1);
	await w.clock.run(1);
	assert.equal(w.sockets.length, 2);
	const next = w.socket;
	assert.equal(next.url, "ws://edge-2.test/v1/ws");
	assert.deepEqual(old.closed, false);
	old.event("room.1", 11, 10);
	next.hello({ edge: "edge-2", resume: "r2" });
	assert.deepEqual(next.sent[0], { op: "connect", resume: "r1", token: "pk_a_b" });
	assert.deepEqual(next.last("subscribe").after, { epoch: "e1", offset: 11 });
	assert.equal(next.all("publish").length, 0, "its answer still comes on the old one");
	old.event("room.1", 12, 11);
	next.subscribed(11);
	next.event("room.1", 12, 11);
	next.event("room.1", 13, 12);
	await w.clock.run(100);
	assert.equal(old.closed, false);
	old.answer("publish", { op: "accepted", event_id: "x", channel: "room.1", offset: 14, duplicate: false });
	assert.equal((await answered).offset, 14);
	await w.clock.run(100);
	assert.equal(old.closed, true);
	const seen = [];
	sub.on("event", (e) => seen.push(e.offset));
	assert.deepEqual(seen, [11, 12, 13]);
	assert.equal(w.client.state, "open");
	assert.equal(w.states.includes("waiting"), false);
});

test("drain: if the old one closes first, its commands go to the new one", async () => {
	const w = await connected();
	const old = w.socket;
	const answered = w.client.publish("room.1", "chat.message", 1, { key: "k" });
	old.say({ op: "drain", url: "http://edge-2.test", reconnect_after_ms: 700, deadline_ms: 10_000, reason: "shutdown" });
	old.drop(4200);
	await w.clock.run(700);
	assert.equal(w.sockets.length, 2);
	w.socket.hello();
	assert.equal(w.socket.last("publish").key, "k");
	w.socket.answer("publish", { op: "accepted", event_id: "x", channel: "room.1", offset: 1, duplicate: true });
	assert.equal((await answered).duplicate, true);
});

test("drain: the old one is lost while a token is fetched: one new connection, not two", async () => {
	let give;
	const tokens = ["one"];
	const w = world({ token: undefined, getToken: () => tokens.shift() ?? new Promise((resolve) => (give = resolve)) });
	await settle();
	w.socket.hello({ resume_ttl_ms: 0 });
	w.socket.say({ op: "drain", url: "http://edge-2.test", reconnect_after_ms: 0, deadline_ms: 10_000, reason: "shutdown" });
	await w.clock.run(0);
	w.socket.drop(4200);
	give("two");
	await settle();
	w.socket.hello();
	await w.clock.run(20_000);
	assert.deepEqual(w.sockets.map((s) => s.url), ["ws://edge.test/v1/ws", "ws://edge-2.test/v1/ws"]);
	assert.equal(w.client.state, "open");
});

test("drain: the old one serves on while the new one cannot be had", async () => {
	const w = await connected({ url: ["http://a", "http://b"] });
	const old = w.socket;
	old.say({ op: "drain", url: "http://edge-2.test", reconnect_after_ms: 0, deadline_ms: 10_000, reason: "shutdown" });
	await w.clock.run(0);
	w.socket.drop();
	assert.equal(w.client.state, "open");
	const answered = w.client.publish("room.1", "chat.message", 1);
	old.answer("publish", { op: "accepted", event_id: "x", channel: "room.1", offset: 1, duplicate: false });
	assert.equal((await answered).offset, 1);
	await w.clock.run(1_000);
	assert.equal(w.sockets.length, 3);
	w.socket.hello();
	await w.clock.run(200);
	assert.equal(old.closed, true);
});

test("4201 without a drain frame: resumed after little jitter", async () => {
	const w = await connected();
	w.random = 1;
	w.socket.drop(4201);
	await w.clock.run(500);
	w.socket.accept();
	assert.deepEqual(w.socket.sent[0], { op: "connect", resume: "r1", token: "pk_a_b" });
});

test("silence: a ping after ping_ms, and the end of the line without an answer", async () => {
	const w = await connected();
	await w.clock.run(24_999);
	assert.equal(w.socket.all("ping").length, 0);
	await w.clock.run(1);
	assert.equal(w.socket.all("ping").length, 1);
	w.socket.answer("ping", { op: "pong" });
	await w.clock.run(8_000);
	assert.equal(w.client.state, "open");
	await w.clock.run(17_000);
	assert.equal(w.socket.all("ping").length, 2);
	const dead = w.socket;
	await w.clock.run(7_999);
	assert.equal(w.client.state, "open");
	await w.clock.run(1);
	assert.equal(dead.closed, true);
	assert.notEqual(w.client.state, "open");
	await w.clock.run(500);
	assert.equal(w.sockets.length, 2, "a line that is dead is not waited for");
});

test("whoever hears something does not ask", async () => {
	const w = await connected();
	for (let i = 0; i < 10; i++) {
		await w.clock.run(20_000);
		w.socket.say({ op: "error", code: "rate_limited", message: "", scope: "tenant", temporary: true });
	}
	assert.equal(w.socket.all("ping").length, 0);
});

test("a socket that never opens is given up after 10 s", async () => {
	const w = world();
	w.random = 0;
	await settle();
	await w.clock.run(9_999);
	assert.equal(w.sockets.length, 1);
	await w.clock.run(1);
	assert.equal(w.sockets.length, 2);
	assert.equal(w.sockets[0].closed, true);
});

test("a late close of a socket that was given up changes nothing", async () => {
	const w = world();
	w.random = 0;
	await settle();
	const first = w.socket;
	await w.clock.run(10_000);
	w.socket.hello();
	first.drop(4001);
	assert.equal(w.client.state, "open");
});

test("close() ends everything and leaves no timer", async () => {
	const w = await connected();
	const sub = w.client.subscribe("room.1");
	const waits = w.client.publish("room.1", "chat.message", 1);
	const next = sub[Symbol.asyncIterator]().next();
	w.client.close();
	assert.deepEqual(await next, { done: true, value: undefined });
	assert.equal((await outcome(waits)).code, "closed");
	assert.equal(w.socket.closed, true);
	assert.equal(w.client.state, "closed");
	await w.clock.run(100_000);
	assert.equal(w.sockets.length, 1);
	assert.equal(w.clock.size, 0);
});

test("frames of a later version are left alone, and what is no JSON ends the line", async () => {
	const w = await connected();
	w.socket.say({ op: "fireworks" });
	assert.equal(w.client.state, "open");
	w.socket.onmessage({ data: "{" });
	assert.notEqual(w.client.state, "open");
});
