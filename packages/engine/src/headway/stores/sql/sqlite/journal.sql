-- Queries on runs and their journal.
--
-- Rows travel as one JSON text in each direction.  A statement then gives up the interpreter's lock a few times
-- instead of once for each row; beside a busy event loop that is worth a factor of ten and more
-- (docs/decisions/0014-the-store.md).

-- name: run_states
-- Length and owner of those of these runs that exist: what an append is judged by.
SELECT json_group_array(json_array(
    runs.run,
    coalesce((SELECT seq + count FROM journal WHERE journal.run = runs.run ORDER BY seq DESC LIMIT 1), 0),
    runs.owner
))
FROM json_each(:runs) AS wanted
JOIN runs ON runs.run = wanted.value;

-- name: spent
-- Those of these grants that are spent.
SELECT json_group_array(spends.grant_id)
FROM json_each(:grants) AS wanted
JOIN spends ON spends.grant_id = wanted.value;

-- name: add_entries
-- Append to the journal; the order of the rows is the order of their numbers.
INSERT INTO journal (run, seq, count, at_ms, events)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
FROM json_each(:rows);

-- name: put_heads
-- Write heads.  Who owns a run is decided by its first entry, then only by claim and release.
INSERT INTO runs (
    run, tenant, workflow, plan, status, requester, submitted_ms, updated_ms, wake_ms, parent, error, rejections,
    owner
)
SELECT
    value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
    value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12
FROM json_each(:rows)
WHERE true
ON CONFLICT (run) DO UPDATE SET
    tenant = excluded.tenant, workflow = excluded.workflow, plan = excluded.plan, status = excluded.status,
    requester = excluded.requester, submitted_ms = excluded.submitted_ms, updated_ms = excluded.updated_ms,
    wake_ms = excluded.wake_ms, parent = excluded.parent, error = excluded.error,
    rejections = excluded.rejections;

-- name: put_gates
-- Write gates.  An empty body leaves the one that is stored.
INSERT INTO gates (
    gate, run, tenant, step, status, permission, requester, requested_ms, expires_ms, decided_ms, decided_by,
    comment, body
)
SELECT
    value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
    value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12
FROM json_each(:rows)
WHERE true
ON CONFLICT (gate) DO UPDATE SET
    run = excluded.run, tenant = excluded.tenant, step = excluded.step, status = excluded.status,
    permission = excluded.permission, requester = excluded.requester, requested_ms = excluded.requested_ms,
    expires_ms = excluded.expires_ms, decided_ms = excluded.decided_ms, decided_by = excluded.decided_by,
    comment = excluded.comment, body = CASE excluded.body WHEN '' THEN gates.body ELSE excluded.body END;

-- name: add_spends
-- Spend grants.  The primary key refuses a second time, should the judgement before it be wrong.
INSERT INTO spends (grant_id, run, seq)
SELECT value ->> 0, value ->> 1, value ->> 2
FROM json_each(:rows);

-- name: add_plans
-- Store plans that are not there yet; a digest names one body for ever.
INSERT INTO plans (digest, body)
SELECT value ->> 0, value ->> 1
FROM json_each(:rows)
WHERE true
ON CONFLICT (digest) DO NOTHING;

-- name: put_snapshots
-- Replace the snapshots of these runs.
INSERT INTO snapshots (run, seq, state)
SELECT value ->> 0, value ->> 1, value ->> 2
FROM json_each(:rows)
WHERE true
ON CONFLICT (run) DO UPDATE SET seq = excluded.seq, state = excluded.state;

-- name: histories
-- Plan and latest snapshot of these runs, in the order asked.
SELECT json_group_array(json_array(runs.run, runs.plan, snapshots.state, coalesce(snapshots.seq, 0))
    ORDER BY wanted.key)
FROM json_each(:runs) AS wanted
JOIN runs ON runs.run = wanted.value
LEFT JOIN snapshots ON snapshots.run = runs.run;

-- name: entries_since
-- Entries of each of these (run, seq) from seq on, in order.
SELECT json_group_array(json_array(journal.run, journal.seq, journal.events) ORDER BY journal.run, journal.seq)
FROM json_each(:wanted) AS wanted
JOIN journal ON journal.run = wanted.value ->> 0 AND journal.seq >= wanted.value ->> 1;

-- name: plans
-- Those of these plans that are stored.
SELECT json_group_array(json_array(plans.digest, plans.body))
FROM json_each(:digests) AS wanted
JOIN plans ON plans.digest = wanted.value;

-- name: lines
-- A page of one run's ledger.
SELECT json_group_array(json_array(number, run, seq, at_ms, events) ORDER BY seq)
FROM (
    SELECT number, run, seq, at_ms, events FROM journal
    WHERE run = :run AND seq > :after_seq
    ORDER BY seq LIMIT :limit
);

-- name: count
-- How many runs have one of these statuses, of one owner or of all (null).
SELECT count(*)
FROM runs
WHERE status IN (SELECT value FROM json_each(:statuses)) AND (:owner IS NULL OR owner = :owner);
