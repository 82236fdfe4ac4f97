-- Lists of runs and gates.  A null filter is no filter: the planner sees the values and drops it.

-- name: head
-- One run.
SELECT
    run, tenant, workflow, plan, status, requester, submitted_ms, updated_ms, wake_ms, parent, error, rejections
FROM runs WHERE run = $1;

-- name: heads
-- Runs, newest submission first.
SELECT
    run, tenant, workflow, plan, status, requester, submitted_ms, updated_ms, wake_ms, parent, error, rejections
FROM runs
WHERE ($1::text IS NULL OR tenant = $1)
    AND ($2::text[] IS NULL OR status = ANY($2))
    AND ($3::text IS NULL OR workflow = $3)
    AND ($4::text IS NULL OR parent = $4)
    AND (submitted_ms, run) < ($5::bigint, $6::text COLLATE "C")
ORDER BY submitted_ms DESC, run DESC LIMIT $7;

-- name: gate
-- One gate.
SELECT
    gate, run, tenant, step, status, permission, requester, requested_ms, expires_ms, decided_ms, decided_by,
    comment, body
FROM gates WHERE gate = $1;

-- name: gates
-- Gates, newest request first.
SELECT
    gate, run, tenant, step, status, permission, requester, requested_ms, expires_ms, decided_ms, decided_by,
    comment, body
FROM gates
WHERE ($1::text IS NULL OR tenant = $1)
    AND ($2::text[] IS NULL OR status = ANY($2))
    AND ($3::text IS NULL OR run = $3)
    AND (requested_ms, gate) < ($4::bigint, $5::text COLLATE "C")
ORDER BY requested_ms DESC, gate DESC LIMIT $6;
