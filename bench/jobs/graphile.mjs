// graphile-worker with its batching (local queue, completions together): one job a task, a row behind each stage.
//
//     node graphile.mjs worker DSN CONCURRENCY STAGE_MS COUNT  works until COUNT jobs have ended, then reports
//     node graphile.mjs fill DSN TENANT COUNT                queues COUNT jobs at once
//     node graphile.mjs pace DSN TENANT RATE COUNT           queues RATE jobs a second
import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";
import { Meter, STAGES, now, paced, say, sleep } from "./meter.mjs";

const [mode, connectionString, ...rest] = process.argv.slice(2);
const logger = new Logger(() => (level, message) => level === "error" && console.error(message));

if (mode === "worker") {
	const [concurrency, stage_ms, count] = rest.map(Number);
	const meter = new Meter(count);
	const started = new Map();
	const pool = new pg.Pool({ connectionString, max: 20 });
	pool.on("error", (e) => console.error(String(e)));
	pool.on("connect", (client) => client.on("error", (e) => console.error(String(e))));
	await pool.query("CREATE TABLE IF NOT EXISTS bench_stage (job bigint, stage int, at timestamptz DEFAULT now(), PRIMARY KEY (job, stage))");
	const runner = await run({
		logger,
		noHandleSignals: true,
		pgPool: pool,
		taskList: {
			task: async (payload, helpers) => {
				started.set(helpers.job.id, now());
				for (let stage = 1; stage <= STAGES; stage++) {
					if (stage_ms) await sleep(stage_ms);
					await pool.query({ name: "stage", text: "INSERT INTO bench_stage (job, stage) VALUES ($1, $2)", values: [helpers.job.id, stage] });
				}
			},
		},
		preset: { worker: {
			concurrentJobs: concurrency, maxPoolSize: 20, pollInterval: 1000, schema: "graphile_worker",
			// A local queue as deep as the work at hand: deeper would hide more of the queue from others.
			localQueue: { size: Math.max(concurrency, 8) }, completeJobBatchDelay: 0, failJobBatchDelay: 0,
		} },
	});
	runner.events.on("job:complete", ({ job, error }) => {
		if (error) console.error(String(error));
		else meter.ended(job.payload, started.get(job.id));
		started.delete(job.id);
	});
	say({ ready: true });
	await meter.all;
	say(meter.report());
	process.exit(0);
}

const utils = await makeWorkerUtils({ connectionString, logger });
await utils.migrate();
const [tenant, ...numbers] = rest;
const data = () => ({ tenant, at: now() });
if (mode === "fill") {
	for (let left = Number(numbers[0]); left > 0; left -= 1000)
		await utils.addJobs(Array.from({ length: Math.min(left, 1000) }, () => ({ identifier: "task", payload: data() })));
} else {
	await paced(...numbers.map(Number), () => utils.addJob("task", data()));
}
say({ queued: true });
await utils.release();
process.exit(0);
