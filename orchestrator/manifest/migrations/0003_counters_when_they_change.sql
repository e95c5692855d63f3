-- A slice passes through eight states on its way; what it adds to its job's counters changes in the last of them only.

DROP TRIGGER slice_changed;

CREATE TRIGGER slice_moved AFTER UPDATE ON slices WHEN old.state <> new.state OR old.job <> new.job BEGIN
  UPDATE slice_counts SET n = n - 1 WHERE job = old.job AND state = old.state;
  INSERT INTO slice_counts (job, state, n) VALUES (new.job, new.state, 1)
    ON CONFLICT (job, state) DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER slice_recounted AFTER UPDATE ON slices
WHEN (old.state IN ('done', 'empty') OR new.state IN ('done', 'empty'))
  AND (old.job <> new.job OR old.state <> new.state OR old.path <> new.path OR old.stored_rows IS NOT new.stored_rows
    OR old.stored_bytes IS NOT new.stored_bytes OR old.fetched_bytes IS NOT new.fetched_bytes)
BEGIN
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
    files = files + (new.state = 'done' AND new.path <> '')
  WHERE job = new.job;
END;

CREATE TRIGGER slice_stretched AFTER UPDATE OF job, start_s, end_s ON slices
WHEN old.job <> new.job OR old.start_s <> new.start_s OR old.end_s <> new.end_s
BEGIN
  UPDATE job_counters SET longest_s = max(longest_s, new.end_s - new.start_s) WHERE job = new.job;
END;
