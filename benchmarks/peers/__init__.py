"""Programs that others wrote for the same work, each in an environment of its own (``.venv`` of this folder),
made by ``python -m benchmarks.peers`` from lists of names and versions."""
