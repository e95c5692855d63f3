"""The log service as this program meets it: signed, gated, tolerantly read, its faults made ours."""
