-- Every run, and every call that a run served. Read by lading.run.records; `-- name:` starts a
-- statement. The columns of `run` are the fields of lading.run.records.Run, in their order.

-- name: schema
CREATE TABLE run (
    id             TEXT PRIMARY KEY,   -- sorts by time of creation: no index on `created` is needed
    kind           TEXT NOT NULL,
    contract       TEXT NOT NULL,
    owner          TEXT NOT NULL,
    name           TEXT NOT NULL,
    image          TEXT NOT NULL,
    state          TEXT NOT NULL,
    created        REAL NOT NULL,      -- seconds since 1970, UTC
    started        REAL,
    finished       REAL,
    image_id       TEXT,
    container_id   TEXT,
    container_name TEXT,
    parent         TEXT,               -- of a call: the run of its container
    cpus           REAL,
    memory         INTEGER,            -- bytes, the limit
    exit_code      INTEGER,
    out_of_memory  INTEGER NOT NULL,
    error          TEXT NOT NULL,
    memory_peak    INTEGER,            -- bytes
    cpu_seconds    REAL,
    input_bytes    INTEGER,
    output_bytes   INTEGER,
    detail         TEXT NOT NULL       -- JSON, the contract's own
) WITHOUT ROWID;
-- Small: it holds only what has not ended, and a call that ends at once never enters it.
CREATE INDEX run_open ON run (owner) WHERE finished IS NULL;

-- name: insert
INSERT OR REPLACE INTO run
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: get
SELECT * FROM run WHERE id >= :prefix AND id < :end ORDER BY id LIMIT 2;

-- name: list
SELECT * FROM run
WHERE (:state IS NULL OR state = :state)
  AND (:kind IS NULL OR kind = :kind)
  AND id >= :since
ORDER BY id DESC LIMIT :limit;

-- name: fingerprinted
-- Whatever has the text anywhere is found by one search of memory, faster than JSON is read.
SELECT * FROM run
WHERE contract = :contract AND name = :name AND state = 'succeeded'
  AND instr(detail, :fingerprint) AND json_extract(detail, '$.fingerprint') = :fingerprint
ORDER BY id DESC LIMIT 1;

-- name: open_owners
SELECT DISTINCT owner FROM run WHERE finished IS NULL;

-- name: stopping
UPDATE run SET state = 'stopping' WHERE id = :id AND finished IS NULL;

-- name: lost
UPDATE run SET state = 'lost', finished = :now, error = :error
WHERE owner = :owner AND finished IS NULL;

-- name: prune
DELETE FROM run
WHERE finished IS NOT NULL
  AND (id < :before
       OR (:keep IS NOT NULL
           AND id <= (SELECT id FROM run ORDER BY id DESC LIMIT 1 OFFSET :keep)));
