"""What PostgreSQL must say in the end: DESIGN 9.1 to 9.3, asked of the real tables."""
import collections
import json

import psycopg2

from stack import wait_for

ENDS = {"task.completed": "completed", "task.failed": "failed", "task.cancelled": "cancelled", "task.expired": "expired"}


def rows(stack, sql, *args):
    conn = psycopg2.connect(stack.pg_dsn)
    conn.autocommit = True
    try:
        with conn.cursor() as cur:
            cur.execute(sql, args)
            return cur.fetchall()
    finally:
        conn.close()


def execute(stack, sql, *args):
    with psycopg2.connect(stack.pg_dsn) as conn, conn.cursor() as cur:
        cur.execute(sql, args)
    conn.close()


def channel_rows(stack, tenant, channel):
    """[(offset, event id, type, data)] in order."""
    return [(seq, str(event_id), type, json.loads(data)) for seq, event_id, type, data in rows(
        stack, "SELECT seq, event_id, type, data FROM events WHERE tenant = %s AND channel = %s ORDER BY epoch, seq",
        tenant, channel)]


def wait_stored(stack, tenant, event_ids, timeout=60):
    """Until PostgreSQL has every one of the events."""
    want = list(event_ids)

    def missing():
        there = {str(r[0]) for r in rows(
            stack, "SELECT event_id FROM events WHERE tenant = %s AND event_id = ANY(%s::uuid[])", tenant, want)}
        return len(set(want) - there) == 0
    wait_for(f"{len(want)} events in PostgreSQL", missing, timeout, 0.1)


def check_events(stack, tenant, acked, timeout=60):
    """acked: [(channel, data, accepted frame)], all that clients were told is stored. Each is there exactly once,
    at the offset that was said, with the data that was sent, and no key made a second event."""
    wait_stored(stack, tenant, [a["event_id"] for _, _, a in acked], timeout)
    by_channel = collections.defaultdict(list)
    for channel, data, answer in acked:
        by_channel[channel].append((answer["offset"], answer["event_id"], data))
    for channel, want in by_channel.items():
        have = channel_rows(stack, tenant, channel)
        ids = [id for _, id, _, _ in have]
        assert len(ids) == len(set(ids)), f"{channel}: an event is there twice"
        there = {id: (seq, data) for seq, id, _, data in have}
        for offset, id, data in want:
            assert there[id] == (offset, data), f"{channel}: {id} was acknowledged at {offset}"
    twice = rows(stack, "SELECT key, count(*) FROM events WHERE tenant = %s AND key <> '' GROUP BY key, channel "
                 "HAVING count(*) > 1", tenant)
    assert twice == [], "keys with more than one event"


def transitions(stack, tenant, task):
    return [(type, data) for _, _, type, data in channel_rows(stack, tenant, f"task.{task}")]


def wait_task(stack, tenant, task, timeout=60):
    """The task's row once it has ended, as (state, output, stages)."""
    def ended():
        found = rows(stack, "SELECT state, output, stages FROM tasks WHERE tenant = %s AND task = %s", tenant, task)
        return found and found[0][0] in ENDS.values() and found[0]
    return wait_for(f"the end of task {task} in PostgreSQL", ended, timeout, 0.1)


def check_task(stack, tenant, task, stages, state="completed", timeout=60):
    """The log of one task: it begins with accepted, ends with exactly one end, which is the projection's state; each
    stage is completed at most once, and after it was started. Returns the transitions."""
    row = wait_task(stack, tenant, task, timeout)
    assert row[0] == state, row
    log = transitions(stack, tenant, task)
    types = [t for t, _ in log]
    assert types[0] == "task.accepted", types
    assert types.count("task.accepted") == 1, types
    assert [t for t in types if t in ENDS] == [types[-1]] and ENDS[types[-1]] == state, types
    started, done = set(), []
    for type, data in log:
        if type == "task.stage.started":
            started.add(data["stage"])
            assert data["stage"] not in done, f"stage {data['stage']} was started after it was complete"
        if type == "task.stage.completed":
            assert data["stage"] in started and data["stage"] not in done, (data["stage"], types)
            done.append(data["stage"])
    if state == "completed":
        assert sorted(done) == sorted(stages), types
    runs = [data["run"] for type, data in log if type == "task.started"]
    assert runs == list(range(1, len(runs) + 1)), runs
    return log
