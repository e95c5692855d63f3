"""The present truth and its journal in one SQLite file, written by one thread."""
