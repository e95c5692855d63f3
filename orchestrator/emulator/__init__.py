"""A log service of our own: a pure world, and the doors through which it answers."""
