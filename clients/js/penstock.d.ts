/** Penstock's client for browsers and Node 18 and later. See docs/protocol.md for the rules behind it. */

export const SUBPROTOCOL: "penstock.v1.json";

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** Codes of the protocol, and those of this library (from `closed` on). */
export type ErrorCode =
	| "unauthenticated" | "forbidden" | "bad_request" | "too_large" | "unknown_type" | "schema_invalid" | "rate_limited"
	| "overloaded" | "unavailable" | "conflict" | "not_found" | "expired"
	| "closed" | "queue_full" | "deadline" | "aborted" | "offline" | "unsupported"
	| "task_failed" | "task_cancelled" | "task_expired";

export class PenstockError extends Error {
	constructor(code: ErrorCode | (string & {}), message: string, more?: object);
	readonly code: ErrorCode | (string & {});
	/** The same may work later. */
	readonly temporary: boolean;
	readonly scope?: "connection" | "channel" | "tenant";
	readonly retry_after_ms?: number;
	readonly details?: { limit?: string; [name: string]: unknown };
	/** Of a connection that was closed. */
	readonly close_code?: number;
	readonly band?: Band;
	/** Of task_failed and the like: the task's last event. */
	readonly event?: Event;
	readonly reason?: string;
	readonly stage?: string;
	/** Of `deadline`: the key under which the command was sent. It may still have been accepted. */
	readonly key?: string;
}

export type Band = "stop" | "backoff" | "resume" | "fresh" | "lost";
export function closeBand(code: number): Band;
export function fullJitter(attempt: number, range: { min_ms: number; max_ms: number }, random?: () => number): number;
/** A base address (http, https, ws, wss) as the address of the WebSocket. */
export function socketUrl(base: string | URL): string;

export interface Options {
	/** Base address of the edge, or of several: the next one is tried when one is lost. Default in a page: its origin. */
	url?: string | URL | (string | URL)[];
	/** An API key or a JWT. */
	token?: string;
	/** Called before each fresh session; a token that was refused is not sent again. */
	getToken?: () => string | Promise<string>;
	/** Ask GET /v1/locate for the tenant's edge before connecting. */
	locate?: boolean;
	/** For a Node without a global one: that of the package ws. */
	WebSocket?: new (url: string, protocols: string[]) => any;
	fetch?: typeof fetch;
	/** Default 500 and 20000: full jitter. */
	backoff?: { min_ms?: number; max_ms?: number };
	/** Commands that are not settled; beyond, they are rejected with `queue_full`. Default 1000 and 4 MiB. */
	queue?: { count?: number; bytes?: number };
	/** Events of a subscription that wait for their reader. Default 1024 and 4 MiB. */
	buffer?: { count?: number; bytes?: number };
	/** Of a command, all tries together; 0: none. Default 60000. */
	timeout_ms?: number;
	/** From opening a socket to `connected`. Default 10000. */
	connect_ms?: number;
	/** Without an answer for so long a command is sent again under its key. Default 15000. */
	answer_ms?: number;
	/** How long the answer to a ping may take. Default 8000. */
	pong_ms?: number;
	/** How often acknowledgements are sent. Default 1000. */
	ack_ms?: number;
	/** Event ids that each subscription remembers, to drop repeats. Default 4096. */
	remember?: number;
	/** For tests. */
	clock?: { now(): number; setTimeout(fn: () => void, ms: number): any; clearTimeout(timer: any): void };
	random?: () => number;
}

export interface CommandOptions {
	timeout_ms?: number;
	signal?: AbortSignal;
	/** false: rejected with `offline` if there is no connection now. */
	queue?: boolean;
}

export interface PublishOptions extends CommandOptions {
	/** Under one key there is one event. Default: a new one, the same for all tries. */
	key?: string;
	version?: number;
}

export interface TaskOptions extends CommandOptions {
	key?: string;
	/** Until when the task must be done, from its acceptance. */
	deadline_ms?: number;
	/** -100 to 100. */
	priority?: number;
	/** When it begins, at most 30 days ahead; a text as in RFC 3339. `deadline_ms` counts from then. */
	not_before?: Date | string;
}

export interface Position {
	epoch?: string;
	offset: number;
}

export interface SubscribeOptions {
	/** Behind this position; 0: from the earliest that is kept; nothing: from now on. */
	after?: 0 | Position;
	/** What happens to durable events when the buffer is full: the channel is left and caught up with (pause), or the
	 * oldest goes. Of ephemeral ones the oldest goes in any case. Default "pause". */
	policy?: "pause" | "drop-oldest";
	buffer?: { count?: number; bytes?: number };
	/** "auto": acknowledged when the next one is asked for, or the callback has returned. Default: by ack(). */
	ack?: "auto" | "manual";
	/** Puts `delta` and `reset` frames into the iteration as well: in order, without voided ones. */
	deltas?: boolean;
	/** Puts gaps into the iteration as well, in their place. */
	gaps?: boolean;
}

export interface Event<T = any> {
	op: "event";
	channel: string;
	type: string;
	version: number;
	data: T;
	event_id: string;
	time: string;
	trace: string;
	/** Of durable events. */
	offset?: number;
	prev?: number;
	/** Of an event that operators deliver again: the replay's id. It is shown although its event_id was seen before. */
	replay?: string;
}

export interface Delta {
	op: "delta";
	channel: string;
	task: string;
	stage: string;
	attempt: number;
	index: number;
	data: string;
}

/** What came of lower attempts is void. */
export interface Reset {
	op: "reset";
	channel: string;
	task: string;
	stage: string;
	attempt: number;
}

export interface Gap {
	op: "gap";
	channel: string;
	from: number;
	to: number;
	reason: "slow_consumer" | "missed" | "expired" | "epoch_changed" | (string & {});
	/** true: it is being replayed, for information only. false: these events cannot be had any more. */
	replayable: boolean;
}

export interface Accepted {
	event_id: string;
	channel: string;
	offset: number;
	/** There was one under this key already. */
	duplicate: boolean;
	task?: string;
	key?: string;
}

declare class Emitter<M> {
	/** Returns the function that ends it. */
	on<K extends keyof M>(name: K, fn: (detail: M[K]) => void): () => void;
}

export class Subscription<I = Event> extends Emitter<{
	event: Event; delta: Delta; reset: Reset; gap: Gap; drop: Event; end: PenstockError | null;
}> implements AsyncIterable<I> {
	readonly channel: string;
	/** Resolved when it is subscribed, rejected when it is refused. */
	readonly ready: Promise<Position>;
	/** Of the newest event that was taken over: `after` of another subscription continues from it. */
	readonly position: Position | null;
	readonly paused: boolean;
	readonly closed: boolean;
	/** Events that wait for their reader. */
	readonly buffered: number;
	readonly dropped: number;
	/** All up to offset is done with; default: the last one that was read. */
	ack(offset?: number): void;
	close(): void;
	/** Leaving the loop ends the subscription. */
	[Symbol.asyncIterator](): AsyncIterator<I, undefined>;
}

export interface Chunk {
	stage: string;
	attempt: number;
	data: string;
	/** What came before of this stage is void. */
	reset: boolean;
}

export class Task<Output = any> extends Emitter<{ event: Event; text: { name: string; attempt: number; text: string } }>
	implements AsyncIterable<Event> {
	readonly id: string | null;
	readonly key: string | null;
	readonly status: "sent" | "accepted" | "started" | "running" | "parked" | "completed" | "failed" | "cancelled" | "expired" | (string & {});
	/** Its transitions so far. */
	readonly events: Event[];
	readonly accepted: Promise<Accepted & { task: string }>;
	/** The last event, whatever it says. */
	readonly end: Promise<Event>;
	/** The output; else rejected with task_failed, task_cancelled or task_expired. */
	readonly result: Promise<Output>;
	/** What a stage has said so far. */
	text(stage: string): string;
	/** Of one stage, or of all. Whoever is slow gets longer pieces. */
	stream(stage?: string): AsyncGenerator<Chunk, void, undefined>;
	cancel(options?: CommandOptions): Promise<Accepted>;
	/** Does not listen any more; the task goes on. */
	detach(): void;
	[Symbol.asyncIterator](): AsyncIterator<Event, void>;
}

export type State = "connecting" | "open" | "waiting" | "stopped" | "closed";

export interface Limits {
	frame_bytes: number;
	task_input_bytes: number;
	subscriptions: number;
	commands_in_flight: number;
}

export class Client extends Emitter<{
	state: { state: State; previous: State; retry_in_ms?: number; error?: PenstockError };
	session: { session: string; resumed: boolean; edge: string; tenant: string };
	drain: { op: "drain"; url: string; reconnect_after_ms: number; deadline_ms: number; reason: string };
	/** Errors that answer no command. */
	error: PenstockError;
}> {
	constructor(options: Options);
	readonly state: State;
	readonly session: string | null;
	readonly tenant: string | null;
	readonly edge: string | null;
	readonly limits: Limits | null;
	readonly ready: Promise<Client>;
	/** Commands that are not settled. */
	readonly pending: { count: number; bytes: number };
	subscribe(channel: string, options: SubscribeOptions & { deltas: true; gaps: true }): Subscription<Event | Delta | Reset | Gap>;
	subscribe(channel: string, options: SubscribeOptions & { deltas: true }): Subscription<Event | Delta | Reset>;
	subscribe(channel: string, options: SubscribeOptions & { gaps: true }): Subscription<Event | Gap>;
	subscribe(channel: string, options?: SubscribeOptions): Subscription;
	publish(channel: string, type: string, data: unknown, options?: PublishOptions): Promise<Accepted & { key: string }>;
	task<Output = any>(pipeline: string, input: unknown, options?: TaskOptions): Task<Output>;
	/** A task that was started elsewhere, or before this page was loaded. */
	follow<Output = any>(task: string): Task<Output>;
	cancel(task: string, options?: CommandOptions): Promise<Accepted>;
	/** Tries to connect now instead of later, or asks whether the line is alive. Browsers call it by themselves when
	 * the network is back and when the page is seen again. */
	wake(): void;
	close(): void;
}

/** Begins to connect at once; commands may be given at once. */
export function connect(options: Options): Client;
