"""Instructions in, events out: submit, watch, transfer and settle, none knowing the others."""
