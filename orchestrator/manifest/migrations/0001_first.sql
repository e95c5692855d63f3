-- The first manifest. Times ending in _at are UTC epoch seconds with fraction, window ends are whole UTC seconds.

CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value NOT NULL
) WITHOUT ROWID;

-- identity columns are NULL when the job was never declared, or its identity was forgotten
CREATE TABLE jobs (
  key       INTEGER PRIMARY KEY,
  name      TEXT NOT NULL UNIQUE,
  service   TEXT,
  project   TEXT,
  logstore  TEXT,
  logstream TEXT,
  query     TEXT,
  form      TEXT
);

-- longest_s only grows: it bounds how far before a window a slice that meets it may start
CREATE TABLE job_counters (
  job           INTEGER PRIMARY KEY REFERENCES jobs (key),
  lines         INTEGER NOT NULL DEFAULT 0,
  stored_bytes  INTEGER NOT NULL DEFAULT 0,
  fetched_bytes INTEGER NOT NULL DEFAULT 0,
  files         INTEGER NOT NULL DEFAULT 0,
  remote_tasks  INTEGER NOT NULL DEFAULT 0,
  longest_s     INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE slice_counts (
  job   INTEGER NOT NULL REFERENCES jobs (key),
  state TEXT NOT NULL,
  n     INTEGER NOT NULL,
  PRIMARY KEY (job, state)
) WITHOUT ROWID;

-- The current receipt stands in the columns from staged_path to wire_bytes (form IS NULL: none); best is the fullest short
-- file so far, as JSON. task_number and task_uuid point at the current remote task.
CREATE TABLE slices (
  id             TEXT PRIMARY KEY,
  job            INTEGER NOT NULL REFERENCES jobs (key),
  logstream      TEXT NOT NULL,
  start_s        INTEGER NOT NULL,
  end_s          INTEGER NOT NULL CHECK (end_s > start_s),
  state          TEXT NOT NULL,
  generation     INTEGER NOT NULL,
  attempt        INTEGER NOT NULL,
  throttled      INTEGER NOT NULL,
  refetched      INTEGER NOT NULL,
  fetch_round    INTEGER NOT NULL,
  expiries       INTEGER NOT NULL,
  padded         INTEGER NOT NULL,
  not_before_at  REAL NOT NULL,
  expected_lines INTEGER,
  counted_at     REAL,
  recount        INTEGER,
  recounted_at   REAL,
  evidence       TEXT NOT NULL,
  reason         TEXT NOT NULL,
  path           TEXT NOT NULL,
  published_path TEXT NOT NULL,
  published_sha256 TEXT NOT NULL,
  published_rows INTEGER NOT NULL,
  parent         TEXT NOT NULL,
  replaces       TEXT NOT NULL,
  whole          TEXT NOT NULL,
  part           TEXT NOT NULL,
  edge_ms        INTEGER NOT NULL,
  task_number    INTEGER,
  task_uuid      TEXT,
  updated_at     REAL NOT NULL,
  staged_path    TEXT,
  form           TEXT,
  extension      TEXT,
  fetched_bytes  INTEGER,
  fetched_sha256 TEXT,
  stored_bytes   INTEGER,
  stored_sha256  TEXT,
  served_rows    INTEGER,
  dropped_rows   INTEGER,
  stored_rows    INTEGER,
  kept_start_s   INTEGER,
  kept_end_s     INTEGER,
  truncated      INTEGER,
  time_known     INTEGER,
  wire_bytes     INTEGER,
  turn_ms        INTEGER,
  best           TEXT,
  CHECK (form IS NULL OR served_rows - dropped_rows = stored_rows)
);

CREATE INDEX slices_by_time ON slices (job, start_s, id);
CREATE INDEX slices_holding ON slices (job, id) WHERE state IN ('cut', 'superseded') AND published_path <> '';
CREATE INDEX slices_divided ON slices (job, start_s, whole) WHERE whole <> '';
CREATE INDEX slices_by_replaced ON slices (job, replaces) WHERE replaces <> '';
CREATE INDEX slices_by_whole ON slices (whole) WHERE whole <> '';
CREATE INDEX slices_by_state ON slices (job, state, start_s, id);
CREATE INDEX slices_ready ON slices (job, start_s, id) WHERE state = 'planned' AND not_before_at <= 0;
CREATE INDEX slices_due ON slices (job, not_before_at) WHERE state = 'planned';
CREATE INDEX slices_in_doubt ON slices (task_number) WHERE state = 'in_doubt';
CREATE INDEX slices_by_parent ON slices (parent, start_s, id) WHERE parent <> '';
CREATE INDEX slices_unfinished ON slices (job, start_s, end_s) WHERE state IN
  ('planned', 'submitting', 'in_doubt', 'waiting', 'running', 'ready', 'transferring', 'settling');

-- Twins are two uuids under one number. A row outlives its slice: `forget` sets forgotten, so that a remote task of ours is
-- recognised for ever. doubt_at is the last moment its outcome was known to be unknown.
CREATE TABLE remote_tasks (
  number         INTEGER NOT NULL,
  uuid           TEXT NOT NULL,
  name           TEXT NOT NULL,
  slice_id       TEXT NOT NULL,
  job            INTEGER NOT NULL REFERENCES jobs (key),
  attempt        INTEGER NOT NULL,
  start_s        INTEGER NOT NULL,
  end_s          INTEGER NOT NULL CHECK (end_s > start_s),
  row_limit      INTEGER NOT NULL,
  row_order      TEXT NOT NULL,
  format         TEXT NOT NULL,
  intent_at      REAL NOT NULL,
  state          TEXT NOT NULL,
  request_id     TEXT NOT NULL,
  answered_at    REAL,
  expires_at     REAL,
  created_at     REAL,
  finished_at    REAL,
  written_rows   INTEGER,
  failed_code    TEXT NOT NULL,
  failed_message TEXT NOT NULL,
  surplus        INTEGER NOT NULL,
  deleted        INTEGER NOT NULL,
  doubt_at       REAL,
  forgotten      INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (number, uuid)
);

CREATE INDEX remote_tasks_by_slice ON remote_tasks (slice_id, number, uuid);
CREATE INDEX remote_tasks_surplus ON remote_tasks (job) WHERE surplus AND NOT deleted;
CREATE INDEX remote_tasks_by_uuid ON remote_tasks (uuid) WHERE uuid <> '';
CREATE INDEX remote_tasks_doubtful ON remote_tasks (doubt_at) WHERE doubt_at IS NOT NULL;

-- merged ranges: of one job and stream none overlaps or touches another
CREATE TABLE coverage (
  job       INTEGER NOT NULL REFERENCES jobs (key),
  logstream TEXT NOT NULL,
  start_s   INTEGER NOT NULL,
  end_s     INTEGER NOT NULL CHECK (end_s > start_s),
  PRIMARY KEY (job, logstream, start_s)
) WITHOUT ROWID;

CREATE TABLE acceptances (
  number  INTEGER PRIMARY KEY,
  job     INTEGER NOT NULL REFERENCES jobs (key),
  start_s INTEGER NOT NULL,
  end_s   INTEGER NOT NULL CHECK (end_s > start_s),
  reason  TEXT NOT NULL,
  by_whom TEXT NOT NULL,
  at      REAL NOT NULL
);

CREATE INDEX acceptances_by_job ON acceptances (job, start_s);

CREATE TABLE journal (
  number   INTEGER PRIMARY KEY,
  at       REAL NOT NULL,
  job      INTEGER NOT NULL REFERENCES jobs (key),
  slice_id TEXT NOT NULL,
  event    TEXT NOT NULL,
  detail   TEXT NOT NULL
);

CREATE INDEX journal_by_slice ON journal (slice_id, number);

-- Counters. What a slice adds: one to its state's count; when done, its rows, bytes and file; when done or empty, what was
-- fetched for it. What a remote task adds: one, once it has a uuid.

CREATE TRIGGER job_added AFTER INSERT ON jobs BEGIN
  INSERT INTO job_counters (job) VALUES (new.key);
END;

CREATE TRIGGER slice_added AFTER INSERT ON slices BEGIN
  INSERT INTO slice_counts (job, state, n) VALUES (new.job, new.state, 1)
    ON CONFLICT (job, state) DO UPDATE SET n = n + 1;
  UPDATE job_counters SET
    lines = lines + iif(new.state = 'done', ifnull(new.stored_rows, 0), 0),
    stored_bytes = stored_bytes + iif(new.state = 'done', ifnull(new.stored_bytes, 0), 0),
    fetched_bytes = fetched_bytes + iif(new.state IN ('done', 'empty'), ifnull(new.fetched_bytes, 0), 0),
    files = files + (new.state = 'done' AND new.path <> ''),
    longest_s = max(longest_s, new.end_s - new.start_s)
  WHERE job = new.job;
END;

CREATE TRIGGER slice_removed AFTER DELETE ON slices BEGIN
  UPDATE slice_counts SET n = n - 1 WHERE job = old.job AND state = old.state;
  UPDATE job_counters SET
    lines = lines - iif(old.state = 'done', ifnull(old.stored_rows, 0), 0),
    stored_bytes = stored_bytes - iif(old.state = 'done', ifnull(old.stored_bytes, 0), 0),
    fetched_bytes = fetched_bytes - iif(old.state IN ('done', 'empty'), ifnull(old.fetched_bytes, 0), 0),
    files = files - (old.state = 'done' AND old.path <> '')
  WHERE job = old.job;
END;

CREATE TRIGGER slice_changed AFTER UPDATE ON slices
WHEN old.job <> new.job OR old.state <> new.state OR old.path <> new.path OR old.stored_rows IS NOT new.stored_rows
  OR old.stored_bytes IS NOT new.stored_bytes OR old.fetched_bytes IS NOT new.fetched_bytes
  OR old.start_s <> new.start_s OR old.end_s <> new.end_s
BEGIN
  UPDATE slice_counts SET n = n - 1 WHERE job = old.job AND state = old.state;
  INSERT INTO slice_counts (job, state, n) VALUES (new.job, new.state, 1)
    ON CONFLICT (job, state) DO UPDATE SET n = n + 1;
  UPDATE job_counters SET
    lines = lines - iif(old.state = 'done', ifnull(old.stored_rows, 0), 0),
    stored_bytes = stored_bytes - iif(old.state = 'done', ifnull(old.stored_bytes, 0), 0),
    fetched_bytes = fetched_bytes - iif(old.state IN ('done', 'empty'), ifnull(old.fetched_bytes, 0), 0),
    files = files - (old.state = 'done' AND old.path <> '')
  WHERE job = old.job;
  UPDATE job_counters SET
    lines = lines + iif(new.state = 'done', ifnull(new.stored_rows, 0), 0),
    stored_bytes = stored_bytes + iif(new.state = 'done', ifnull(new.stored_bytes, 0), 0),
    fetched_bytes = fetched_bytes + iif(new.state IN ('done', 'empty'), ifnull(new.fetched_bytes, 0), 0),
    files = files + (new.state = 'done' AND new.path <> ''),
    longest_s = max(longest_s, new.end_s - new.start_s)
  WHERE job = new.job;
END;

CREATE TRIGGER remote_task_added AFTER INSERT ON remote_tasks WHEN new.uuid <> '' BEGIN
  UPDATE job_counters SET remote_tasks = remote_tasks + 1 WHERE job = new.job;
END;

CREATE TRIGGER remote_task_removed AFTER DELETE ON remote_tasks WHEN old.uuid <> '' BEGIN
  UPDATE job_counters SET remote_tasks = remote_tasks - 1 WHERE job = old.job;
END;

-- Doubt is dated by the slice that is in it: while it lasts, and once more when it ends.

CREATE TRIGGER doubt_planted AFTER INSERT ON slices WHEN new.state = 'in_doubt' BEGIN
  UPDATE remote_tasks SET doubt_at = max(ifnull(doubt_at, intent_at), new.updated_at) WHERE number = new.task_number;
END;

CREATE TRIGGER doubt_seen AFTER UPDATE ON slices WHEN new.state = 'in_doubt' BEGIN
  UPDATE remote_tasks SET doubt_at = max(ifnull(doubt_at, intent_at), new.updated_at) WHERE number = new.task_number;
END;

CREATE TRIGGER doubt_ended AFTER UPDATE ON slices WHEN old.state = 'in_doubt' AND new.state <> 'in_doubt' BEGIN
  UPDATE remote_tasks SET doubt_at = max(ifnull(doubt_at, intent_at), new.updated_at) WHERE number = old.task_number;
END;

CREATE TRIGGER doubt_removed BEFORE DELETE ON slices WHEN old.state = 'in_doubt' BEGIN
  UPDATE remote_tasks SET doubt_at = max(ifnull(doubt_at, intent_at), old.updated_at) WHERE number = old.task_number;
END;
