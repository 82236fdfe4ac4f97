-- Queries on the schema itself, before it can be trusted to be there.

-- name: server
-- What kind of server this is: (version number, encoding, is it a standby, fsync, schema or null).
SELECT
    current_setting('server_version_num')::integer, current_setting('server_encoding'), pg_is_in_recovery(),
    current_setting('fsync'), current_schema()::text, current_setting('server_version');

-- name: is_marked
-- Whether this schema has our table of migrations.
SELECT to_regclass(quote_ident(current_schema()) || '.headway_migrations') IS NOT NULL;

-- name: strangers
-- Tables of this schema, which are another program's when ours are not marked.
SELECT count(*) FROM pg_tables WHERE schemaname = current_schema();

-- name: mark
-- Our table of migrations: what has been run, and when.
CREATE TABLE headway_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);

-- name: migrated
-- The number of the latest migration that was run.
SELECT coalesce(max(number), 0) FROM headway_migrations;

-- name: note_migration
-- Remember that a migration was run.
INSERT INTO headway_migrations (number, name) VALUES ($1, $2);
