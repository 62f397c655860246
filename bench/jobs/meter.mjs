// What both workers measure, and how they are told: lines of JSON on standard output.
//
// A job carries the time at which its client asked for it; all processes are on one machine with one clock.
export const now = () => performance.timeOrigin + performance.now();
export const STAGES = 4;
export const say = (doc) => process.stdout.write(`${JSON.stringify(doc)}\n`);
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Of each tenant: milliseconds from asking to the first stage, and to the end. */
export class Meter {
	tenants = {};
	last = 0;

	/** `all` resolves when `count` jobs have ended. */
	constructor(count) {
		this.left = count;
		this.all = new Promise((done) => (this.done = done));
	}

	/** A job of `tenant`, asked for at `at`, whose first stage began at `first`, has ended now. */
	ended({ tenant, at }, first) {
		this.last = now();
		const t = (this.tenants[tenant] ??= { first: [], done: [] });
		t.first.push(first - at);
		t.done.push(this.last - at);
		if (--this.left === 0) this.done();
	}

	report() {
		const figures = (values) => {
			values.sort((a, b) => a - b);
			const at = (q) => values[Math.min(values.length - 1, Math.floor(values.length * q))];
			return { p50: at(0.5), p99: at(0.99) };
		};
		const out = {};
		for (const [name, t] of Object.entries(this.tenants))
			out[name] = { jobs: t.done.length, first_ms: figures(t.first), done_ms: figures(t.done) };
		return { last_done_unix: this.last / 1000, tenants: out };
	}
}

/** Calls add(n) at `rate` per second, for `count` in all, each at its time whatever the earlier ones do. */
export async function paced(rate, count, add) {
	const begin = now();
	const under_way = [];
	for (let i = 0; i < count; i++) {
		const wait = begin + (i * 1000) / rate - now();
		if (wait > 0) await sleep(wait);
		under_way.push(add(i));
	}
	await Promise.all(under_way);
}
