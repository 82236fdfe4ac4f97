-- Who owns which runs, and until when.

-- name: keep_lease
-- Begin or renew an engine's lease.
INSERT INTO engines (engine, until_ms) VALUES (:engine, :until_ms)
ON CONFLICT (engine) DO UPDATE SET until_ms = excluded.until_ms;

-- name: know_engines
-- Make sure that these engines have a row, so that their runs can be found when they are gone.
INSERT INTO engines (engine, until_ms)
SELECT value, 0 FROM json_each(:engines)
WHERE true
ON CONFLICT (engine) DO NOTHING;

-- name: ended_leases
-- Engines whose lease has ended; nobody ("") is one of them.
SELECT json_group_array(engine) FROM engines WHERE until_ms <= :now_ms;

-- name: claimable
-- The oldest runs of one owner in one status: (submitted_ms, run).
SELECT json_group_array(json_array(submitted_ms, run))
FROM (
    SELECT submitted_ms, run FROM runs
    WHERE owner = :owner AND status = :status
    ORDER BY submitted_ms, run LIMIT :limit
);

-- name: give
-- Make an engine the owner of these runs.
UPDATE runs SET owner = :owner WHERE run IN (SELECT value FROM json_each(:runs));

-- name: has_lease
-- Whether an engine's lease lasts beyond this moment.
SELECT count(*) FROM engines WHERE engine = :engine AND until_ms > :now_ms;

-- name: give_up
-- Release the open runs of one engine.
UPDATE runs SET owner = '' WHERE owner = :owner AND status IN (SELECT value FROM json_each(:statuses));

-- name: release_all
-- Release every open run: whoever owned it is gone when this file is opened.
UPDATE runs SET owner = '' WHERE owner <> '' AND status IN (SELECT value FROM json_each(:statuses));

-- name: forget_engines
-- End every lease.
DELETE FROM engines WHERE engine <> '';

-- name: due
-- Runs of an engine that want attention now, the longest waiting first.
SELECT json_group_array(run ORDER BY wake_ms, run)
FROM (
    SELECT run, wake_ms FROM runs
    WHERE owner = :owner AND wake_ms > 0 AND wake_ms <= :now_ms
    ORDER BY wake_ms, run LIMIT :limit
);
