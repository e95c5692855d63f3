-- What is signed off of one log stream says nothing of another. '*' is every stream of the window, which is what all of them
-- meant before; '' what is missing of all streams together.
ALTER TABLE acceptances ADD COLUMN logstream TEXT NOT NULL DEFAULT '*';

-- Whole-job totals come from counters, which count remote tasks without a slice too.
CREATE INDEX remote_tasks_stray ON remote_tasks (job) WHERE forgotten OR slice_id = '';
