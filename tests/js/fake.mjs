/* A world for the client without network and time: a clock that is turned by hand, sockets whose other end is the
 * test, and random numbers that are what the test says. */
import { connect } from "../../clients/js/penstock.js";

export class Clock {
	#now = 1_000_000;
	#timers = new Map();
	#n = 0;

	now = () => this.#now;
	setTimeout = (fn, ms) => {
		this.#timers.set(++this.#n, { at: this.#now + ms, fn });
		return this.#n;
	};
	clearTimeout = (id) => this.#timers.delete(id);

	/* Everything that falls due within ms, in order, with what it sets in motion. */
	async run(ms) {
		const end = this.#now + ms;
		await settle();
		for (;;) {
			const next = [...this.#timers].filter(([, t]) => t.at <= end).sort((a, b) => a[1].at - b[1].at || a[0] - b[0])[0];
			if (!next) break;
			this.#timers.delete(next[0]);
			this.#now = Math.max(this.#now, next[1].at);
			next[1].fn();
			await settle();
		}
		this.#now = end;
	}

	get size() {
		return this.#timers.size;
	}
}

/* Until no promise has anything left to do. */
export async function settle() {
	for (let i = 0; i < 20; i++) await Promise.resolve();
}

const HELLO = {
	op: "connected", session: "s1", tenant: "t", edge: "edge-1", resume: "r1", resume_ttl_ms: 120_000, ping_ms: 25_000,
	limits: { frame_bytes: 65_536, task_input_bytes: 262_144, subscriptions: 128, commands_in_flight: 4 },
};

/* sockets: all that were opened; the last one is `socket`. */
export function world(options = {}) {
	const w = { clock: new Clock(), sockets: [], random: 0.5, states: [] };
	class FakeSocket {
		constructor(url, protocols) {
			Object.assign(this, { url, protocols, sent: [], open: false, closed: false });
			w.sockets.push(this);
		}

		/* --- what the client calls */
		send(text) {
			if (!this.open) throw new Error("not open");
			this.sent.push(JSON.parse(text));
		}

		close(code) {
			this.closed = true;
			this.closedWith = code;
		}

		/* --- the other end */
		accept() {
			this.open = true;
			this.onopen?.();
		}

		say(frame) {
			this.onmessage?.({ data: JSON.stringify(frame) });
		}

		hello(more = {}) {
			this.accept();
			this.say({ ...HELLO, ...more });
		}

		drop(code = 1006, reason = "") {
			this.open = false;
			this.onclose?.({ code, reason });
		}

		last(op) {
			return this.sent.filter((f) => f.op === op).at(-1);
		}

		all(op) {
			return this.sent.filter((f) => f.op === op);
		}

		/* Answers the newest request of this kind. */
		answer(op, frame) {
			this.say({ id: this.last(op).id, ...frame });
		}

		subscribed(offset, more = {}) {
			const { channel } = this.last("subscribe");
			this.answer("subscribe", { op: "subscribed", channel, epoch: "e1", offset, recovered: true, ...more });
		}

		event(channel, offset, prev, more = {}) {
			this.say({ op: "event", channel, type: "chat.message", version: 1, event_id: `${channel}-${offset}`, time: "", trace: "", offset, prev, data: offset, ...more });
		}
	}
	w.client = connect({
		url: "http://edge.test", token: "pk_a_b", WebSocket: FakeSocket, clock: w.clock, random: () => w.random, ...options,
	});
	w.client.on("state", (s) => w.states.push(s.state));
	Object.defineProperty(w, "socket", { get: () => w.sockets.at(-1) });
	return w;
}

/* A world whose first socket is connected. */
export async function connected(options) {
	const w = world(options);
	await settle();
	w.socket.hello();
	await settle();
	return w;
}

/* How a promise stands: "waits", or its value, or its error. */
export async function outcome(promise) {
	await settle();
	return Promise.race([promise.catch((e) => e), settle().then(() => "waits")]);
}
