-- The columns that the first file of a job was found to have, for jobs whose output is a table. What they are holds for
-- every file of the job, whatever later files hold.

CREATE TABLE columns (
  job INTEGER NOT NULL REFERENCES jobs (key),
  place INTEGER NOT NULL,
  name TEXT NOT NULL,
  type TEXT NOT NULL,
  PRIMARY KEY (job, place)
) WITHOUT ROWID;
