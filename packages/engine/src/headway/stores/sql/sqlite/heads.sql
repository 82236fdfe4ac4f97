-- Lists of runs and gates.  Each query leads with the column whose index it walks; a null filter is no filter.

-- name: head
-- One run.
SELECT json_group_array(json_array(
    run, tenant, workflow, plan, status, requester, submitted_ms, updated_ms, wake_ms, parent, error, rejections
))
FROM runs WHERE run = :run;

-- name: heads
-- Runs of everybody, newest submission first.
SELECT json_group_array(json_array(
    run, tenant, workflow, plan, status, requester, submitted_ms, updated_ms, wake_ms, parent, error, rejections
))
FROM (
    SELECT * FROM runs
    WHERE (submitted_ms, run) < (:before_ms, :before_run)
        AND (:parent IS NULL OR parent = :parent)
        AND (:tenant IS NULL OR tenant = :tenant)
        AND (:workflow IS NULL OR workflow = :workflow)
    ORDER BY submitted_ms DESC, run DESC LIMIT :limit
);

-- name: heads_of_tenant
-- Runs of one tenant, newest submission first.
SELECT json_group_array(json_array(
    run, tenant, workflow, plan, status, requester, submitted_ms, updated_ms, wake_ms, parent, error, rejections
))
FROM (
    SELECT * FROM runs
    WHERE tenant = :tenant
        AND (submitted_ms, run) < (:before_ms, :before_run)
        AND (:parent IS NULL OR parent = :parent)
    ORDER BY submitted_ms DESC, run DESC LIMIT :limit
);

-- name: heads_of_workflow
-- Runs of one workflow of one tenant, newest submission first.
SELECT json_group_array(json_array(
    run, tenant, workflow, plan, status, requester, submitted_ms, updated_ms, wake_ms, parent, error, rejections
))
FROM (
    SELECT * FROM runs
    WHERE workflow = :workflow AND tenant = :tenant
        AND (submitted_ms, run) < (:before_ms, :before_run)
        AND (:parent IS NULL OR parent = :parent)
        AND (:status IS NULL OR status = :status)
    ORDER BY submitted_ms DESC, run DESC LIMIT :limit
);

-- name: heads_of_status
-- Runs of one tenant in one status, newest submission first.
SELECT json_group_array(json_array(
    run, tenant, workflow, plan, status, requester, submitted_ms, updated_ms, wake_ms, parent, error, rejections
))
FROM (
    SELECT * FROM runs
    WHERE status = :status AND tenant = :tenant
        AND (submitted_ms, run) < (:before_ms, :before_run)
        AND (:parent IS NULL OR parent = :parent)
    ORDER BY submitted_ms DESC, run DESC LIMIT :limit
);

-- name: heads_of_status_anywhere
-- Runs of everybody in one status, newest submission first.
SELECT json_group_array(json_array(
    run, tenant, workflow, plan, status, requester, submitted_ms, updated_ms, wake_ms, parent, error, rejections
))
FROM (
    SELECT * FROM runs
    WHERE status = :status
        AND (submitted_ms, run) < (:before_ms, :before_run)
        AND (:parent IS NULL OR parent = :parent)
        AND (:workflow IS NULL OR workflow = :workflow)
    ORDER BY submitted_ms DESC, run DESC LIMIT :limit
);

-- name: heads_of_parent
-- Runs that one attempt of another run started, newest submission first.
SELECT json_group_array(json_array(
    run, tenant, workflow, plan, status, requester, submitted_ms, updated_ms, wake_ms, parent, error, rejections
))
FROM (
    SELECT * FROM runs
    WHERE parent = :parent AND parent <> ''
        AND (submitted_ms, run) < (:before_ms, :before_run)
        AND (:tenant IS NULL OR tenant = :tenant)
        AND (:workflow IS NULL OR workflow = :workflow)
        AND (:status IS NULL OR status = :status)
    ORDER BY submitted_ms DESC, run DESC LIMIT :limit
);

-- name: gate
-- One gate.
SELECT json_group_array(json_array(
    gate, run, tenant, step, status, permission, requester, requested_ms, expires_ms, decided_ms, decided_by,
    comment, body
))
FROM gates WHERE gate = :gate;

-- name: gates
-- Gates of everybody, newest request first.
SELECT json_group_array(json_array(
    gate, run, tenant, step, status, permission, requester, requested_ms, expires_ms, decided_ms, decided_by,
    comment, body
))
FROM (
    SELECT * FROM gates
    WHERE (requested_ms, gate) < (:before_ms, :before_gate)
    ORDER BY requested_ms DESC, gate DESC LIMIT :limit
);

-- name: gates_of_tenant
-- Gates of one tenant, newest request first.
SELECT json_group_array(json_array(
    gate, run, tenant, step, status, permission, requester, requested_ms, expires_ms, decided_ms, decided_by,
    comment, body
))
FROM (
    SELECT * FROM gates
    WHERE tenant = :tenant
        AND (requested_ms, gate) < (:before_ms, :before_gate)
    ORDER BY requested_ms DESC, gate DESC LIMIT :limit
);

-- name: gates_of_status
-- Gates of one tenant in one status, newest request first.
SELECT json_group_array(json_array(
    gate, run, tenant, step, status, permission, requester, requested_ms, expires_ms, decided_ms, decided_by,
    comment, body
))
FROM (
    SELECT * FROM gates
    WHERE status = :status AND tenant = :tenant
        AND (requested_ms, gate) < (:before_ms, :before_gate)
    ORDER BY requested_ms DESC, gate DESC LIMIT :limit
);

-- name: gates_of_status_anywhere
-- Gates of everybody in one status, newest request first.
SELECT json_group_array(json_array(
    gate, run, tenant, step, status, permission, requester, requested_ms, expires_ms, decided_ms, decided_by,
    comment, body
))
FROM (
    SELECT * FROM gates
    WHERE status = :status
        AND (requested_ms, gate) < (:before_ms, :before_gate)
    ORDER BY requested_ms DESC, gate DESC LIMIT :limit
);

-- name: gates_of_run
-- Gates of one run, newest request first.
SELECT json_group_array(json_array(
    gate, run, tenant, step, status, permission, requester, requested_ms, expires_ms, decided_ms, decided_by,
    comment, body
))
FROM (
    SELECT * FROM gates
    WHERE run = :run
        AND (requested_ms, gate) < (:before_ms, :before_gate)
        AND (:tenant IS NULL OR tenant = :tenant)
        AND (:status IS NULL OR status = :status)
    ORDER BY requested_ms DESC, gate DESC LIMIT :limit
);
