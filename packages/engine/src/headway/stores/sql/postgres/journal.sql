-- Queries on runs and their journal.  Rows travel as one array a column, so that a batch is one statement.

-- name: begin_alone
-- Be the only one that appends or claims in this schema, until the transaction ends.  The lock is a statement of
-- its own: the next one then sees all that its last holder wrote.
-- It answers with a name by which to ask later what became of this transaction.
SELECT pg_current_xact_id()::text FROM pg_advisory_xact_lock($1, hashtext(current_schema()));

-- name: fate
-- What became of a transaction: committed, aborted, in progress.
SELECT pg_xact_status($1::text::xid8);

-- name: run_states
-- Length and owner of those of these runs that exist: what an append is judged by.
SELECT
    runs.run,
    coalesce((SELECT seq + count FROM journal WHERE journal.run = runs.run ORDER BY seq DESC LIMIT 1), 0),
    runs.owner
FROM runs WHERE runs.run = ANY($1::text[]);

-- name: spent
-- Those of these grants that are spent.
SELECT grant_id FROM spends WHERE grant_id = ANY($1::text[]);

-- name: put_heads
-- Write heads.  Who owns a run is decided by its first entry, then only by claim and release.
INSERT INTO runs (
    run, tenant, workflow, plan, status, requester, submitted_ms, updated_ms, wake_ms, parent, error, rejections,
    owner
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[],
    $9::bigint[], $10::text[], $11::text[], $12::integer[], $13::text[]
)
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
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::text[], $8::bigint[],
    $9::bigint[], $10::bigint[], $11::text[], $12::text[], $13::text[]
)
ON CONFLICT (gate) DO UPDATE SET
    run = excluded.run, tenant = excluded.tenant, step = excluded.step, status = excluded.status,
    permission = excluded.permission, requester = excluded.requester, requested_ms = excluded.requested_ms,
    expires_ms = excluded.expires_ms, decided_ms = excluded.decided_ms, decided_by = excluded.decided_by,
    comment = excluded.comment, body = CASE excluded.body WHEN '' THEN gates.body ELSE excluded.body END;

-- name: add_spends
-- Spend grants.  The primary key refuses a second time, should the judgement before it be wrong.
INSERT INTO spends (grant_id, run, seq) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]);

-- name: add_plans
-- Store plans that are not there yet; a digest names one body for ever.
INSERT INTO plans (digest, body) SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT (digest) DO NOTHING;

-- name: put_snapshots
-- Replace the snapshots of these runs.
INSERT INTO snapshots (run, seq, state) SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[])
ON CONFLICT (run) DO UPDATE SET seq = excluded.seq, state = excluded.state;

-- name: histories
-- Plan and latest snapshot of these runs, in the order asked.
SELECT runs.run, runs.plan, snapshots.state, coalesce(snapshots.seq, 0)
FROM unnest($1::text[]) WITH ORDINALITY AS wanted (run, place)
JOIN runs ON runs.run = wanted.run
LEFT JOIN snapshots ON snapshots.run = runs.run
ORDER BY wanted.place;

-- name: entries_since
-- Entries of each of these (run, seq) from seq on, in order.
SELECT journal.run, journal.seq, journal.events
FROM unnest($1::text[], $2::bigint[]) AS wanted (run, seq)
JOIN journal ON journal.run = wanted.run AND journal.seq >= wanted.seq
ORDER BY journal.run, journal.seq;

-- name: plans
-- Those of these plans that are stored.
SELECT digest, body FROM plans WHERE digest = ANY($1::text[]);

-- name: lines
-- A page of one run's ledger.
SELECT number, run, seq, at_ms, events FROM journal WHERE run = $1 AND seq > $2 ORDER BY seq LIMIT $3;

-- name: count
-- How many runs have one of these statuses, of one owner or of all (null).
SELECT count(*) FROM runs WHERE status = ANY($1::text[]) AND ($2::text IS NULL OR owner = $2);
