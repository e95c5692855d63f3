"""Pure decisions: no I/O, no clock, no randomness. ``now`` and every count come in as arguments."""
