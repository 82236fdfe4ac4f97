-- Who owns which runs, and until when.

-- name: keep_lease
-- Begin or renew an engine's lease.
INSERT INTO engines (engine, until_ms) VALUES ($1, $2)
ON CONFLICT (engine) DO UPDATE SET until_ms = excluded.until_ms;

-- name: know_engines
-- Make sure that these engines have a row, so that their runs can be found when they are gone.
INSERT INTO engines (engine, until_ms) SELECT engine, 0 FROM unnest($1::text[]) AS engine
ON CONFLICT (engine) DO NOTHING;

-- name: has_lease
-- Whether an engine's lease lasts beyond this moment.
SELECT count(*) FROM engines WHERE engine = $1 AND until_ms > $2;

-- name: give_up
-- Release the open runs of one engine.
UPDATE runs SET owner = '' WHERE owner = $1 AND status = ANY($2::text[]);

-- name: claimable
-- The oldest runs that nobody owns or whose owner's lease has ended: (submitted_ms, run).  Each engine and status
-- is walked by its index, so that a long queue is not sorted.
SELECT free.submitted_ms, free.run
FROM engines
CROSS JOIN unnest($2::text[]) AS wanted (status)
CROSS JOIN LATERAL (
    SELECT runs.submitted_ms, runs.run FROM runs
    WHERE runs.owner = engines.engine AND runs.status = wanted.status
    ORDER BY runs.submitted_ms, runs.run LIMIT $3
) AS free
WHERE engines.until_ms <= $1
ORDER BY free.submitted_ms, free.run LIMIT $3;

-- name: give
-- Make an engine ("" nobody) the owner of these runs.
UPDATE runs SET owner = $1 WHERE run = ANY($2::text[]);

-- name: forget_engines
-- Forget engines whose lease ended long ago and who own no open run.
DELETE FROM engines
WHERE engine <> '' AND until_ms < $1
    AND NOT EXISTS (SELECT FROM runs WHERE runs.owner = engines.engine AND runs.status = ANY($2::text[]));

-- name: due
-- Runs of an engine that want attention now, the longest waiting first.
SELECT run FROM runs WHERE owner = $1 AND wake_ms > 0 AND wake_ms <= $2 ORDER BY wake_ms, run LIMIT $3;
