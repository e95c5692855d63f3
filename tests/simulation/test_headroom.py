"""A service whose counts run low is believed a little less the next time."""

from __future__ import annotations

from pathlib import Path

from orchestrator.core.window import Window
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.testing.episode import Setting
from tests.simulation.rig import Rig

CUT = "select count(*) from slices where state = 'cut' and start_s >= {}"


def test_what_files_held_above_their_counts_is_left_free_in_the_next_plan(tmp_path: Path) -> None:
    """Counts three percent low make the first run cut full slices; a later window of the same job needs no
    cut."""
    low = Behaviour(count_error=-0.03, sql_histogram="refused", histogram_fails="always")
    setting = Setting(seed=4, slices=5, lines_per_slice=2000, behaviour=low)
    rig = Rig(setting, tmp_path)
    assert rig.complaints(rig.run()) == []
    (cuts,) = rig.ledger(CUT.format(0))[0]
    assert cuts >= 2
    start_s = setting.window.end_s
    rig.changed = {"window": Window(setting.window.start_s, start_s + setting.window_s)}
    assert rig.run().complete
    assert rig.ledger(CUT.format(start_s - 1)) == [(0,)]
    assert rig.ledger(f"select count(*) >= 5 from slices where state = 'done' and start_s >= {start_s}") == [
        (1,)
    ]
