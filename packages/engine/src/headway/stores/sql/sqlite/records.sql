-- Documents by key.  Values are bytes, which JSON cannot carry: they travel as hexadecimal text.

-- name: record
-- One document.
SELECT json_group_array(json_array(key, hex(value), version, updated_ms)) FROM records WHERE key = :key;

-- name: records
-- A page of documents, by key, from `from_key` to before `to_key` and after `after`.
-- `to_key` may be an empty blob, which is greater than every text.
SELECT json_group_array(json_array(key, hex(value), version, updated_ms) ORDER BY key)
FROM (
    SELECT * FROM records
    WHERE key >= :from_key AND key < :to_key AND key > :after
    ORDER BY key LIMIT :limit
);

-- name: put_record
-- Write a document with the version that the caller has worked out.
INSERT INTO records (key, value, version, updated_ms) VALUES (:key, :value, :version, :now_ms)
ON CONFLICT (key) DO UPDATE SET
    value = excluded.value, version = excluded.version, updated_ms = excluded.updated_ms;

-- name: delete_record
-- Remove a document.
DELETE FROM records WHERE key = :key;
