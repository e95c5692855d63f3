"""One slice's bytes on their way from a link to a staged artifact; no HTTP and no ledger."""
