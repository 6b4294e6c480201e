-- Every task that was driven, and each of its subtasks. Read by
-- lading.contracts.golem.driver.journal; `-- name:` starts a statement.

-- name: schema
CREATE TABLE task (
    id           TEXT PRIMARY KEY,   -- as its user knows it - sorts by time of creation
    wire_id      TEXT NOT NULL,      -- as the application knows it - another one after a false start
    state        TEXT NOT NULL,
    app          TEXT NOT NULL,
    image        TEXT NOT NULL,      -- of the requestor
    definition   TEXT NOT NULL,      -- the application definition file, or nothing
    output       TEXT NOT NULL,
    options      TEXT NOT NULL,      -- JSON
    created      REAL NOT NULL,      -- seconds since 1970, UTC
    finished     REAL,
    driven       REAL NOT NULL,      -- seconds that drivers have spent on it
    done         INTEGER NOT NULL,   -- subtasks that are verified
    failed       INTEGER NOT NULL,   -- tries that failed
    in_a_row     INTEGER NOT NULL,   -- tries that failed since one succeeded
    error        TEXT NOT NULL,
    abort_asked  REAL,
    env_id       TEXT NOT NULL,      -- this and the next two: what CreateTask answered
    prerequisites TEXT NOT NULL,     -- JSON
    min_memory   REAL NOT NULL,      -- MiB
    resources    TEXT NOT NULL,      -- JSON: paths
    params       TEXT NOT NULL       -- JSON - may be megabytes, so it comes last and is read once
) WITHOUT ROWID;
CREATE TABLE subtask (
    task     TEXT NOT NULL,
    id       TEXT NOT NULL,
    state    TEXT NOT NULL,
    piece    BLOB,                   -- digest of its work, once that is known
    position INTEGER NOT NULL,       -- the order in which their results came - 0 before that
    results  TEXT NOT NULL,          -- JSON
    reason   TEXT NOT NULL,
    PRIMARY KEY (task, id)
) WITHOUT ROWID;
-- Small: only what is on its way. What is done is never looked for.
CREATE INDEX subtask_open ON subtask (task, position)
WHERE state IN ('asked', 'handed', 'computed', 'verifying', 'awaiting');
-- Work that failed, and has not succeeded since.
CREATE TABLE piece (
    task     TEXT NOT NULL,
    digest   BLOB NOT NULL,
    failures INTEGER NOT NULL,
    reason   TEXT NOT NULL,
    PRIMARY KEY (task, digest)
) WITHOUT ROWID;

-- name: begin
INSERT INTO task VALUES
(?, ?, 'preparing', ?, ?, ?, ?, ?, ?, NULL, 0, 0, 0, 0, '', NULL, '', '{}', 0, ?, ?);

-- name: tasks
SELECT id, wire_id, state, app, image, definition, output, options, created, finished, driven,
    done, failed, in_a_row, error, abort_asked, env_id, prerequisites, min_memory
FROM task
WHERE id >= :from AND id < :to AND (:ended OR finished IS NULL)
ORDER BY id DESC LIMIT :limit;

-- name: assignment
SELECT resources, params FROM task WHERE id = :task;

-- name: open
SELECT id, state, piece, results FROM subtask
WHERE task = :task AND state IN ('asked', 'handed', 'computed', 'verifying', 'awaiting')
ORDER BY position, id;

-- name: open_counts
SELECT state, COUNT(*) FROM subtask
WHERE task = :task AND state IN ('asked', 'handed', 'computed', 'verifying', 'awaiting')
GROUP BY state;

-- name: subtask
SELECT state, piece FROM subtask WHERE task = :task AND id = :id;

-- name: last_position
SELECT COALESCE(MAX(position), 0) FROM subtask WHERE task = :task;

-- name: failures
SELECT failures FROM piece WHERE task = :task AND digest = :digest;

-- name: left_over
SELECT COUNT(*), MAX(reason) FROM piece WHERE task = :task;

-- name: abort_asked
SELECT abort_asked IS NOT NULL FROM task WHERE id = :task;

-- name: asked
INSERT INTO subtask VALUES (?, ?, 'asked', NULL, 0, '[]', '');

-- name: refused
DELETE FROM subtask WHERE task = ? AND id = ?;

-- name: handed
UPDATE subtask SET state = 'handed', piece = ? WHERE task = ? AND id = ?;

-- name: computed
UPDATE subtask SET state = 'computed', position = ?, results = ? WHERE task = ? AND id = ?;

-- name: state
UPDATE subtask SET state = ?, reason = ? WHERE task = ? AND id = ?;

-- name: awaiting
UPDATE subtask SET state = 'awaiting', results = ?, reason = ? WHERE task = ? AND id = ?;

-- name: failure
INSERT INTO piece VALUES (?, ?, 1, ?)
ON CONFLICT DO UPDATE SET failures = failures + 1, reason = excluded.reason;

-- name: success
DELETE FROM piece WHERE task = ? AND digest = ?;

-- name: count
UPDATE task SET done = done + ?, failed = failed + ?, in_a_row = ?, driven = ? WHERE id = ?;

-- name: undone
UPDATE task SET done = done - ? WHERE id = ?;

-- name: created
UPDATE task SET state = 'running', env_id = ?, prerequisites = ?, min_memory = ? WHERE id = ?;

-- name: anew
UPDATE task SET state = 'preparing', wire_id = ? WHERE id = ?;

-- name: task_state
UPDATE task SET state = ?, error = ?, finished = ?, driven = ? WHERE id = ?;

-- name: task_options
UPDATE task SET options = ? WHERE id = ?;

-- name: ask_abort
UPDATE task SET abort_asked = ? WHERE id = ? AND finished IS NULL;

-- name: forget_subtasks
DELETE FROM subtask WHERE task = ?;

-- name: forget_pieces
DELETE FROM piece WHERE task = ?;

-- name: forget_task
DELETE FROM task WHERE id = ? AND finished IS NOT NULL;
