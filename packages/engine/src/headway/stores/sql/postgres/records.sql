-- Documents by key.

-- name: lock_record
-- Be the only one that writes this key, there or not, until the transaction ends.
SELECT pg_advisory_xact_lock($1, hashtext($2));

-- name: record
-- One document.
SELECT key, value, version, updated_ms FROM records WHERE key = $1;

-- name: records
-- A page of documents, by key, from one key to before another (null: no end) and after a third.
SELECT key, value, version, updated_ms FROM records
WHERE key >= $1 AND ($2::text IS NULL OR key < $2) AND key > $3
ORDER BY key LIMIT $4;

-- name: put_record
-- Write a document with the version that the caller has worked out.
INSERT INTO records (key, value, version, updated_ms) VALUES ($1, $2, $3, $4)
ON CONFLICT (key) DO UPDATE SET
    value = excluded.value, version = excluded.version, updated_ms = excluded.updated_ms;

-- name: delete_record
-- Remove a document and say which.
DELETE FROM records WHERE key = $1 RETURNING key;
