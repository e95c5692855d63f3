"""Wiring: which implementation stands behind which port, and the services that run on top."""
