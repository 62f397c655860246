/* Penstock's client for browsers and Node (18 and later): one module, no dependencies.
 *
 *     import { connect } from "./penstock.js";
 *     const plane = connect({ url: "https://edge.example", token });
 *     for await (const event of plane.subscribe("room.7")) show(event.data);
 *     await plane.publish("room.7", "chat.message", { text: "hello" });
 *     const task = plane.task("summarize", { document });
 *     for await (const chunk of task.stream("draft")) text = (chunk.reset ? "" : text) + chunk.data;
 *     console.log(await task.result);
 *
 * What it takes off an application's hands (docs/protocol.md has the rules):
 *  - the connection: resume, full-jitter backoff, drain with overlapping sockets, the bands of close codes;
 *  - commands: sent again under the same key until they are accepted, refused for good, or late;
 *  - channels: the position (epoch, offset) is kept, holes are read again, repeats are dropped;
 *  - tokens of a model: in order, without what a later attempt made void.
 *
 *   class         answers
 *   Client        where to connect, when again, what is still to be sent
 *   Link          one socket: greeting, watchdog, answers by id
 *   Channel       one channel on the wire: asked, live, asked again from another position
 *   Subscription  one reader of a channel: its own position, its bounded buffer
 *   Task          one task: its transitions, and the text of each stage (StageText)
 *
 * Every time comes from options.clock and every random number from options.random: tests set both. */

export const SUBPROTOCOL = "penstock.v1.json";

const DEFAULTS = {
	backoff: { min_ms: 500, max_ms: 20_000 },
	queue: { count: 1000, bytes: 4 << 20 },
	buffer: { count: 1024, bytes: 4 << 20 },
	timeout_ms: 60_000, // of a command, all tries together
	connect_ms: 10_000, // from opening a socket to `connected`
	answer_ms: 15_000, // the edge answers within 5 s; then the command is sent again
	pong_ms: 8_000,
	ack_ms: 1_000, // acknowledgements are cumulative: one a second and channel
	remember: 4096, // event ids for each subscription
};
const STABLE_MS = 10_000; // a connection that lived so long starts the backoff anew
const RETIRE_MS = 5_000; // how long the old socket may finish its answers in a drain
const REPAIR_MS = 30_000; // without progress towards the end of a gap that the edge replays
const MISSED_MS = 1_000; // until a gap is asked for that it does not replay by itself
const HOLE_MS = 1_000; // how long a later piece of text waits for an earlier one
const HELD_MAX = 256;
const ERROR_MS = 1_000; // how long a socket's error may come before its close
const LOCATE_MS = 3_000;
const FRAME_EXTRA = 64; // what an id and the like add to a command
const ENDS = new Set(["task.completed", "task.failed", "task.cancelled", "task.expired"]);

/* Codes of the protocol, and those of this library: closed, queue_full, deadline, aborted, offline,
 * unsupported, task_failed, task_cancelled, task_expired. */
export class PenstockError extends Error {
	constructor(code, message, more = {}) {
		super(message);
		this.name = "PenstockError";
		this.code = code;
		this.temporary = false;
		Object.assign(this, more);
	}

	static of(frame) {
		const { code, message, scope, temporary, retry_after_ms, details } = frame;
		return new PenstockError(code, message, { scope, temporary, retry_after_ms, details });
	}
}

/* Anywhere between nothing and a bound that doubles: whoever was cut off together does not come back together. */
export function fullJitter(attempt, { min_ms, max_ms }, random = Math.random) {
	return random() * Math.min(max_ms, min_ms * 2 ** Math.min(attempt, 30));
}

/* What a close code asks for. Outside of 4000–4399: the connection was lost. */
export function closeBand(code) {
	return { 40: "stop", 41: "backoff", 42: "resume", 43: "fresh" }[Math.floor(code / 100)] ?? "lost";
}

/* A base address (http, https, ws or wss) as the address of the WebSocket. */
export function socketUrl(base) {
	const url = new URL(base);
	url.protocol = url.protocol.replace("http", "ws");
	url.hash = "";
	if (!url.pathname.endsWith("/v1/ws")) url.pathname = url.pathname.replace(/\/+$/, "") + "/v1/ws";
	return url.href;
}

function locateUrl(base) {
	const url = new URL(socketUrl(base));
	url.protocol = url.protocol.replace("ws", "http");
	url.pathname = url.pathname.replace(/\/v1\/ws$/, "/v1/locate");
	return url.href;
}

const encoder = new TextEncoder();

/* Counts exactly only where it matters: no text has more than three bytes for each of its units. */
function longerThan(text, bytes) {
	return text.length > bytes || (text.length * 3 > bytes && encoder.encode(text).length > bytes);
}

// Node 18 has no global crypto. Put together so that no bundler looks for it.
const crypto = globalThis.crypto ?? (await import("node:" + "crypto")).webcrypto;

function uuid() {
	if (crypto.randomUUID) return crypto.randomUUID();
	// Pages without TLS have no randomUUID.
	const b = crypto.getRandomValues(new Uint8Array(16));
	b[6] = (b[6] & 0x0f) | 0x40;
	b[8] = (b[8] & 0x3f) | 0x80;
	return Array.from(b, (x, i) => ([4, 6, 8, 10].includes(i) ? "-" : "") + x.toString(16).padStart(2, "0")).join("");
}

/* A promise with its ends outside. */
function deferred() {
	const d = {};
	d.promise = new Promise((resolve, reject) => Object.assign(d, { resolve, reject }));
	return d;
}

/* Of a promise that is only offered: nobody has to look at it. */
function optional() {
	const d = deferred();
	d.promise.catch(() => {});
	return d;
}

class Emitter {
	constructor() {
		this._listeners = new Map();
	}

	/* Returns the function that ends it. */
	on(name, fn) {
		const fns = this._listeners.get(name) ?? new Set();
		this._listeners.set(name, fns.add(fn));
		return () => fns.delete(fn);
	}

	_emit(name, detail) {
		for (const fn of this._listeners.get(name) ?? []) {
			try {
				fn(detail);
			} catch (e) {
				// The application's mistake: shown as any uncaught one, and not our end.
				queueMicrotask(() => {
					throw e;
				});
			}
		}
	}

	_heard(name) {
		return (this._listeners.get(name)?.size ?? 0) > 0;
	}
}

/* --- one socket ---------------------------------------------------------------------------- */

/*  opening --socket open, connect sent--> greeting --connected--> open --> closed
 *     \_________________________ anything else ___________________________^        */
class Link {
	constructor(client, url, credential) {
		this.client = client;
		this.url = url;
		this.credential = credential;
		this.state = "opening";
		this.calls = new Map(); // id → what its answer goes to; of subscriptions only
		this.inFlight = 0; // commands
		this.lastError = null; // that came without an id: why it will be closed
		this.heard = 0;
		this.pinged = 0; // when we asked whether anybody is there, and nothing has come since
		this._timer = client._after(client._conf.connect_ms, () => this.fail("not connected in time"));
		let socket;
		try {
			socket = this._socket = new client._conf.WebSocket(url, [SUBPROTOCOL]);
		} catch (e) {
			client._after(0, () => this._closed(1006, String(e?.message ?? e)));
			return;
		}
		socket.onopen = () => this._opened();
		socket.onmessage = (m) => this._message(m.data);
		socket.onclose = (e) => this._closed(e.code || 1006, e.reason || "");
		// Close follows, and says more; but not in every Node where the server could not be reached at all.
		socket.onerror = () => client._after(this.state === "opening" ? 0 : ERROR_MS, () => this._closed(1006, "socket error"));
	}

	_opened() {
		if (this.state !== "opening") return;
		this.state = "greeting";
		this.send({ op: "connect", ...this.credential });
	}

	send(frame) {
		this.sendText(JSON.stringify(frame));
	}

	sendText(text) {
		// A socket that is closing already: what was sent is sent again on the next one.
		try {
			this._socket.send(text);
		} catch {}
	}

	/* Sends a request whose answer goes to fn. */
	call(frame, fn) {
		const id = this.client._id();
		const timer = this.client._after(this.client._conf.answer_ms, () => this.fail("no answer"));
		this.calls.set(id, (answer) => {
			this.client._cancel(timer);
			fn(answer);
		});
		this.send({ ...frame, id });
	}

	_message(data) {
		if (this.state === "closed" || typeof data !== "string") return;
		this.heard = this.client._now();
		this.pinged = 0;
		let frame;
		try {
			frame = JSON.parse(data);
		} catch {
			this.fail("not JSON");
			return;
		}
		if (frame.op === "connected" && this.state === "greeting") {
			this._connected(frame);
			return;
		}
		const call = frame.id !== undefined && this.calls.get(frame.id);
		if (call) {
			this.calls.delete(frame.id);
			call(frame);
			return;
		}
		if (frame.op === "error" && frame.id === undefined) this.lastError = frame;
		this.client._frame(this, frame, data.length);
	}

	_connected(frame) {
		this.state = "open";
		this.hello = frame;
		this.client._cancel(this._timer);
		this._stable = this.client._after(STABLE_MS, () => this.client._stable(this));
		this._watch();
		this.client._adopt(this);
	}

	/* Browsers do not show the server's pings: after ping_ms of silence we ask ourselves. A timer that came late (a
	 * sleeping tab) only asks; the line is dead when the question was not answered. */
	_watch() {
		const { pong_ms } = this.client._conf;
		const ping_ms = this.hello.ping_ms || 25_000;
		const now = this.client._now();
		let next = this.heard + ping_ms - now;
		if (this.pinged) {
			if (now - this.pinged >= pong_ms) {
				this.fail("no pong");
				return;
			}
			next = this.pinged + pong_ms - now;
		} else if (next <= 0) {
			this.probe();
			return;
		}
		this._timer = this.client._after(next, () => this._watch());
	}

	/* Is anybody there? */
	probe() {
		if (this.state !== "open" || this.pinged) return;
		this.pinged = this.client._now();
		this.send({ op: "ping", id: this.client._id() });
		this.client._cancel(this._timer);
		this._timer = this.client._after(this.client._conf.pong_ms, () => this._watch());
	}

	/* Ends it at once: a dead line would keep the socket in its closing handshake. */
	fail(reason) {
		this._hangUp();
		this._closed(1006, reason);
	}

	/* Ends it, and nobody is told. */
	end() {
		if (this.state === "closed") return;
		this._hangUp();
		this._over();
	}

	_hangUp() {
		const s = this._socket;
		if (!s) return;
		s.onopen = s.onmessage = s.onclose = null;
		s.onerror = () => {}; // of the package ws: without a listener it would be thrown
		try {
			s.close(1000);
		} catch {}
	}

	_over() {
		this.state = "closed";
		this.client._cancel(this._timer);
		this.client._cancel(this._stable);
	}

	_closed(code, reason) {
		if (this.state === "closed") return;
		this._over();
		this.client._lost(this, { code, reason, error: this.lastError });
	}
}

/* --- one channel on the wire ---------------------------------------------------------------- */

/*   off --ask--> asking --subscribed--> live --resync--> asking
 *    ^------------- leave, link lost -----'
 *
 * All readers of a channel share one subscription of the protocol, which starts at the earliest of their
 * positions; each drops what it has. In a drain both sockets deliver: the positions make one stream of the two. */
class Channel {
	constructor(client, name) {
		this.client = client;
		this.name = name;
		this.subs = new Set();
		this.link = null;
		this.phase = "off";
		this.pos = null; // the newest offset that came on the wire
		this.redo = false; // asked for something else while it was asking
		this.tries = 0;
		this.told = 0; // up to where a loss was told
	}

	add(sub) {
		this.subs.add(sub);
		if (this.phase === "live" && this.pos !== null) {
			// Who wants what comes from now on, or continues exactly here, need not ask.
			if (sub.last === null || (sub.last === this.pos && sub.epoch === this.epoch)) sub._joined(this, this.pos);
			else this.resync();
		} else {
			this.sync();
		}
	}

	remove(sub) {
		this.subs.delete(sub);
		this.sync();
	}

	_active() {
		return [...this.subs].filter((s) => !s.paused);
	}

	/* Makes the wire as the readers need it. */
	sync() {
		const link = this.client._link;
		const active = this._active();
		if (this.phase === "asking") {
			this.redo = true;
		} else if (this.phase === "live") {
			if (!active.length) this._leave();
			else if (active.some((s) => s.last !== null && this.pos !== null && s.last < this.pos)) this.resync();
		} else if (active.length && link?.state === "open" && !this._retry) {
			this._ask(link);
		}
		if (!this.subs.size && this.phase === "off") this.client._forget(this);
	}

	_leave() {
		this.link.call({ op: "unsubscribe", channel: this.name }, () => {});
		this.phase = "off";
		this.link = null;
	}

	/* Again, from the earliest position of the readers. */
	resync() {
		if (this.phase !== "live") return;
		const link = this.link;
		this._leave();
		if (link === this.client._link) this._ask(link);
	}

	_ask(link) {
		const known = this._active().filter((s) => s.last !== null);
		const first = known.reduce((a, b) => (!a || b.last < a.last ? b : a), null);
		// Without its epoch a position says nothing: then from the beginning, and what is known is dropped.
		const after = first && (first.epoch ? { epoch: first.epoch, offset: first.last } : { offset: 0 });
		this.link = link;
		this.phase = "asking";
		this.redo = false;
		link.call({ op: "subscribe", channel: this.name, ...(after ? { after } : {}) }, (answer) => {
			if (this.link === link && this.phase === "asking") this._answered(answer, first ? first.last : null);
		});
	}

	_answered(frame, after) {
		if (frame.op === "error") {
			this._refused(frame);
			return;
		}
		this.phase = "live";
		this.tries = 0;
		this.epoch = frame.epoch;
		// With recovered, what follows continues from the position that was asked for.
		this.pos = frame.recovered && after !== null ? Math.max(after, frame.offset) : frame.offset;
		if (!frame.recovered) this.told = frame.offset;
		for (const sub of this.subs) {
			if (frame.recovered || sub.last === null) sub._joined(this, frame.offset);
			else sub._cut(frame, after > frame.offset);
		}
		if (this.redo) {
			this.redo = false;
			this.sync();
		}
	}

	_refused(frame) {
		const link = this.link;
		this.phase = "off";
		this.link = null;
		if (frame.code === "conflict") {
			// The edge has it already (a session that was resumed): we want it from our position.
			link.call({ op: "unsubscribe", channel: this.name }, () => this.sync());
			return;
		}
		if (frame.temporary) {
			this._retry = this.client._after(this.client._pause(frame, this.tries++), () => {
				this._retry = null;
				this.sync();
			});
			return;
		}
		const error = PenstockError.of(frame);
		for (const sub of [...this.subs]) sub._end(error);
		this.sync();
	}

	/* A task's channel is subscribed by the answer to its command. */
	subscribedBy(link) {
		if (this.phase === "off" && link === this.client._link) {
			this.phase = "live";
			this.link = link;
			this.pos = null;
		}
	}

	/* The link is gone, or another takes its place. */
	moved() {
		this.client._cancel(this._retry);
		this._retry = null;
		this.phase = "off";
		this.link = null;
		this.redo = false;
		this.sync();
	}

	event(link, frame, size) {
		let hole = false;
		if (frame.offset !== undefined && !(frame.offset <= this.pos)) this.pos = frame.offset;
		for (const sub of [...this.subs]) if (sub._event(frame, size) === "hole") hole = true;
		// Behind the old socket of a drain there is the new one, which reads from our position.
		if (hole && this.phase === "live" && link === this.link) this.resync();
	}

	delta(frame, size) {
		for (const sub of [...this.subs]) sub._delta(frame, size);
	}

	gap(link, frame) {
		if (link !== this.link) return;
		if (frame.replayable) {
			for (const sub of this.subs) sub._emit("gap", frame);
			// What the edge could not read is ours to ask for. Else it is on its way, at the pace of this socket.
			if (frame.reason === "missed") this.client._after(MISSED_MS, () => this._repair(frame.to, this._behind(frame.to)));
			else this._repair(frame.to, null);
		} else if (frame.to > this.told) {
			this.told = frame.to;
			this.pos = Math.max(this.pos ?? 0, frame.to);
			// Who has paused asks again later, and is told then.
			for (const sub of this._active()) sub._lost(frame.from, frame.to, frame.reason);
		}
	}

	/* The earliest position of those that have not come to this offset yet. */
	_behind(to) {
		const behind = this._active().filter((s) => s.last !== null && s.last < to);
		return behind.length ? Math.min(...behind.map((s) => s.last)) : null;
	}

	_repair(to, seen) {
		const last = this._behind(to);
		if (last === null || this.phase !== "live") return;
		if (last === seen) this.resync();
		else this.client._after(REPAIR_MS, () => this._repair(to, last));
	}
}

/* --- one reader of a channel ---------------------------------------------------------------- */

/* Read it by `for await`, or by on("event", fn); on("gap", …) tells what cannot be had any more, on("drop", …) what
 * was given up because the reader is slow. Before it is read, and while it is read slowly, up to options.buffer
 * events wait. Then durable channels are left and caught up with later; of ephemeral events the oldest goes. With
 * policy "drop-oldest" the oldest goes in any case. */
export class Subscription extends Emitter {
	constructor(client, channel, options = {}) {
		super();
		const { after, policy = "pause", deltas = false, gaps = false } = options;
		if (after !== undefined && after !== 0 && !Number.isSafeInteger(after?.offset))
			throw new TypeError("after must be 0 or {epoch, offset}");
		this.channel = channel;
		this.last = after === undefined ? null : after === 0 ? 0 : after.offset;
		this.epoch = after?.epoch;
		this.paused = false;
		this.dropped = 0;
		this.closed = false;
		this._client = client;
		this._policy = policy;
		this._deltas = deltas;
		this._gaps = gaps;
		this._autoAck = options.ack === "auto";
		this._limit = { ...client._conf.buffer, ...options.buffer };
		this._items = [];
		this._head = 0;
		this._bytes = 0;
		this._waiting = [];
		this._ids = new Set();
		this._stages = null;
		this._ready = optional();
		this._read = 0; // the offset of what the reader is working on
	}

	/* Resolved with {epoch, offset} when it is subscribed, rejected when it is refused. */
	get ready() {
		return this._ready.promise;
	}

	/* Of the newest event that was handed to the buffer: what `after` of another subscription continues from. Null
	 * before it is known. */
	get position() {
		return this.last === null ? null : { epoch: this.epoch, offset: this.last };
	}

	on(name, fn) {
		const off = super.on(name, fn);
		if (name === "event" && !this._iterated) this._drainTo();
		return off;
	}

	/* All up to offset (default: the last event that was read) is done with. */
	ack(offset = this._read) {
		if (offset > 0) this._client._ack(this.channel, offset);
	}

	close() {
		this._end(null);
	}

	[Symbol.asyncIterator]() {
		this._iterated = true;
		let given = 0;
		return {
			next: async () => {
				if (this._autoAck && given) this.ack(given);
				given = 0;
				const item = await this._next();
				if (item === undefined) return { done: true, value: undefined };
				if (item.op === "event" && item.offset) given = item.offset;
				return { done: false, value: item };
			},
			return: async () => {
				this.close();
				return { done: true, value: undefined };
			},
		};
	}

	/* --- what comes from the channel */

	_joined({ epoch }, offset) {
		this.last ??= offset;
		this.epoch = epoch;
		this._ready.resolve(this.position);
	}

	/* Our position cannot be continued: it is of another log, or not kept any more. It goes on afresh from here. */
	_cut({ epoch, offset }, ahead) {
		const other = ahead || (this.epoch !== undefined && this.epoch !== epoch);
		const from = this.last + 1;
		this.epoch = epoch;
		if (other) {
			this.last = offset;
			this._tell({ op: "gap", channel: this.channel, from: 0, to: offset, reason: "epoch_changed", replayable: false });
		} else {
			this._lost(from, offset, "expired");
		}
		this._ready.resolve(this.position);
	}

	_event(frame, size) {
		if (this.closed) return "closed";
		const durable = frame.offset !== undefined;
		if (durable) {
			if (this.last !== null && frame.offset <= this.last) return "repeat";
			if (this.paused) return "paused";
			if (this.last !== null && frame.prev > this.last) return "hole";
			this.last = frame.offset;
		}
		// Operators who deliver an event again want it to be seen again; once, for each time they do.
		if (this._known(frame.replay ? `${frame.event_id} ${frame.replay}` : frame.event_id)) return "repeat";
		this._push(frame, size, durable);
		return "taken";
	}

	/* One event may come twice: from two sockets, or with another offset from outside the plane's own window. */
	_known(id) {
		if (!id) return false;
		if (this._ids.has(id)) return true;
		this._ids.add(id);
		if (this._ids.size > this._client._conf.remember) this._ids.delete(this._ids.values().next().value);
		return false;
	}

	_delta(frame, size) {
		if (this._sink) {
			this._sink(frame);
		} else if (this._deltas && !this.closed) {
			this._stages ??= new Stages(this._client, (d) => this._push(d, d.data?.length ?? 0, false));
			this._stages.take(frame);
		}
	}

	_lost(from, to, reason) {
		if (this.last !== null && this.last >= to) return;
		this.last = to;
		this._tell({ op: "gap", channel: this.channel, from, to, reason, replayable: false });
	}

	_tell(gap) {
		if (this._gaps && !this._sink) this._push(gap, 0, false, true);
		this._emit("gap", gap);
	}

	/* --- the buffer */

	get buffered() {
		return this._items.length - this._head;
	}

	_push(item, size, durable, keep = false) {
		if (this._sink) {
			this._sink(item);
			return;
		}
		if (!this._iterated && this._heard("event") && !this.buffered) {
			this._hand(item);
			return;
		}
		const waiting = this._waiting.shift();
		if (waiting) {
			this._note(item);
			waiting.resolve(item);
			return;
		}
		this._items.push({ item, size, durable, keep });
		this._bytes += size;
		if (this.buffered > this._limit.count || this._bytes > this._limit.bytes) this._overflow(durable, keep);
	}

	_overflow(durable, keep) {
		if (durable && this._policy === "pause") {
			// What was just taken stays, so there is always progress; the rest comes when there is room.
			this.paused = true;
			this._client._channel(this.channel).sync();
		} else if (!keep) {
			this._dropOldest();
		}
	}

	_dropOldest() {
		while (this.buffered > 1 && (this.buffered > this._limit.count || this._bytes > this._limit.bytes)) {
			let at = this._head;
			if (this._policy === "pause") while (at < this._items.length && (this._items[at].durable || this._items[at].keep)) at++;
			if (at === this._items.length) return;
			const [{ item, size }] = this._items.splice(at, 1);
			this._bytes -= size;
			this.dropped++;
			this._emit("drop", item);
		}
	}

	_take() {
		const { item, size } = this._items[this._head];
		this._items[this._head++] = undefined;
		this._bytes -= size;
		if (this._head > 64 && this._head * 2 > this._items.length) {
			this._items.splice(0, this._head);
			this._head = 0;
		}
		if (this.paused && this.buffered <= this._limit.count / 2 && this._bytes <= this._limit.bytes / 2) {
			this.paused = false;
			this._client._channel(this.channel).sync();
		}
		return item;
	}

	_note(item) {
		if (item.op === "event" && item.offset) this._read = item.offset;
	}

	_next() {
		if (this.buffered) {
			const item = this._take();
			this._note(item);
			return item;
		}
		if (this.closed) {
			const error = this._error;
			this._error = null; // told once; from then on it is simply over
			return error ? Promise.reject(error) : undefined;
		}
		const d = deferred();
		this._waiting.push(d);
		return d.promise;
	}

	/* To the callback, and the acknowledgement when it is through. */
	_hand(item) {
		this._note(item);
		this._emit(item.op === "event" ? "event" : item.op, item);
		if (this._autoAck && item.op === "event") this.ack();
	}

	_drainTo() {
		while (this.buffered) this._hand(this._take());
	}

	_end(error) {
		if (this.closed) return;
		this.closed = true;
		this._error = error;
		this._stages?.end();
		this._client._channels.get(this.channel)?.remove(this);
		this._ready.reject(error ?? new PenstockError("closed", "the subscription was closed"));
		const waiting = this._waiting;
		this._waiting = [];
		if (waiting.length && error) {
			this._error = null;
			waiting.shift().reject(error);
		}
		for (const d of waiting) d.resolve(undefined);
		this._emit("end", error);
	}
}

/* --- text of a model, piece by piece --------------------------------------------------------- */

/* One stage: pieces in order of their index, only those of the highest attempt. `version` changes when text that was
 * there became void. */
class StageText {
	constructor(client, name, onPiece) {
		this.name = name;
		this.attempt = 0;
		this.text = "";
		this.version = 0;
		this.done = false;
		this._client = client;
		this._onPiece = onPiece;
		this._next = 0;
		this._held = new Map();
	}

	_void(attempt) {
		if (attempt <= this.attempt) return;
		const first = this.attempt === 0;
		this.attempt = attempt;
		this._next = 0;
		this._held.clear();
		if (this.text) this.version++;
		this.text = "";
		if (!first) this._onPiece?.({ op: "reset", attempt });
	}

	reset(attempt) {
		if (!this.done) this._void(attempt);
	}

	piece(attempt, index, data) {
		if (this.done || attempt < this.attempt) return;
		this._void(attempt);
		if (index < this._next || this._held.has(index)) return;
		this._held.set(index, data);
		this._run();
		if (this._held.size > HELD_MAX) this._skip();
		else if (this._held.size && !this._timer) this._timer = this._client._after(HOLE_MS, () => this._late());
	}

	_run() {
		while (this._held.has(this._next)) {
			const data = this._held.get(this._next);
			this._held.delete(this._next);
			this.text += data;
			this._onPiece?.({ op: "delta", attempt: this.attempt, index: this._next, data });
			this._next++;
		}
	}

	/* It will not come: the finished text of the stage, which an event brings, makes it whole. */
	_late() {
		this._timer = null;
		if (this._held.size) this._skip();
		if (this._held.size) this._timer = this._client._after(HOLE_MS, () => this._late());
	}

	_skip() {
		this._next = Math.min(...this._held.keys());
		this._run();
	}

	/* The stage's own record is the truth. */
	complete(attempt, text) {
		this.stop();
		this._void(attempt);
		if (typeof text === "string" && text !== this.text) {
			if (!text.startsWith(this.text)) this.version++;
			this.text = text;
		}
		this.done = true;
	}

	stop() {
		this._client._cancel(this._timer);
		this._timer = null;
		this._held.clear();
	}
}

/* The stages of the tasks of a channel, for who reads deltas as frames. */
class Stages {
	constructor(client, emit) {
		this._client = client;
		this._emit = emit;
		this._all = new Map();
	}

	take({ op, channel, task, stage, attempt, index, data }) {
		const key = `${task} ${stage}`;
		let s = this._all.get(key);
		if (!s) {
			s = new StageText(this._client, stage, (piece) => this._emit({ channel, task, stage, ...piece }));
			this._all.set(key, s);
		}
		if (op === "reset") s.reset(attempt);
		else s.piece(attempt, index, data);
		s.text = ""; // it went out
	}

	end() {
		for (const s of this._all.values()) s.stop();
	}
}

/* --- one task ------------------------------------------------------------------------------- */

/* Started by client.task(), or followed by client.follow(id). `accepted`, `result` and `end` are promises; the task
 * itself can be iterated: its transitions. on("event", fn) and on("text", fn) are there as well. */
export class Task extends Emitter {
	constructor(client, key, id) {
		super();
		this.key = key;
		this.id = id ?? null;
		this.status = id ? "accepted" : "sent";
		this.events = [];
		this._client = client;
		this._stages = new Map();
		this._wakers = new Set();
		this._accepted = optional();
		this._end = optional();
		this._result = optional();
	}

	/* {task, event_id, channel, offset, duplicate} */
	get accepted() {
		return this._accepted.promise;
	}

	/* The last event, whatever it says. */
	get end() {
		return this._end.promise;
	}

	/* The output of task.completed; else a PenstockError task_failed, task_cancelled or task_expired. */
	get result() {
		return this._result.promise;
	}

	/* What a stage has said so far. */
	text(stage) {
		return this._stages.get(stage)?.text ?? "";
	}

	/* {stage, attempt, data, reset}: with `reset`, forget what came before of this stage. Whoever is slow gets longer
	 * pieces, not more of them. Ends with the stage, or without one with the task. */
	async *stream(stage) {
		const at = new Map();
		for (;;) {
			let some = false;
			for (const s of stage === undefined ? [...this._stages.values()] : [this._stages.get(stage)]) {
				const chunk = s && this._chunk(s, at);
				if (!chunk) continue;
				some = true;
				yield chunk;
			}
			if (some) continue;
			if (this._over || (stage !== undefined && this._stages.get(stage)?.done)) break;
			await this._news();
		}
		if (this._error) throw this._error;
	}

	_chunk(s, at) {
		const cursor = at.get(s) ?? { version: 0, length: 0 };
		at.set(s, cursor);
		const reset = cursor.version !== s.version;
		if (reset) Object.assign(cursor, { version: s.version, length: 0 });
		if (!reset && cursor.length === s.text.length) return null;
		const data = s.text.slice(cursor.length);
		cursor.length = s.text.length;
		return { stage: s.name, attempt: s.attempt, data, reset };
	}

	async *[Symbol.asyncIterator]() {
		for (let i = 0; ; i++) {
			while (i >= this.events.length) {
				if (this._over) {
					if (this._error) throw this._error;
					return;
				}
				await this._news();
			}
			yield this.events[i];
		}
	}

	/* The command; the task ends when `task.cancelled` comes. */
	async cancel(options) {
		const id = this.id ?? (await this.accepted).task;
		return this._client.cancel(id, options);
	}

	/* Does not listen any more; the task goes on. */
	detach() {
		this._finish(new PenstockError("closed", "nobody follows this task any more"));
	}

	_news() {
		return new Promise((resolve) => this._wakers.add(resolve));
	}

	_wake() {
		const wakers = this._wakers;
		this._wakers = new Set();
		for (const wake of wakers) wake();
	}

	_begin(answer, link) {
		this.id = answer.task;
		if (this.status === "sent") this.status = "accepted";
		this._accepted.resolve(answer);
		if (this._over) return;
		const channel = this._client._channel(`task.${this.id}`);
		channel.subscribedBy(link);
		this._follow();
	}

	/* A task's log is short: it can be read from its start. */
	_follow() {
		const sub = (this._sub = new Subscription(this._client, `task.${this.id}`, { after: 0 }));
		sub._sink = (frame) => this._frame(frame);
		sub.on("end", (error) => this._finish(error ?? new PenstockError("closed", "nobody follows this task any more")));
		this._client._channel(sub.channel).add(sub);
	}

	_frame(frame) {
		if (frame.op === "event") {
			this._event(frame);
		} else {
			const s = this._stage(frame.stage);
			if (frame.op === "reset") s.reset(frame.attempt);
			else s.piece(frame.attempt, frame.index, frame.data);
			this._emit("text", s);
		}
		this._wake();
	}

	_stage(name) {
		let s = this._stages.get(name);
		if (!s) {
			s = new StageText(this._client, name, () => this._wake());
			this._stages.set(name, s);
		}
		return s;
	}

	_event(frame) {
		const { type, data } = frame;
		this.events.push(frame);
		if (type === "task.stage.completed") this._stage(data.stage).complete(data.attempt, data.output?.text);
		else if (type === "task.stage.failed" && data.final) this._stage(data.stage).done = true;
		this.status = type.startsWith("task.stage.") ? "running" : type.slice("task.".length);
		this._emit("event", frame);
		if (ENDS.has(type)) this._terminal(frame);
	}

	_terminal(frame) {
		const { type, data } = frame;
		const what = type.slice("task.".length);
		this._end.resolve(frame);
		if (type === "task.completed") this._result.resolve(data.output);
		else this._result.reject(new PenstockError(`task_${what}`, data?.message ?? `the task was ${what}`, { event: frame, reason: data?.reason, stage: data?.stage }));
		this._finish(null);
	}

	_finish(error) {
		if (this._over) return;
		this._over = true;
		this._error = error;
		for (const s of this._stages.values()) s.stop();
		if (error) for (const d of [this._accepted, this._end, this._result]) d.reject(error);
		this._sub?.close();
		this._wake();
	}
}

/* --- the client ----------------------------------------------------------------------------- */

function configure(options) {
	const conf = { ...DEFAULTS, random: Math.random, ...options };
	for (const part of ["backoff", "queue", "buffer"]) conf[part] = { ...DEFAULTS[part], ...options[part] };
	conf.urls = [options.url ?? globalThis.location?.origin ?? []].flat().map(String);
	if (!conf.urls.length) throw new TypeError("url is missing");
	conf.urls.forEach(socketUrl); // throws for what is no address
	if (typeof options.token !== "string" && typeof options.getToken !== "function")
		throw new TypeError("token or getToken is missing");
	conf.WebSocket ??= globalThis.WebSocket;
	if (!conf.WebSocket) {
		throw new PenstockError("unsupported", "There is no WebSocket here. Node 22 has one, Node 20 with " +
			"--experimental-websocket; else pass connect({ WebSocket }) that of the package ws.");
	}
	conf.fetch ??= globalThis.fetch?.bind(globalThis);
	conf.clock ??= {
		now: () => Date.now(),
		setTimeout: (fn, ms) => setTimeout(fn, ms),
		clearTimeout: (t) => clearTimeout(t),
	};
	return conf;
}

/*  connecting <--> waiting      on("state", {state, previous, retry_in_ms?, error?})
 *      |  ^           ^
 *      v  '--lost-----'         stopped: the token, the tenant or the protocol (close codes 40xx)
 *     open --> stopped | closed  closed: close() was called                            */
export class Client extends Emitter {
	constructor(options) {
		super();
		this._conf = configure(options);
		this.state = "connecting";
		this.session = this.tenant = this.edge = this.limits = null;
		this._link = null; // where commands go
		this._opening = null; // about to take its place
		this._old = new Set(); // finishing, in a drain
		this._channels = new Map();
		this._tasks = new Set();
		this._wire = new Map(); // id → command
		this._queue = []; // commands to be sent, in the order they were given
		this._pending = { count: 0, bytes: 0 };
		this._acks = new Map();
		this._ids = 0;
		this._seq = 0;
		this._attempt = 0;
		this._at = 0; // of conf.urls
		this._turn = 0;
		this._ready = optional();
		this._listen();
		this._open();
	}

	/* Resolved at the first `connected`, rejected when it cannot ever be. */
	get ready() {
		return this._ready.promise;
	}

	/* Commands that are not settled. */
	get pending() {
		return { ...this._pending };
	}

	subscribe(channel, options = {}) {
		this._alive();
		const sub = new Subscription(this, channel, options);
		this._channel(channel).add(sub);
		return sub;
	}

	/* Resolved with {event_id, channel, offset, duplicate, key} once it is stored. */
	publish(channel, type, data, options = {}) {
		const { key = uuid(), version } = options;
		return this._command("publish", { channel, type, ...(version === undefined ? {} : { version }), key, data: data ?? null }, { ...options, key });
	}

	/* Starts a task and follows it. */
	task(pipeline, input, options = {}) {
		const { key = uuid(), deadline_ms, priority, not_before } = options;
		const at = not_before instanceof Date ? not_before.toISOString() : not_before;
		const task = new Task(this, key);
		const body = { pipeline, key, ...(deadline_ms === undefined ? {} : { deadline_ms }), ...(priority === undefined ? {} : { priority }), ...(at === undefined ? {} : { not_before: at }), input: input ?? null };
		this._tasks.add(task);
		task.end.catch(() => {}).finally(() => this._tasks.delete(task));
		this._command("task", body, { ...options, key, onAnswer: (answer, link) => task._begin(answer, link) }).catch((e) => task._finish(e));
		return task;
	}

	/* Follows a task that was started elsewhere, or before this page was loaded. */
	follow(id) {
		this._alive();
		const task = new Task(this, null, id);
		this._tasks.add(task);
		task.end.catch(() => {}).finally(() => this._tasks.delete(task));
		task._accepted.resolve({ task: id, channel: `task.${id}` });
		task._follow();
		return task;
	}

	cancel(task, options = {}) {
		return this._command("cancel", { task }, options);
	}

	/* Does not wait any longer: tries to connect now, or asks whether the line is alive. */
	wake() {
		if (this.state === "waiting") this._open();
		else this._link?.probe();
	}

	/* Ends it. What was not accepted yet is rejected with `closed`; iterations end. */
	close() {
		this._stop("closed", new PenstockError("closed", "the client was closed"));
	}

	/* --- commands */

	_alive() {
		if (this.state === "stopped" || this.state === "closed") throw this._reason;
	}

	_command(op, body, options) {
		const d = deferred();
		const cmd = { op, d, options, seq: this._seq++, tries: 0, ids: [], link: null, state: "queued", last: null };
		try {
			this._alive();
			const { input, ...head } = body;
			cmd.rest = JSON.stringify(head).slice(1); // behind {"op":…,"id":…,
			cmd.sized = cmd.rest;
			if (op === "task") {
				cmd.sized = JSON.stringify(input); // it is the input that has a bound
				cmd.rest = `${cmd.rest.slice(0, -1)},"input":${cmd.sized}}`;
			}
			cmd.bytes = cmd.rest.length;
			this._admit(cmd);
		} catch (e) {
			d.reject(e);
			return d.promise;
		}
		this._pending.count++;
		this._pending.bytes += cmd.bytes;
		const timeout_ms = options.timeout_ms ?? this._conf.timeout_ms;
		if (timeout_ms && timeout_ms !== Infinity)
			cmd.deadline = this._after(timeout_ms, () => this._settle(cmd, new PenstockError("deadline", `not accepted within ${timeout_ms} ms; it may still have been`, { temporary: true, key: options.key, cause: cmd.last })));
		options.signal?.addEventListener("abort", (cmd.abort = () => this._settle(cmd, new PenstockError("aborted", "given up", { cause: options.signal.reason }))), { once: true });
		this._queue.push(cmd);
		this._flush();
		return d.promise;
	}

	_admit(cmd) {
		const { count, bytes } = this._conf.queue;
		if (cmd.options.signal?.aborted) throw new PenstockError("aborted", "given up", { cause: cmd.options.signal.reason });
		if (cmd.options.queue === false && this._link?.state !== "open") throw new PenstockError("offline", "there is no connection", { temporary: true });
		if (this._pending.count >= count || this._pending.bytes + cmd.bytes > bytes) {
			throw new PenstockError("queue_full", `${this._pending.count} commands (${this._pending.bytes} bytes) wait already`, { temporary: true });
		}
		const tooLarge = this._tooLarge(cmd);
		if (tooLarge) throw tooLarge;
	}

	/* The edge would close the connection. Checked when the limits are known: at once, or before it is sent. */
	_tooLarge(cmd) {
		if (!this.limits || cmd.fits) return null;
		const max = cmd.op === "task" ? this.limits.task_input_bytes : this.limits.frame_bytes - FRAME_EXTRA;
		if (longerThan(cmd.sized, max)) return new PenstockError("too_large", `longer than ${max} bytes`);
		cmd.fits = true;
		cmd.sized = null;
		return null;
	}

	_flush() {
		const link = this._link;
		const max = this.limits?.commands_in_flight ?? 256;
		while (this._queue.length && link?.state === "open" && link.inFlight < max) {
			const cmd = this._queue.shift();
			const tooLarge = this._tooLarge(cmd);
			if (tooLarge) this._settle(cmd, tooLarge);
			else this._send(link, cmd);
		}
	}

	_send(link, cmd) {
		const id = this._id();
		cmd.ids.push(id);
		cmd.link = link;
		cmd.state = "sent";
		cmd.tries++;
		link.inFlight++;
		this._wire.set(id, cmd);
		cmd.timer = this._after(this._conf.answer_ms, () => this._again(cmd));
		link.sendText(`{"op":"${cmd.op}","id":"${id}",${cmd.rest}`);
	}

	_landed(cmd) {
		this._cancel(cmd.timer);
		if (cmd.state === "sent") cmd.link.inFlight--;
		cmd.link = null;
	}

	/* Back into the queue, at its place. */
	_again(cmd) {
		this._landed(cmd);
		cmd.state = "queued";
		let at = this._queue.length;
		while (at > 0 && this._queue[at - 1].seq > cmd.seq) at--;
		this._queue.splice(at, 0, cmd);
		this._flush();
	}

	_settle(cmd, error, answer) {
		if (cmd.state === "settled") return;
		this._landed(cmd);
		this._cancel(cmd.deadline);
		if (cmd.state === "queued") this._queue = this._queue.filter((c) => c !== cmd);
		cmd.state = "settled";
		for (const id of cmd.ids) this._wire.delete(id);
		if (cmd.abort) cmd.options.signal.removeEventListener("abort", cmd.abort);
		this._pending.count--;
		this._pending.bytes -= cmd.bytes;
		if (error) cmd.d.reject(error);
		else cmd.d.resolve(answer);
		this._flush();
	}

	_answer(link, frame) {
		const cmd = this._wire.get(frame.id);
		if (!cmd) return;
		if (frame.op === "accepted") {
			const { op, id, ...answer } = frame;
			if (cmd.options.key) answer.key = cmd.options.key;
			cmd.options.onAnswer?.(answer, link);
			this._settle(cmd, null, answer);
		} else if (!frame.temporary) {
			this._settle(cmd, PenstockError.of(frame));
		} else if (cmd.state === "sent" && cmd.link === link) {
			// Not now, says the plane: the same key again, when it says.
			this._landed(cmd);
			cmd.state = "waiting";
			cmd.last = PenstockError.of(frame);
			cmd.timer = this._after(this._pause(frame, cmd.tries - 1), () => this._again(cmd));
			this._flush();
		}
	}

	/* retry_after_ms is the least; on top of it jitter, so that not all come back at once. */
	_pause(frame, attempt) {
		return (frame.retry_after_ms ?? 0) + fullJitter(attempt, this._conf.backoff, this._conf.random);
	}

	_ack(channel, offset) {
		const ack = this._acks.get(channel) ?? { sent: 0, due: 0 };
		if (offset <= ack.due) return;
		ack.due = offset;
		this._acks.set(channel, ack);
		this._acking ??= this._after(this._conf.ack_ms, () => this._sendAcks());
	}

	_sendAcks() {
		let left = false;
		for (const [channel, ack] of this._acks) {
			const ch = this._channels.get(channel);
			if (!ch) this._acks.delete(channel);
			if (!ch || ack.due <= ack.sent) continue;
			if (ch.phase === "live") {
				// With an id, so that a refusal is not taken for an error of the connection: it changes nothing.
				ch.link.send({ op: "ack", id: this._id(), channel, offset: ack.due });
				ack.sent = ack.due;
			} else {
				left = true;
			}
		}
		this._acking = left ? this._after(this._conf.ack_ms, () => this._sendAcks()) : null;
	}

	/* --- frames */

	_frame(link, frame, size) {
		switch (frame.op) {
			case "event":
				this._channels.get(frame.channel)?.event(link, frame, size);
				break;
			case "delta":
			case "reset":
				this._channels.get(frame.channel)?.delta(frame, size);
				break;
			case "gap":
				this._channels.get(frame.channel)?.gap(link, frame);
				break;
			case "accepted":
				this._answer(link, frame);
				break;
			case "error":
				if (frame.id !== undefined) this._answer(link, frame);
				else this._emit("error", PenstockError.of(frame));
				break;
			case "resume":
				this._keep(frame);
				break;
			case "drain":
				this._drain(link, frame);
				break;
			// `pong` was heard; what is not known is of a later version, and left alone.
		}
	}

	/* Its time begins when the connection is lost (_lost): the edge renews it in good time until then. */
	_keep({ resume, resume_ttl_ms }) {
		if (resume) this._resume = resume_ttl_ms > 0 ? { token: resume, ttl_ms: resume_ttl_ms, until: Infinity } : null;
	}

	_channel(name) {
		let channel = this._channels.get(name);
		if (!channel) this._channels.set(name, (channel = new Channel(this, name)));
		return channel;
	}

	_forget(channel) {
		if (this._channels.get(channel.name) === channel) this._channels.delete(channel.name);
	}

	/* --- the connection */

	_set(state, more = {}) {
		const previous = this.state;
		this.state = state;
		this._emit("state", { state, previous, ...more });
	}

	/* One attempt: an address, a credential, a socket. A later call makes an earlier one void. */
	async _open(url) {
		const turn = ++this._turn;
		this._cancel(this._waiting);
		this._waiting = null;
		this._opening?.end();
		this._opening = null;
		if (this.state !== "open") this._set("connecting");
		try {
			const resume = this._resume && this._now() < this._resume.until ? this._resume.token : null;
			const locate = this._conf.locate && !url && this._conf.fetch;
			const token = resume && !locate && this._conf.getToken ? null : await this._token();
			if (turn !== this._turn) return;
			url ??= this._conf.urls[this._at % this._conf.urls.length];
			if (locate) url = await this._locate(url, token);
			if (turn !== this._turn) return;
			// With both, a session that cannot be resumed any more comes in afresh in the same breath.
			const credential = { ...(resume ? { resume } : {}), ...(token ? { token } : {}) };
			this._opening = new Link(this, socketUrl(url), credential);
		} catch (e) {
			if (turn !== this._turn) return;
			if (e instanceof PenstockError && !e.temporary) this._stop("stopped", e);
			else this._schedule(1, e);
		}
	}

	async _token() {
		const { token, getToken } = this._conf;
		const text = getToken ? await getToken() : token;
		if (typeof text !== "string" || !text) throw new PenstockError("unauthenticated", "getToken gave no token");
		if (text === this._refused) throw new PenstockError("unauthenticated", "the token was refused");
		return text;
	}

	/* The edge of this tenant; any edge serves, so a failure is none. */
	async _locate(base, token) {
		const abort = new AbortController();
		const timer = this._after(LOCATE_MS, () => abort.abort());
		try {
			const answer = await this._conf.fetch(locateUrl(base), { headers: { Authorization: `Bearer ${token}` }, signal: abort.signal });
			const { url } = answer.ok ? await answer.json() : {};
			return url || base;
		} catch {
			return base;
		} finally {
			this._cancel(timer);
		}
	}

	/* `connected`: from now on this is the link. */
	_adopt(link) {
		const old = this._link;
		const { hello } = link;
		const resumed = Boolean(link.credential.resume) && (this.session === null || hello.session === this.session);
		this._cancel(this._waiting);
		this._waiting = null;
		this._opening = null;
		this._link = link;
		this._drained = null;
		Object.assign(this, { session: hello.session, tenant: hello.tenant, edge: hello.edge, limits: hello.limits });
		this._keep(hello);
		if (old) this._retire(old);
		this._set("open");
		this._emit("session", { session: hello.session, resumed, edge: hello.edge, tenant: hello.tenant });
		this._ready.resolve(this);
		for (const channel of [...this._channels.values()]) channel.moved();
		this._flush();
	}

	/* The old socket of a drain: it may still answer, and delivers until the new one does. */
	_retire(old) {
		this._old.add(old);
		const by = this._now() + RETIRE_MS;
		const look = () => {
			if (old.state === "closed") return;
			const asking = [...this._channels.values()].some((c) => c.phase === "asking");
			if (this._now() < by && (old.inFlight > 0 || asking)) {
				this._after(50, look);
				return;
			}
			old.end();
			this._lost(old, { code: 1000 });
		};
		this._after(50, look);
	}

	_drain(link, frame) {
		if (link !== this._link || this._drained) return;
		this._drained = { url: frame.url || null };
		this._emit("drain", frame);
		if (!frame.url) this._at++; // anywhere but here
		this._cancel(this._waiting);
		this._waiting = this._after(frame.reconnect_after_ms ?? 0, () => this._open(frame.url || undefined));
	}

	_stable(link) {
		if (link === this._link) this._attempt = 0;
	}

	/* A link is over: its commands go back into the queue, and its close code says what is next. */
	_lost(link, { code, reason, error }) {
		for (const cmd of new Set(this._wire.values())) if (cmd.link === link) this._again(cmd);
		if (this._old.delete(link)) return;
		const current = link === this._link;
		if (current) this._link = null;
		if (current && this._resume) this._resume.until = this._now() + this._resume.ttl_ms;
		if (link === this._opening) this._opening = null;
		if (current) for (const channel of [...this._channels.values()]) channel.moved();
		if (this.state === "stopped" || this.state === "closed") return;
		const band = closeBand(code);
		const why = new PenstockError(error?.code ?? "closed", error?.message ?? reason ?? "", { close_code: code, band });
		if (band === "stop" && !this._renew(link, code)) {
			this._stop("stopped", why);
			return;
		}
		if (band === "fresh" || band === "stop") this._resume = null;
		if (this._opening || (current && this._drained && this._waiting)) {
			// Already on its way elsewhere.
			if (this.state === "open" && !this._link) this._set("connecting", { error: why });
			return;
		}
		if (band !== "fresh" && band !== "stop") this._at++; // those were answered: the same edge is asked again
		const start = band === "backoff" ? 2 : 0; // 41xx: not at once
		this._schedule(start, why, error?.retry_after_ms ?? 0);
	}

	/* 4001 with getToken: the token may simply have run out. One that was refused is never sent twice. */
	_renew(link, code) {
		if (code !== 4001 || !this._conf.getToken) return false;
		if (link.credential.token) this._refused = link.credential.token;
		return true;
	}

	_schedule(start, error, least = 0) {
		const delay = least + fullJitter(start + this._attempt++, this._conf.backoff, this._conf.random);
		// In a drain the old link still serves.
		if (!this._link) this._set("waiting", { retry_in_ms: delay, error });
		this._cancel(this._waiting);
		this._waiting = this._after(delay, () => this._open());
	}

	_stop(state, reason) {
		if (this.state === "stopped" || this.state === "closed") return;
		this._turn++;
		this._reason = reason;
		for (const timer of [this._waiting, this._acking]) this._cancel(timer);
		const links = [this._link, this._opening, ...this._old];
		this._link = this._opening = null;
		this._old.clear();
		this._set(state, { error: reason });
		for (const link of links) link?.end();
		this._ready.reject(reason);
		for (const cmd of new Set([...this._wire.values(), ...this._queue])) this._settle(cmd, reason);
		const over = state === "closed" ? null : reason;
		for (const task of [...this._tasks]) task._finish(reason);
		for (const channel of [...this._channels.values()]) {
			channel.phase = "off";
			channel.link = null;
			this._cancel(channel._retry);
			for (const sub of [...channel.subs]) sub._end(over);
		}
		this._unlisten?.();
	}

	/* A browser knows when the network is back, and when somebody looks at the page again. */
	_listen() {
		if (typeof globalThis.document !== "object" || typeof globalThis.addEventListener !== "function") return;
		const wake = () => this.wake();
		const seen = () => document.visibilityState === "visible" && wake();
		globalThis.addEventListener("online", wake);
		globalThis.addEventListener("offline", wake);
		document.addEventListener("visibilitychange", seen);
		this._unlisten = () => {
			globalThis.removeEventListener("online", wake);
			globalThis.removeEventListener("offline", wake);
			document.removeEventListener("visibilitychange", seen);
		};
	}

	_now() {
		return this._conf.clock.now();
	}

	_after(ms, fn) {
		return this._conf.clock.setTimeout(fn, Math.max(0, ms));
	}

	_cancel(timer) {
		if (timer !== null && timer !== undefined) this._conf.clock.clearTimeout(timer);
	}

	_id() {
		return `${++this._ids}`;
	}
}

/* See penstock.d.ts for the options. It begins to connect at once, and commands may be given at once. */
export function connect(options) {
	return new Client(options);
}
