// BullMQ, as its documentation sets it up: one queue, one job a task, a data update behind each stage.
//
//     node bullmq.mjs worker REDIS_PORT CONCURRENCY STAGE_MS COUNT  works until COUNT jobs have ended, then reports
//     node bullmq.mjs fill REDIS_PORT TENANT COUNT                queues COUNT jobs at once
//     node bullmq.mjs pace REDIS_PORT TENANT RATE COUNT           queues RATE jobs a second
import { Queue, Worker } from "bullmq";
import { Meter, STAGES, now, paced, say, sleep } from "./meter.mjs";

const [mode, port, ...rest] = process.argv.slice(2);
const connection = { host: "127.0.0.1", port: Number(port), maxRetriesPerRequest: null };
const options = { removeOnComplete: true, removeOnFail: true };

if (mode === "worker") {
	const [concurrency, stage_ms, count] = rest.map(Number);
	const meter = new Meter(count);
	const worker = new Worker("tasks", async (job) => {
		job.first = now();
		for (let stage = 1; stage <= STAGES; stage++) {
			if (stage_ms) await sleep(stage_ms);
			await job.updateData({ ...job.data, stage });
		}
	}, { connection, concurrency });
	worker.on("completed", (job) => meter.ended(job.data, job.first));
	worker.on("error", (e) => console.error(String(e)));
	await worker.waitUntilReady();
	say({ ready: true });
	await meter.all;
	say(meter.report());
	process.exit(0);
}

const queue = new Queue("tasks", { connection });
const [tenant, ...numbers] = rest;
const data = () => ({ tenant, at: now(), stage: 0 });
if (mode === "fill") {
	for (let left = Number(numbers[0]); left > 0; left -= 1000)
		await queue.addBulk(Array.from({ length: Math.min(left, 1000) }, () => ({ name: "task", data: data(), opts: options })));
} else {
	await paced(...numbers.map(Number), () => queue.add("task", data(), options));
}
say({ queued: true });
await queue.close();
