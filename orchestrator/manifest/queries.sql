-- Every statement the manifest runs, by name. The text between two names is one statement.

-- name: meta
SELECT value FROM meta WHERE key = :key

-- name: set_meta
INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value

-- name: raise_next_number
UPDATE meta SET value = :number WHERE key = 'next_number' AND value < :number

-- name: add_job
INSERT INTO jobs (name) VALUES (:job) ON CONFLICT (name) DO NOTHING

-- name: job_key
SELECT key FROM jobs WHERE name = :job

-- name: declare_job
UPDATE jobs SET service = :service, project = :project, logstore = :logstore, logstream = :logstream, query = :query,
  form = :form WHERE name = :job

-- name: undeclare_job
UPDATE jobs SET service = NULL, project = NULL, logstore = NULL, logstream = NULL, query = NULL, form = NULL WHERE name = :job

-- name: job_identity
SELECT service, project, logstore, logstream, query FROM jobs WHERE name = :job AND service IS NOT NULL

-- name: columns
SELECT c.name, c.type FROM columns c JOIN jobs j ON j.key = c.job WHERE j.name = :job ORDER BY c.place

-- name: add_column
INSERT INTO columns (job, place, name, type) VALUES (:job, :place, :name, :type)

-- name: drop_columns
DELETE FROM columns WHERE job = :job

-- name: jobs
SELECT name FROM jobs
WHERE service IS NOT NULL OR EXISTS (SELECT 1 FROM slice_counts WHERE slice_counts.job = jobs.key AND n > 0)
ORDER BY name

-- name: put_slice
INSERT INTO slices (
  id, job, logstream, start_s, end_s, state, generation, attempt, throttled, refetched, fetch_round, expiries, padded,
  not_before_at, expected_lines, counted_at, recount, recounted_at, evidence, reason, path, published_path,
  published_sha256, published_rows, parent, replaces, whole, part, edge_ms, task_number, task_uuid, updated_at, staged_path, form, extension, fetched_bytes,
  fetched_sha256, stored_bytes, stored_sha256, served_rows, dropped_rows, stored_rows, kept_start_s, kept_end_s,
  truncated, time_known, wire_bytes, turn_ms, best
) VALUES (
  :id, :job, :logstream, :start_s, :end_s, :state, :generation, :attempt, :throttled, :refetched, :fetch_round,
  :expiries, :padded, :not_before_at, :expected_lines, :counted_at, :recount, :recounted_at, :evidence, :reason,
  :path, :published_path, :published_sha256, :published_rows, :parent, :replaces, :whole, :part, :edge_ms, :task_number, :task_uuid, :updated_at, :staged_path, :form,
  :extension, :fetched_bytes, :fetched_sha256, :stored_bytes, :stored_sha256, :served_rows, :dropped_rows,
  :stored_rows, :kept_start_s, :kept_end_s, :truncated, :time_known, :wire_bytes, :turn_ms, :best
) ON CONFLICT (id) DO UPDATE SET
  job = excluded.job, logstream = excluded.logstream, start_s = excluded.start_s, end_s = excluded.end_s,
  state = excluded.state, generation = excluded.generation, attempt = excluded.attempt,
  throttled = excluded.throttled, refetched = excluded.refetched, fetch_round = excluded.fetch_round,
  expiries = excluded.expiries, padded = excluded.padded, not_before_at = excluded.not_before_at,
  expected_lines = excluded.expected_lines, counted_at = excluded.counted_at, recount = excluded.recount,
  recounted_at = excluded.recounted_at, evidence = excluded.evidence, reason = excluded.reason, path = excluded.path,
  published_path = excluded.published_path, published_sha256 = excluded.published_sha256,
  published_rows = excluded.published_rows, parent = excluded.parent, replaces = excluded.replaces, whole = excluded.whole, part = excluded.part,
  edge_ms = excluded.edge_ms,
  task_number = excluded.task_number, task_uuid = excluded.task_uuid, updated_at = excluded.updated_at,
  staged_path = excluded.staged_path, form = excluded.form, extension = excluded.extension,
  fetched_bytes = excluded.fetched_bytes, fetched_sha256 = excluded.fetched_sha256,
  stored_bytes = excluded.stored_bytes, stored_sha256 = excluded.stored_sha256, served_rows = excluded.served_rows,
  dropped_rows = excluded.dropped_rows, stored_rows = excluded.stored_rows, kept_start_s = excluded.kept_start_s,
  kept_end_s = excluded.kept_end_s, truncated = excluded.truncated, time_known = excluded.time_known,
  wire_bytes = excluded.wire_bytes, turn_ms = excluded.turn_ms, best = excluded.best

-- name: change_slice
UPDATE slices SET
  state = :state, attempt = :attempt, throttled = :throttled, refetched = :refetched, fetch_round = :fetch_round,
  expiries = :expiries, padded = :padded, not_before_at = :not_before_at, expected_lines = :expected_lines,
  counted_at = :counted_at, recount = :recount, recounted_at = :recounted_at, evidence = :evidence, reason = :reason,
  path = :path, published_path = :published_path, published_sha256 = :published_sha256,
  published_rows = :published_rows, edge_ms = :edge_ms, task_number = :task_number, task_uuid = :task_uuid,
  updated_at = :updated_at, staged_path = :staged_path, form = :form, extension = :extension,
  fetched_bytes = :fetched_bytes, fetched_sha256 = :fetched_sha256, stored_bytes = :stored_bytes,
  stored_sha256 = :stored_sha256, served_rows = :served_rows, dropped_rows = :dropped_rows,
  stored_rows = :stored_rows, kept_start_s = :kept_start_s, kept_end_s = :kept_end_s, truncated = :truncated,
  time_known = :time_known, wire_bytes = :wire_bytes, turn_ms = :turn_ms, best = :best
WHERE id = :id AND start_s = :start_s AND end_s = :end_s AND job = :job AND logstream = :logstream
  AND generation = :generation AND parent = :parent AND replaces = :replaces AND whole = :whole AND part = :part

-- name: outlive
UPDATE slices SET state = 'superseded', reason = 'replaced', evidence = 'none', path = '', published_path = '',
  published_sha256 = '', published_rows = 0, staged_path = NULL, form = NULL, extension = NULL, fetched_bytes = NULL,
  fetched_sha256 = NULL, stored_bytes = NULL, stored_sha256 = NULL, served_rows = NULL, dropped_rows = NULL,
  stored_rows = NULL, kept_start_s = NULL, kept_end_s = NULL, truncated = NULL, time_known = NULL, wire_bytes = NULL,
  turn_ms = NULL, best = NULL
WHERE id = :id

-- name: end_replacing
UPDATE slices INDEXED BY slices_by_replaced SET replaces = '' WHERE job = :job AND replaces = :id AND replaces <> ''

-- name: replaced
SELECT DISTINCT replaces FROM slices INDEXED BY slices_by_replaced WHERE job = :job AND replaces <> ''

-- name: replacing
SELECT id FROM slices INDEXED BY slices_by_replaced WHERE job = :job AND replaces = :id AND replaces <> '' ORDER BY start_s, id

-- name: put_task
INSERT INTO remote_tasks (number, uuid, name, slice_id, job, attempt, start_s, end_s, row_limit, row_order, format, intent_at,
  state, request_id, answered_at, expires_at, created_at, finished_at, written_rows, failed_code, failed_message, surplus,
  deleted, doubt_at)
VALUES (:number, :uuid, :name, :slice_id, :job, :attempt, :start_s, :end_s, :row_limit, :row_order, :format, :intent_at,
  :state, :request_id, :answered_at, :expires_at, :created_at, :finished_at, :written_rows, :failed_code, :failed_message,
  :surplus, :deleted, (SELECT max(doubt_at) FROM remote_tasks WHERE number = :number))
ON CONFLICT (number, uuid) DO UPDATE SET name = excluded.name, slice_id = excluded.slice_id, attempt = excluded.attempt,
  start_s = excluded.start_s, end_s = excluded.end_s, row_limit = excluded.row_limit, row_order = excluded.row_order,
  format = excluded.format, intent_at = excluded.intent_at, state = excluded.state, request_id = excluded.request_id,
  answered_at = excluded.answered_at, expires_at = excluded.expires_at, created_at = excluded.created_at,
  finished_at = excluded.finished_at, written_rows = excluded.written_rows, failed_code = excluded.failed_code,
  failed_message = excluded.failed_message, surplus = max(surplus, excluded.surplus),
  deleted = max(deleted, excluded.deleted)

-- name: change_task
UPDATE remote_tasks SET attempt = :attempt, intent_at = :intent_at, state = :state, request_id = :request_id,
  answered_at = :answered_at, expires_at = :expires_at, created_at = :created_at, finished_at = :finished_at,
  written_rows = :written_rows, failed_code = :failed_code, failed_message = :failed_message
WHERE number = :number AND uuid = :uuid AND slice_id = :slice_id AND name = :name AND start_s = :start_s AND end_s = :end_s
  AND row_limit = :row_limit AND row_order = :row_order AND format = :format
  AND surplus >= :surplus AND deleted >= :deleted AND NOT forgotten

-- name: hold_task
UPDATE remote_tasks SET forgotten = 0 WHERE number = :number AND uuid = :uuid AND forgotten

-- name: drop_bare_intent
DELETE FROM remote_tasks WHERE number = :number AND uuid = '' AND :uuid <> '' AND NOT EXISTS
  (SELECT 1 FROM slices WHERE id = remote_tasks.slice_id AND task_number = :number AND task_uuid = '')

-- name: journal
INSERT INTO journal (at, job, slice_id, event, detail) VALUES (:at, :job, :slice_id, :event, :detail)

-- name: touching_ranges
SELECT start_s, end_s FROM coverage WHERE job = :job AND logstream = :logstream AND start_s <= :end_s
  AND start_s >= ifnull((SELECT max(start_s) FROM coverage
                         WHERE job = :job AND logstream = :logstream AND start_s < :start_s), :start_s)
  AND end_s >= :start_s

-- name: drop_range
DELETE FROM coverage WHERE job = :job AND logstream = :logstream AND start_s = :start_s

-- name: add_range
INSERT INTO coverage (job, logstream, start_s, end_s) VALUES (:job, :logstream, :start_s, :end_s)

-- name: coverage
SELECT c.start_s, c.end_s FROM coverage c JOIN jobs j ON j.key = c.job
WHERE j.name = :job AND c.logstream = :logstream ORDER BY c.start_s

-- name: covered_streams
SELECT DISTINCT logstream FROM coverage WHERE job = :job

-- name: slice
SELECT s.*, j.name AS job_name, t.number AS t_number, t.uuid AS t_uuid, t.name AS t_name, t.attempt AS t_attempt,
  t.start_s AS t_start_s, t.end_s AS t_end_s, t.row_limit AS t_row_limit, t.row_order AS t_row_order, t.format AS t_format,
  t.intent_at AS t_intent_at, t.state AS t_state, t.request_id AS t_request_id, t.answered_at AS t_answered_at,
  t.expires_at AS t_expires_at, t.created_at AS t_created_at, t.finished_at AS t_finished_at,
  t.written_rows AS t_written_rows, t.failed_code AS t_failed_code, t.failed_message AS t_failed_message,
  t.surplus AS t_surplus, t.deleted AS t_deleted
FROM slices s JOIN jobs j ON j.key = s.job
LEFT JOIN remote_tasks t ON t.number = s.task_number AND t.uuid = s.task_uuid AND t.slice_id = s.id
WHERE s.id = :id

-- name: published
SELECT published_path, published_sha256 FROM slices WHERE id = :id

-- name: ids_in_state
SELECT start_s, id FROM slices INDEXED BY slices_by_state WHERE job = :job AND state = :state AND (start_s, id) > (:after_s, :after)
  AND start_s < :to_s AND end_s > :from_s ORDER BY start_s, id LIMIT :limit

-- name: longest_slice
SELECT longest_s FROM job_counters WHERE job = :job

-- name: start_of
SELECT start_s FROM slices WHERE id = :id

-- name: unfinished
SELECT start_s, end_s FROM slices INDEXED BY slices_unfinished WHERE job = :job AND state IN
  ('planned', 'submitting', 'in_doubt', 'waiting', 'running', 'ready', 'transferring', 'settling')
  AND start_s > :earliest_s AND start_s < :to_s AND end_s > :from_s
  AND (:logstream IS NULL OR logstream = :logstream)
ORDER BY start_s

-- name: unfinished_span
SELECT min(start_s), max(end_s) FROM slices INDEXED BY slices_unfinished WHERE job = :job AND state IN
  ('planned', 'submitting', 'in_doubt', 'waiting', 'running', 'ready', 'transferring', 'settling')
  AND start_s >= :from_s AND start_s < :to_s AND end_s > :after_s
  AND (:logstream IS NULL OR logstream = :logstream)

-- name: ready
SELECT start_s, id FROM slices INDEXED BY slices_ready WHERE job = :job AND state = 'planned' AND not_before_at <= 0
ORDER BY start_s, id

-- name: due
SELECT start_s, id FROM slices INDEXED BY slices_due WHERE job = :job AND state = 'planned' AND not_before_at > 0 AND not_before_at <= :now
ORDER BY start_s, id

-- name: next_due_at
SELECT min(not_before_at) FROM slices INDEXED BY slices_due WHERE job = (SELECT key FROM jobs WHERE name = :job) AND state = 'planned'

-- name: counters
SELECT lines, stored_bytes, fetched_bytes, files, remote_tasks FROM job_counters WHERE job = :job

-- name: slice_counts
SELECT state, n FROM slice_counts WHERE job = :job AND n > 0

-- name: totals
SELECT state, count(*) AS n,
  sum(iif(state = 'done', ifnull(stored_rows, 0), 0)) AS lines,
  sum(iif(state = 'done', ifnull(stored_bytes, 0), 0)) AS stored_bytes,
  sum(iif(state IN ('done', 'empty'), ifnull(fetched_bytes, 0), 0)) AS fetched_bytes,
  sum(state = 'done' AND path <> '') AS files
FROM slices WHERE job = :job AND start_s >= :start_s AND start_s < :end_s AND end_s <= :end_s GROUP BY state

-- name: slices_outside
SELECT id FROM slices WHERE job = :job AND start_s < :start_s
UNION ALL SELECT id FROM slices WHERE job = :job AND start_s > :earliest_s AND end_s > :end_s
LIMIT 1

-- name: stray_remote_tasks
SELECT count(*) FROM remote_tasks INDEXED BY remote_tasks_stray
WHERE job = :job AND (forgotten OR slice_id = '') AND uuid <> ''

-- name: total_remote_tasks
SELECT count(*) FROM slices s JOIN remote_tasks t ON t.slice_id = s.id
WHERE s.job = :job AND s.start_s >= :start_s AND s.start_s < :end_s AND s.end_s <= :end_s AND t.uuid <> '' AND NOT t.forgotten

-- name: slice_of_uuid
SELECT slice_id FROM remote_tasks WHERE uuid = :uuid AND uuid <> '' AND NOT forgotten

-- name: tasks_of_uuid
SELECT t.*, j.name AS job_name FROM remote_tasks t JOIN jobs j ON j.key = t.job WHERE t.uuid = :uuid AND t.uuid <> ''

-- name: tasks_of_number
SELECT t.*, j.name AS job_name FROM remote_tasks t JOIN jobs j ON j.key = t.job WHERE t.number = :number ORDER BY t.uuid

-- name: tasks_of_slice
SELECT t.*, j.name AS job_name FROM remote_tasks t JOIN jobs j ON j.key = t.job
WHERE t.slice_id = :id AND NOT t.forgotten ORDER BY t.number, t.uuid

-- name: tasks_ever
SELECT t.*, j.name AS job_name FROM remote_tasks t JOIN jobs j ON j.key = t.job
WHERE t.slice_id = :id ORDER BY t.number, t.uuid

-- name: orphans
SELECT t.*, j.name AS job_name FROM remote_tasks t JOIN jobs j ON j.key = t.job
WHERE t.number >= 0 AND j.name = :job AND NOT t.forgotten AND t.slice_id <> '' AND t.start_s < :to_s AND t.end_s > :from_s
  AND NOT EXISTS (SELECT 1 FROM slices s WHERE s.id = t.slice_id)
ORDER BY t.number, t.uuid

-- name: children
SELECT id FROM slices INDEXED BY slices_by_parent WHERE parent = :id AND parent <> '' ORDER BY start_s, id

-- name: ids_from
SELECT id FROM slices WHERE id >= :text ORDER BY id LIMIT :limit

-- name: ids_before
SELECT id FROM slices WHERE id < :text ORDER BY id DESC LIMIT :limit

-- name: told_from
SELECT DISTINCT slice_id FROM journal WHERE slice_id >= :text ORDER BY slice_id LIMIT :limit

-- name: uuids_from
SELECT uuid FROM remote_tasks WHERE uuid <> '' AND uuid >= :text ORDER BY uuid LIMIT :limit

-- name: uuids_before
SELECT uuid FROM remote_tasks WHERE uuid <> '' AND uuid < :text ORDER BY uuid DESC LIMIT :limit

-- name: told_of
SELECT j.name FROM journal n JOIN jobs j ON j.key = n.job WHERE n.slice_id = :id LIMIT 1

-- name: acceptances_meeting
SELECT 1 FROM acceptances WHERE job = :job AND start_s < :end_s AND end_s > :start_s LIMIT 1

-- name: unfinished_tasks
UPDATE remote_tasks SET surplus = 1 WHERE slice_id = :id AND uuid <> '' AND NOT deleted

-- name: doubt_task
UPDATE remote_tasks SET doubt_at = max(ifnull(doubt_at, intent_at), :at)
WHERE number = (SELECT task_number FROM slices WHERE id = :id AND state IN ('submitting', 'in_doubt'))

-- name: in_doubt_since
SELECT t.*, j.name AS job_name FROM remote_tasks t JOIN jobs j ON j.key = t.job
WHERE t.number IN (
  SELECT number FROM remote_tasks WHERE doubt_at >= :at
  UNION
  SELECT task_number FROM slices INDEXED BY slices_in_doubt WHERE state = 'in_doubt' AND task_number IS NOT NULL
)
ORDER BY t.number, t.uuid

-- name: strays_sought_at
SELECT max(n.at) FROM journal n JOIN jobs j ON j.key = n.job
WHERE n.slice_id = '' AND j.name = :job AND n.event = 'strays_sought'

-- name: story
SELECT n.number, n.at, j.name AS job_name, n.slice_id, n.event, n.detail FROM journal n JOIN jobs j ON j.key = n.job
WHERE n.slice_id = :id ORDER BY n.number

-- name: journal_tail
SELECT number, at, (SELECT max(number) FROM journal) - :most + 1 AS first FROM journal
WHERE number > (SELECT max(number) FROM journal) - :most AND at >= :at ORDER BY number LIMIT 1

-- name: ended_since
SELECT j.name, count(*) AS slices, sum(ifnull(s.stored_rows, 0)) AS lines FROM slices s JOIN jobs j ON j.key = s.job
WHERE s.id IN (SELECT slice_id FROM journal WHERE number >= :number AND at >= :at AND event <> 'proved_empty')
  AND s.state IN ('done', 'empty', 'delivered') AND s.updated_at >= :at
GROUP BY j.name

-- name: listings
SELECT n.number, n.at, j.name AS job_name, n.slice_id, n.event, n.detail FROM journal n JOIN jobs j ON j.key = n.job
WHERE n.slice_id = '' AND j.name = :job
  AND n.event IN ('logstore_vanished', 'logstore_listed', 'stream_vanished', 'stream_listed')
ORDER BY n.number

-- name: ledger_page
SELECT id, start_s FROM slices WHERE job = :job AND start_s > :after_s ORDER BY start_s, id LIMIT :limit

-- name: ledger_rest_of_second
SELECT id, start_s FROM slices WHERE job = :job AND start_s = :start_s AND id > :after ORDER BY id

-- name: ledger_rows
SELECT s.id AS slice, s.logstream, s.start_s, s.end_s, s.state, s.attempt, s.evidence, s.counted_at, s.expected_lines, s.path,
  s.form, s.fetched_bytes, s.fetched_sha256, s.stored_bytes, s.stored_sha256, s.served_rows, s.dropped_rows, s.stored_rows,
  s.reason, s.task_number, s.task_uuid,
  t.number AS t_number, t.uuid AS t_uuid, t.name AS t_name, t.attempt AS t_attempt, t.row_limit AS t_row_limit,
  t.row_order AS t_row_order, t.format AS t_format, t.state AS t_state, t.written_rows AS t_written_rows,
  t.request_id AS t_request_id, t.created_at AS t_created_at, t.finished_at AS t_finished_at
FROM slices s LEFT JOIN remote_tasks t ON t.slice_id = s.id AND NOT t.forgotten
WHERE s.id = :id ORDER BY t.number, t.uuid

-- name: accept
INSERT INTO acceptances (job, start_s, end_s, reason, by_whom, at, logstream)
VALUES (:job, :start_s, :end_s, :reason, :by_whom, :at, :logstream)

-- name: acceptances
SELECT a.number, a.start_s, a.end_s, a.reason, a.by_whom, a.at, a.logstream FROM acceptances a JOIN jobs j ON j.key = a.job
WHERE j.name = :job ORDER BY a.start_s, a.number

-- name: drop_acceptance
DELETE FROM acceptances WHERE number = :number

-- name: slices_meeting
SELECT id, logstream, start_s, end_s, state, path FROM slices WHERE job = :job
  AND start_s > :earliest_s AND start_s < :to_s AND end_s > :from_s
ORDER BY start_s

-- name: drop_slice
DELETE FROM slices WHERE id = :id

-- name: forget_tasks
UPDATE remote_tasks SET forgotten = 1 WHERE slice_id = :id

-- name: waited
SELECT start_s, id FROM slices INDEXED BY slices_due WHERE job = :job AND state = 'planned' AND not_before_at > 0

-- name: holding
SELECT id FROM slices INDEXED BY slices_holding
WHERE state IN ('cut', 'superseded') AND published_path <> '' AND job = :job

-- name: parts
SELECT id FROM slices INDEXED BY slices_by_whole WHERE whole = :whole AND whole <> ''

-- name: divided
SELECT DISTINCT whole FROM slices INDEXED BY slices_divided
WHERE whole <> '' AND job = :job AND start_s >= :start_s AND start_s < :end_s

-- name: surplus
SELECT t.*, j.name AS job_name FROM remote_tasks t INDEXED BY remote_tasks_surplus JOIN jobs j ON j.key = t.job
WHERE t.job = :job AND t.surplus AND NOT t.deleted ORDER BY t.number, t.uuid

-- name: lately
SELECT s.expected_lines, iif(s.padded, s.stored_rows, s.served_rows) AS came_lines, s.stored_rows, s.stored_bytes,
  t.finished_at - t.created_at AS ran_s, s.end_s - s.start_s AS length_s
FROM slices s INDEXED BY slices_by_state LEFT JOIN remote_tasks t ON t.number = s.task_number AND t.uuid = s.task_uuid
WHERE s.job = :job AND s.state = :state ORDER BY s.start_s DESC, s.id DESC LIMIT :limit

-- name: run_times
SELECT t.finished_at - t.created_at AS ran_s FROM remote_tasks t JOIN jobs j ON j.key = t.job
WHERE t.number >= :from_number AND t.finished_at IS NOT NULL AND t.created_at IS NOT NULL AND t.state = 'SUCCESS'
  AND j.service = :service
