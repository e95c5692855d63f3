"""Nothing of the machine the code was written on is committed."""

from __future__ import annotations

import re

from tests.architecture.tree import ROOT, tracked_files

# Bracketed letters, so that this file does not find itself.
HOMES = re.compile(r"/(?:[r]oot|[w]ork|[h]ome/[a-z]{2,}|[U]sers/[A-Za-z])/")
DOWNLOADS = re.compile(
    r"https?://[^\s\"']+\.(?:whl|tgz|tar\.gz|deb)\b|index[-]url|find[-]links|files\.python[h]osted|[-]-hash="
)


def test_no_absolute_paths_of_a_workplace() -> None:
    """No tracked file names somebody's home or working folder."""
    assert _hits(HOMES) == []


def test_no_addresses_of_package_registries() -> None:
    """No tracked file says where packages are downloaded from: that is the machine's business."""
    assert _hits(DOWNLOADS) == []


def test_no_virtual_environment_or_database_is_tracked() -> None:
    """What a run leaves behind stays out of the repository."""
    names = [path.relative_to(ROOT).as_posix() for path in tracked_files()]
    assert [n for n in names if re.search(r"(^|/)(\.venv|__pycache__)/|\.(db|pyc|part)$", n)] == []


def _hits(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    return found
