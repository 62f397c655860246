/* A room and a pipeline: what an application does with the client, in one page.
 *
 * The room is a durable channel, so it is read from its start and nothing of it is lost; who is typing is an ephemeral
 * event of the same channel. The summary is a task, whose stages stream. Everything that has to do with connections
 * is the client's: here it is only shown. */
import { connect } from "../penstock.js";

const $ = (id) => document.getElementById(id);
const SHOWN_MAX = 500; // messages in the page
const TYPING_MS = 4000;
const STAGES = { prepare: "Prepare", draft: "Key sentences", refine: "Condense", assemble: "Put together" };
/* Of this tab alone: a second one is another person. */
const kept = (name) => sessionStorage.getItem(`penstock.${name}`);
const keep = (name, value) => (sessionStorage.setItem(`penstock.${name}`, value), value);
const ME = kept("me") ?? keep("me", crypto.randomUUID?.() ?? String(Math.random()));

let plane = null;
let room = null; // {channel, sub, typing: Map}
let task = null;

/* --- small things --------------------------------------------------------------------------- */

function element(tag, className, text) {
	const e = document.createElement(tag);
	if (className) e.className = className;
	if (text !== undefined) e.textContent = text;
	return e;
}

function hue(text) {
	let h = 7;
	for (const c of text) h = (h * 131 + c.codePointAt(0)) % 9973;
	return Math.round(h * 137.508) % 360; // the golden angle: neighbours look different
}

function initials(name) {
	return name.split(/\s+/).filter(Boolean).slice(0, 2).map((w) => [...w][0].toUpperCase()).join("") || "?";
}

function clock(time) {
	const date = new Date(time);
	return Number.isNaN(date.getTime()) ? "" : date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

function myName() {
	return $("name").value.trim() || "Guest";
}

/* --- the connection --------------------------------------------------------------------------- */

/* The key comes in the address behind '#', which no server is told, and leaves it at once. */
function keyFromAddress() {
	const hash = new URLSearchParams(location.hash.slice(1));
	if (hash.get("key")) keep("key", hash.get("key"));
	if (hash.get("room")) keep("room", hash.get("room"));
	if (hash.has("key")) history.replaceState(null, "", location.pathname + location.search);
	return kept("key");
}

function showGate(why = "") {
	$("gate").hidden = false;
	$("desk").hidden = $("who").hidden = true;
	$("gate-error").textContent = why;
	$("key").focus();
}

function begin(key) {
	plane?.close();
	keep("key", key);
	plane = connect({ token: key, locate: true });
	plane.on("state", showState);
	plane.on("error", (e) => console.warn("plane:", e.code, e.message));
	$("gate").hidden = true;
	$("desk").hidden = $("who").hidden = false;
	showState({ state: "connecting" });
	enter($("room").value);
	$("text").focus();
}

let countdown = null;

function showState({ state, retry_in_ms, error }) {
	clearInterval(countdown);
	const badge = $("status");
	badge.dataset.state = state;
	const words = { connecting: "Connecting…", open: "Connected", waiting: "Reconnecting", stopped: "Stopped", closed: "Not connected" };
	$("status-text").textContent = state === "open" ? `Connected to ${plane.edge}` : words[state];
	$("banner").hidden = state !== "waiting";
	$("again").hidden = false;
	if (state === "waiting") {
		const until = Date.now() + retry_in_ms;
		const tick = () => showBanner(until, error);
		countdown = setInterval(tick, 500);
		tick();
	} else if (state === "stopped") {
		sessionStorage.removeItem("penstock.key");
		showGate(error.code === "unauthenticated" ? "The plane does not accept this key." : `Stopped: ${error.message}`);
	}
}

function showBanner(until, error) {
	const s = Math.max(0, Math.ceil((until - Date.now()) / 1000));
	const { count } = plane.pending;
	let text = navigator.onLine ? "The connection was lost." : "You are offline.";
	if (error?.code === "overloaded" || error?.code === "unavailable") text = "The plane is busy.";
	if (count) text += ` ${plural(count, "message")} will be sent when it is back.`;
	// Written only when it changes: it is read out. The countdown is for the eyes.
	if ($("banner-text").textContent !== text) $("banner-text").textContent = text;
	$("banner-time").textContent = s ? `Trying again in ${s} s.` : "Trying again…";
}

/* --- the room ----------------------------------------------------------------------------------- */

function enter(name) {
	room?.sub.close();
	const channel = `room.${name}`;
	const sub = plane.subscribe(channel, { after: 0, gaps: true, ack: "auto" });
	room = { channel, sub, typing: new Map() };
	for (const e of [...$("log").children]) if (e !== $("empty")) e.remove();
	$("empty").hidden = false;
	read(room);
}

async function read(here) {
	try {
		for await (const item of here.sub) {
			if (here !== room) return;
			if (item.op === "gap") showGap(item);
			else if (item.type === "cursor.move") showTyping(item.data);
			else if (item.type === "chat.message") showMessage(item);
		}
	} catch (e) {
		if (here === room && plane.state !== "stopped") fail(`The room cannot be read: ${e.message}`);
	}
}

/* A message of the log, or one that we are about to send (without an offset). */
function showMessage({ data, offset, time, event_id }, state = "stored") {
	const log = $("log");
	const id = data.id ?? event_id;
	const known = [...log.querySelectorAll(".message")].findLast((m) => m.dataset.id === id);
	const row = known ?? messageRow(data, id);
	row.dataset.state = state;
	if (offset !== undefined) row.dataset.offset = offset;
	setMeta(row, state === "stored" ? `${clock(time)} · stored as #${offset}` : "Sending…");
	// Ours goes where the log has it, below those that were stored before.
	if (!known || state === "stored") place(row);
	room.typing.delete(data.from);
	showTypers();
	if (!known && data.from === ME) atEnd = true;
	stay();
	return row;
}

/* Who reads the newest message goes on doing so, also when the page changes its size. */
let atEnd = true;

function stay() {
	if (atEnd) $("log").scrollTop = $("log").scrollHeight;
}

function messageRow(data, id) {
	const name = typeof data.name === "string" && data.name ? data.name : "Guest";
	const row = element("article", "message");
	row.dataset.id = id;
	row.dataset.from = data.from ?? name;
	row.classList.toggle("mine", data.from === ME);
	const avatar = element("span", "avatar", initials(name));
	avatar.setAttribute("aria-hidden", "true");
	avatar.style.setProperty("--hue", hue(name));
	row.append(avatar, element("p", "name", name), element("p", "bubble", String(data.text)), element("p", "meta"));
	return row;
}

function setMeta(row, ...content) {
	row.querySelector(".meta").replaceChildren(...content);
}

function place(row) {
	const log = $("log");
	$("empty").hidden = true;
	const sending = row.dataset.state === "stored" ? log.querySelector('.message:not([data-state="stored"])') : null;
	log.insertBefore(row, sending === row ? null : sending);
	const rows = [...log.querySelectorAll(".message")];
	while (rows.length > SHOWN_MAX) rows.shift().remove();
	rows.forEach((r, i) => {
		r.classList.toggle("follows", r.previousElementSibling === rows[i - 1] && rows[i - 1]?.dataset.from === r.dataset.from);
		r.classList.toggle("last", i === rows.length - 1);
	});
}

function showGap({ from, to, reason }) {
	const text = reason === "epoch_changed" ? "The log of this room has begun anew." : `${plural(to - from + 1, "position")} of this room's log are no longer kept.`;
	$("log").append(element("p", "hole", text));
}

async function post(data) {
	const row = showMessage({ data }, "sending");
	const here = room;
	try {
		// The key is the message's own id: however often it is sent, it is one message.
		const answer = await plane.publish(here.channel, "chat.message", data, { key: data.id, timeout_ms: 600_000 });
		if (row.dataset.state === "sending") setMeta(row, `stored as #${answer.offset}`);
	} catch (e) {
		if (here !== room || row.dataset.state === "stored") return;
		row.dataset.state = "failed";
		const again = element("button", "", "Try again");
		again.type = "button";
		again.addEventListener("click", () => {
			row.remove();
			post(data);
		});
		setMeta(row, `Not sent: ${e.message}. `, again);
	}
}

function say(text, name = myName(), from = ME) {
	return post({ id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`, from, name, text });
}

function fail(text) {
	$("banner").hidden = false;
	$("again").hidden = true;
	$("banner-text").textContent = text;
	$("banner-time").textContent = "";
}

/* --- who is typing: ephemeral, so it is not queued and not kept */

let typed = 0;

function tellTyping() {
	if (Date.now() - typed < TYPING_MS / 2 || plane.state !== "open") return;
	typed = Date.now();
	plane.publish(room.channel, "cursor.move", { from: ME, name: myName() }, { queue: false, timeout_ms: 2000 }).catch(() => {});
}

function showTyping({ from, name }) {
	if (from === ME || typeof name !== "string") return;
	room.typing.set(from, { name, until: Date.now() + TYPING_MS });
	showTypers();
	setTimeout(showTypers, TYPING_MS + 50);
}

function showTypers() {
	const names = [...room.typing.values()].filter((t) => t.until > Date.now()).map((t) => t.name.slice(0, 24));
	$("typing").textContent = names.length ? `${names.slice(0, 3).join(", ")} ${names.length === 1 ? "is" : "are"} typing…` : "";
}

/* --- the summary ------------------------------------------------------------------------------- */

function conversation() {
	const lines = [...$("log").querySelectorAll('.message[data-state="stored"]')].map((row) => {
		const text = row.querySelector(".bubble").textContent.trim();
		return `${row.querySelector(".name").textContent}: ${text}${/[.!?…]$/.test(text) ? "" : "."}`;
	});
	return lines.length ? `# What was said in ${room.channel}\n\n${lines.join("\n")}` : "";
}

function showStages() {
	$("stages").hidden = false;
	$("stages").replaceChildren(...Object.entries(STAGES).map(([stage, title]) => {
		const li = element("li", "", title);
		li.dataset.stage = stage;
		return li;
	}));
}

function mark(stage, state) {
	const li = $("stages").querySelector(`[data-stage="${CSS.escape(stage)}"]`);
	if (li) li.dataset.state = state;
}

/* Shows what a stage says while it says it. */
async function follow(t, stage, title, className) {
	let box = null;
	for await (const chunk of t.stream(stage)) {
		if (t !== task) return;
		if (!box) {
			box = element("div", `said live ${className}`);
			$("paper").append(element("h3", "", title), box);
		}
		if (chunk.reset) box.textContent = "";
		box.append(chunk.data);
		$("paper").scrollTop = $("paper").scrollHeight;
	}
	box?.classList.remove("live");
	if (box && className === "result") layOut(box);
}

/* Lines that begin with "- " become a list. */
function layOut(box) {
	const parts = [];
	for (const line of box.textContent.split("\n").map((l) => l.trim()).filter(Boolean)) {
		if (!line.startsWith("- ")) {
			parts.push(element("p", "", line));
			continue;
		}
		if (parts.at(-1)?.tagName !== "UL") parts.push(element("ul"));
		parts.at(-1).append(element("li", "", line.slice(2)));
	}
	box.replaceChildren(...parts);
}

async function watch(t) {
	for await (const { type, data } of t) {
		if (t !== task) return;
		if (type === "task.stage.started") mark(data.stage, "running");
		else if (type === "task.stage.completed") mark(data.stage, "done");
		else if (type === "task.stage.failed" && data.final) mark(data.stage, "failed");
		else if (type === "task.parked") $("facts").textContent = `Waits: ${data.reason}`;
	}
}

async function summarise() {
	const text = conversation();
	view("summary");
	if (!text) {
		$("paper").replaceChildren(element("p", "hint", "There is nothing to sum up yet."));
		return;
	}
	const t = (task = plane.task("summarize", { document: text }));
	const began = performance.now();
	$("summarise").disabled = true;
	$("cancel").hidden = false;
	$("facts").textContent = "";
	$("paper").replaceChildren();
	showStages();
	const quietly = (p) => p.catch(() => {});
	quietly(watch(t));
	quietly(follow(t, "draft", "Key sentences", "draft"));
	quietly(follow(t, "refine", "In short", "result"));
	try {
		const result = await t.result;
		$("facts").textContent = `${plural(result.tokens, "token")} · ${((performance.now() - began) / 1000).toFixed(1)} s · task ${t.id.slice(0, 8)}`;
		$("facts").title = t.id;
	} catch (e) {
		if (t === task) $("paper").append(element("p", "failed", e.code === "task_cancelled" ? "Cancelled." : `No summary: ${e.message}`));
	} finally {
		if (t === task) {
			$("summarise").disabled = false;
			$("cancel").hidden = true;
			for (const live of $("paper").querySelectorAll(".live")) live.classList.remove("live");
		}
	}
}

/* --- the page ----------------------------------------------------------------------------------- */

function view(name) {
	document.body.dataset.view = name;
	for (const b of document.querySelectorAll(".tabs button")) b.setAttribute("aria-pressed", String(b.dataset.to === name));
}

function grow() {
	const t = $("text");
	t.style.height = "auto";
	t.style.height = `${t.scrollHeight + 2}px`;
}

async function seed() {
	const talk = [
		["Ada", "The release is ready. The only open question is how we roll it out."],
		["Grace", "I would drain one edge after the other, so that nobody is cut off."],
		["Ada", "Then clients move by themselves, and what they sent in between is not lost."],
		["Edsger", "Please let us check the audit afterwards. It must show every event exactly once."],
		["Grace", "Agreed. I start on Thursday at ten and report here."],
	];
	$("seed").disabled = true;
	for (const [name, text] of talk) await say(text, name, name);
	$("seed").disabled = false;
}

function send() {
	const text = $("text").value.trim();
	if (!text) return;
	$("text").value = "";
	grow();
	say(text);
}

function listen() {
	$("gate-form").addEventListener("submit", (e) => {
		e.preventDefault();
		begin($("key").value.trim());
		$("key").value = "";
	});
	$("composer").addEventListener("submit", (e) => {
		e.preventDefault();
		send();
	});
	$("text").addEventListener("keydown", (e) => {
		if (e.key !== "Enter" || e.shiftKey || e.isComposing) return;
		e.preventDefault();
		send();
	});
	$("text").addEventListener("input", () => {
		grow();
		tellTyping();
	});
	$("name").addEventListener("change", () => localStorage.setItem("penstock.name", $("name").value.trim()));
	$("room").addEventListener("change", () => {
		if (!$("room").value || !$("room").checkValidity()) return;
		keep("room", $("room").value);
		enter($("room").value);
	});
	$("again").addEventListener("click", () => plane.wake());
	$("seed").addEventListener("click", seed);
	$("log").addEventListener("scroll", () => (atEnd = $("log").scrollHeight - $("log").scrollTop - $("log").clientHeight < 80));
	new ResizeObserver(stay).observe($("log"));
	$("summarise").addEventListener("click", summarise);
	$("cancel").addEventListener("click", () => task?.cancel().catch(() => {}));
	for (const b of document.querySelectorAll(".tabs button")) b.addEventListener("click", () => view(b.dataset.to));
}

$("name").value = localStorage.getItem("penstock.name") ?? `Guest ${Math.floor(Math.random() * 90) + 10}`;
listen();
const key = keyFromAddress();
$("room").value = kept("room") ?? "lobby";
if (key) begin(key);
else showGate();
