/* Runs pieces of code that come on standard input, one JSON object {id, code, args} a line, and answers {id, value} or
 * {id, error}. What a piece puts into globalThis is there for the next one; `penstock` is the client module. */
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

globalThis.penstock = await import("../../clients/js/penstock.js");
// Debian's package of the library ws, where Node has no WebSocket of its own.
globalThis.WebSocket ??= createRequire(import.meta.url)("/usr/share/nodejs/ws");

const AsyncFunction = (async () => {}).constructor;
const say = (answer) => process.stdout.write(JSON.stringify(answer) + "\n");

process.on("unhandledRejection", (e) => say({ stray: String(e?.stack ?? e) }));
process.on("uncaughtException", (e) => say({ stray: String(e?.stack ?? e) }));

createInterface({ input: process.stdin }).on("line", async (line) => {
	const { id, code, args } = JSON.parse(line);
	try {
		say({ id, value: (await new AsyncFunction("args", code)(args)) ?? null });
	} catch (e) {
		say({ id, error: String(e?.stack ?? e) });
	}
}).on("close", () => process.exit(0));
