"""What may be typed? Every command and option, with its help; what a command does stands in ``call`` and its
neighbours.

``app`` can be introspected: the command page of the documentation is written from it, in the order of these
imports.
"""

from __future__ import annotations

from orchestrator.cli import parse_exporting, parse_mending, parse_merging, parse_pulling, parse_serving
from orchestrator.cli.entry import app

__all__ = ["app", "parse_exporting", "parse_mending", "parse_merging", "parse_pulling", "parse_serving"]
