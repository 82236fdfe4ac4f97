-- The journal, what is projected from it, and records.  docs/reference/store.md says what each table guarantees.
-- Names and keys sort by code point (collation "C"), as they do in every other store.
-- deployment: before the program that needs it

CREATE TABLE engines (
    engine text COLLATE "C" PRIMARY KEY,
    until_ms bigint NOT NULL
);

-- "" is nobody: the owner of runs that any engine may claim.  Its lease has always ended.
INSERT INTO engines (engine, until_ms) VALUES ('', 0);

CREATE TABLE plans (
    digest text COLLATE "C" PRIMARY KEY,
    body text NOT NULL
);

CREATE TABLE runs (
    run text COLLATE "C" PRIMARY KEY CHECK (run <> ''),
    tenant text COLLATE "C" NOT NULL,
    workflow text COLLATE "C" NOT NULL,
    plan text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    requester text NOT NULL,
    submitted_ms bigint NOT NULL,
    updated_ms bigint NOT NULL,
    wake_ms bigint NOT NULL CHECK (wake_ms >= 0),
    parent text COLLATE "C" NOT NULL,
    error text NOT NULL,
    rejections integer NOT NULL CHECK (rejections >= 0),
    owner text COLLATE "C" NOT NULL
) WITH (fillfactor = 80);

CREATE INDEX runs_by_owner ON runs (owner, status, submitted_ms, run);
CREATE INDEX runs_by_status ON runs (status, tenant, submitted_ms, run);
CREATE INDEX runs_by_tenant ON runs (tenant, submitted_ms, run);
CREATE INDEX runs_by_workflow ON runs (workflow, tenant, submitted_ms, run);
CREATE INDEX runs_by_parent ON runs (parent, submitted_ms, run) WHERE parent <> '';
CREATE INDEX runs_by_wake ON runs (owner, wake_ms, run) WHERE wake_ms > 0;

CREATE TABLE journal (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run text COLLATE "C" NOT NULL REFERENCES runs (run),
    seq bigint NOT NULL CHECK (seq >= 0),
    count integer NOT NULL CHECK (count > 0),
    at_ms bigint NOT NULL,
    events text NOT NULL,
    UNIQUE (run, seq)
);

CREATE TABLE snapshots (
    run text COLLATE "C" PRIMARY KEY REFERENCES runs (run),
    seq bigint NOT NULL CHECK (seq > 0),
    state text NOT NULL
);

CREATE TABLE gates (
    gate text COLLATE "C" PRIMARY KEY,
    run text COLLATE "C" NOT NULL REFERENCES runs (run),
    tenant text COLLATE "C" NOT NULL,
    step text NOT NULL,
    status text COLLATE "C" NOT NULL,
    permission integer NOT NULL,
    requester text NOT NULL,
    requested_ms bigint NOT NULL,
    expires_ms bigint NOT NULL,
    decided_ms bigint NOT NULL,
    decided_by text NOT NULL,
    comment text NOT NULL,
    body text NOT NULL
);

CREATE INDEX gates_by_status ON gates (status, tenant, requested_ms, gate);
CREATE INDEX gates_by_tenant ON gates (tenant, requested_ms, gate);
CREATE INDEX gates_by_run ON gates (run, requested_ms, gate);

-- A grant is spent once, ever, and by an entry that exists.
CREATE TABLE spends (
    grant_id text COLLATE "C" PRIMARY KEY,
    run text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    FOREIGN KEY (run, seq) REFERENCES journal (run, seq)
);

CREATE TABLE records (
    key text COLLATE "C" PRIMARY KEY CHECK (key <> ''),
    value bytea NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    updated_ms bigint NOT NULL
);

CREATE FUNCTION headway_refuses() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER journal_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal
FOR EACH STATEMENT EXECUTE FUNCTION headway_refuses();

CREATE TRIGGER spends_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON spends
FOR EACH STATEMENT EXECUTE FUNCTION headway_refuses();

-- For people who read the ledger: one line an event, in the order of the whole store.
CREATE VIEW events AS
SELECT
    journal.number,
    runs.tenant,
    journal.run,
    journal.seq + item.position - 1 AS seq,
    to_timestamp(journal.at_ms / 1000.0) AS at,
    item.event
FROM journal
JOIN runs ON runs.run = journal.run
CROSS JOIN LATERAL json_array_elements(journal.events::json) WITH ORDINALITY AS item (event, position);
