-- The journal, what is projected from it, and records.  docs/reference/store.md says what each table guarantees.
-- deployment: before the program that needs it

CREATE TABLE engines (
    engine TEXT PRIMARY KEY NOT NULL,
    until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- "" is nobody: the owner of runs that any engine may claim.  Its lease has always ended.
INSERT INTO engines (engine, until_ms) VALUES ('', 0);

CREATE TABLE plans (
    digest TEXT PRIMARY KEY NOT NULL,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE runs (
    run TEXT PRIMARY KEY NOT NULL CHECK (run <> ''),
    tenant TEXT NOT NULL,
    workflow TEXT NOT NULL,
    plan TEXT NOT NULL,
    status TEXT NOT NULL,
    requester TEXT NOT NULL,
    submitted_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    wake_ms INTEGER NOT NULL CHECK (wake_ms >= 0),
    parent TEXT NOT NULL,
    error TEXT NOT NULL,
    rejections INTEGER NOT NULL CHECK (rejections >= 0),
    owner TEXT NOT NULL
) STRICT;

CREATE INDEX runs_by_owner ON runs (owner, status, submitted_ms, run);
CREATE INDEX runs_by_status ON runs (status, tenant, submitted_ms, run);
CREATE INDEX runs_by_tenant ON runs (tenant, submitted_ms, run);
CREATE INDEX runs_by_workflow ON runs (workflow, tenant, submitted_ms, run);
CREATE INDEX runs_by_parent ON runs (parent, submitted_ms, run) WHERE parent <> '';
CREATE INDEX runs_by_wake ON runs (owner, wake_ms, run) WHERE wake_ms > 0;

CREATE TABLE journal (
    number INTEGER PRIMARY KEY,
    run TEXT NOT NULL REFERENCES runs (run),
    seq INTEGER NOT NULL CHECK (seq >= 0),
    count INTEGER NOT NULL CHECK (count > 0),
    at_ms INTEGER NOT NULL,
    events TEXT NOT NULL,
    UNIQUE (run, seq)
) STRICT;

CREATE TRIGGER journal_is_never_changed BEFORE UPDATE ON journal
BEGIN SELECT raise(ABORT, 'the journal is append-only'); END;

CREATE TRIGGER journal_is_never_shortened BEFORE DELETE ON journal
BEGIN SELECT raise(ABORT, 'the journal is append-only'); END;

CREATE TABLE snapshots (
    run TEXT PRIMARY KEY NOT NULL REFERENCES runs (run),
    seq INTEGER NOT NULL CHECK (seq > 0),
    state TEXT NOT NULL
) STRICT;

CREATE TABLE gates (
    gate TEXT PRIMARY KEY NOT NULL,
    run TEXT NOT NULL REFERENCES runs (run),
    tenant TEXT NOT NULL,
    step TEXT NOT NULL,
    status TEXT NOT NULL,
    permission INTEGER NOT NULL,
    requester TEXT NOT NULL,
    requested_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    decided_ms INTEGER NOT NULL,
    decided_by TEXT NOT NULL,
    comment TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;

CREATE INDEX gates_by_status ON gates (status, tenant, requested_ms, gate);
CREATE INDEX gates_by_tenant ON gates (tenant, requested_ms, gate);
CREATE INDEX gates_by_run ON gates (run, requested_ms, gate);

-- A grant is spent once, ever, and by an entry that exists.
CREATE TABLE spends (
    grant_id TEXT PRIMARY KEY NOT NULL,
    run TEXT NOT NULL,
    seq INTEGER NOT NULL,
    FOREIGN KEY (run, seq) REFERENCES journal (run, seq)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER spends_are_never_changed BEFORE UPDATE ON spends
BEGIN SELECT raise(ABORT, 'a spent grant stays spent'); END;

CREATE TRIGGER spends_are_never_undone BEFORE DELETE ON spends
BEGIN SELECT raise(ABORT, 'a spent grant stays spent'); END;

CREATE TABLE records (
    key TEXT PRIMARY KEY NOT NULL CHECK (key <> ''),
    value BLOB NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    updated_ms INTEGER NOT NULL
) STRICT;

-- For people who read the ledger: one line an event, in the order of the whole store.
CREATE VIEW events AS
SELECT
    journal.number,
    runs.tenant,
    journal.run,
    journal.seq + event.key AS seq,
    strftime('%Y-%m-%dT%H:%M:%fZ', journal.at_ms / 1000.0, 'unixepoch') AS at,
    event.value AS event
FROM journal
JOIN runs ON runs.run = journal.run
JOIN json_each(journal.events) AS event;
