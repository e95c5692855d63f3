"""Export from a service at its worst while the process is killed again and again:
``python -m orchestrator.testing.chaos --slices 1000 --kills 500 --seed 1``.

The service is the emulator in a process of its own, over HTTP, with one fault of every group of
``testing.weather`` on at once, and the weather changing every few lives. The export is the installed command.
It is killed with SIGKILL at random moments, amid its recovery, right behind a create, and sometimes after a
SIGTERM, until the kills are used up; then it runs until it says that it is complete. What must hold
afterwards is asked of the service, of the files and of the manifest, never of the exporter.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from orchestrator.core.window import iso_utc
from orchestrator.testing import judging
from orchestrator.testing.archive import Rows, by_second, final_files, rows_of, sample, truth
from orchestrator.testing.emulated import EmulatedService, emulated
from orchestrator.testing.lives import Export, Life, draw_death
from orchestrator.testing.loop import SeededRng
from orchestrator.testing.remains import Remains, read_remains
from orchestrator.testing.weather import GROUPS, calm, draw_weather

__all__ = ["Figures", "Setting", "main", "play"]

JOB = "web"
START_S = 1_768_348_800
ROWS_PER_S = 1.2
"""So many that rows lie on the borders of slices, where ends that prove inclusive are told."""
LATEST_S = START_S + 10 * 365 * 86_400
LIFE_S = 600.0
"""How long a run that nobody kills may take."""
MOST_LIVES_AFTER = 40
STALLED_LIVES = 8
"""After so many lives without a further covered window one is granted some time."""
QUERIES = 10
HELD_UP = 1.25
"""The service stamps requests when it gets the processor, which it shares with the export: what it held up
itself comes in a bunch. By more than this share no machine is to blame."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Setting:
    """What is played: a window of so many slices, which grows by a quarter whenever it is complete and kills
    are left. ``lost_replies`` is the share of creates whose reply is lost, half of them carried out; without
    ``weather`` that is the only fault, and ``lost_form`` says what comes instead of the reply. The weather
    clears up after ``calm_after`` lives that nobody killed."""

    slices: int = 1000
    kills: int = 500
    seed: int = 0
    lost_replies: float = 0.2
    lost_form: str = "drop"
    weather: bool = True
    lines_per_slice: int = 100
    tasks: int = 40
    requests_per_s: int = 40
    calm_after: int = 20
    patience_s: float = 7200.0

    @property
    def end_s(self) -> int:
        return START_S + int(self.slices * self.lines_per_slice / ROWS_PER_S)


@dataclass(slots=True)
class Figures:
    """What came of it. ``findings`` empty means that every promise held."""

    seed: int
    complete: bool = False
    duration_s: float = 0.0
    slices: int = 0
    slice_states: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    rows_missing: int = 0
    rows_twice: int = 0
    orphans: judging.Orphans = field(default_factory=judging.Orphans)
    kills: int = 0
    kills_by_kind: Counter[str] = field(default_factory=Counter)
    lives: int = 0
    exits: Counter[int] = field(default_factory=Counter)
    remote_tasks_made: int = 0
    remote_tasks_wanted: int = 0
    twins_ever: int = 0
    creates_lost: dict[str, int] = field(default_factory=dict)
    max_requests_in_1s: int = 0
    max_outstanding: int = 0
    requests: dict[str, int] = field(default_factory=dict)
    disturbed: dict[str, int] = field(default_factory=dict)
    faults_met: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


def play(setting: Setting, folder: Path, tell: Tell = lambda _: None) -> Figures:
    """One chaotic export in ``folder`` (empty), from nothing to its judgement. ``tell`` hears how it goes.
    Raises RuntimeError when the emulator itself fails."""
    world = folder / "world.toml"
    world.write_text(_world_text(setting), encoding="utf-8")
    with emulated(folder, world) as service:
        chaos = _Chaos(setting, folder, service, tell)
        begun = time.monotonic()
        chaos.kill_again_and_again()
        chaos.complete()
        figures = chaos.judged()
    figures.duration_s = round(time.monotonic() - begun, 1)
    return figures


def _world_text(setting: Setting) -> str:
    rows = setting.slices * setting.lines_per_slice
    per_day = rows * 86_400 // (setting.end_s - START_S)
    return (
        f"seed = {setting.seed}\n[[logstores]]\nname = '{JOB}'\n"
        f"start = {iso_utc(START_S)}\nend = {iso_utc(LATEST_S)}\n"
        f"density = {{ kind = 'uniform', rows_per_day = {per_day} }}\n"
    )


def _job_text(setting: Setting, endpoint: str, end_s: int) -> str:
    """The job up to ``end_s``; form, order and output follow from the seed."""
    rng = SeededRng(f"job {setting.seed}")
    chosen = {
        "format": "csv" if rng.random() < 0.25 else "json",
        "order": "desc" if rng.random() < 0.25 else "asc",
    }
    if rng.random() < 0.25:
        chosen |= {"output": "jsonl", "compression": "zstd" if rng.random() < 0.5 else "gzip"}
    return (
        f'[service]\nendpoint = "{endpoint}"\n'
        f"[limits]\nrequests_per_second = {setting.requests_per_s}\ntasks = {setting.tasks}\n"
        f'queries = {QUERIES}\ndisk_reserve = "1MB"\n'
        f'[[jobs]]\nname = "{JOB}"\nlogstore = "{JOB}"\n'
        f"from = {iso_utc(START_S)}\nto = {iso_utc(end_s)}\n"
        f'max_lines = {setting.lines_per_slice}\ndestination = "archive"\n'
        + "".join(f'{name} = "{value}"\n' for name, value in chosen.items())
    )


class _Chaos:
    """The hand that changes the weather, kills, looks at what is left, and judges in the end."""

    def __init__(self, setting: Setting, folder: Path, service: EmulatedService, tell: Tell) -> None:
        self._setting = setting
        self._folder = folder
        self._service = service
        self._tell = tell
        self._export = Export(folder, service)
        self._rng = SeededRng(f"deaths {setting.seed}")
        self._figures = Figures(setting.seed)
        self._digests = judging.Digests()
        self._give_up_at = time.monotonic() + setting.patience_s
        self._weathers = 0
        self._weather_lasts = 0
        self._moved_at_life = 0
        self._remains = Remains()
        self._rows_read: dict[tuple[str, str], Rows] = {}
        self._end_s = setting.end_s
        self._truth: Rows = Counter()
        self._describe()
        self._change_weather()

    def _describe(self) -> None:
        """Write the job file for the window as it is now, and find out what is true in it."""
        text = _job_text(self._setting, self._service.endpoint, self._end_s)
        (self._folder / "jobs.toml").write_text(text, encoding="utf-8")
        full = truth(
            self._folder / "world.toml",
            project="default",
            logstore=JOB,
            start_ms=START_S * 1000,
            end_ms=self._end_s * 1000,
        )
        self._truth = by_second(full)

    # --- lives

    def kill_again_and_again(self) -> None:
        """Until the kills are used up, or the time is."""
        figures, setting = self._figures, self._setting
        while figures.kills < setting.kills and time.monotonic() < self._give_up_at:
            share = figures.kills / setting.kills
            done = self._remains.covered_s / (self._end_s - START_S)
            death = draw_death(
                self._rng,
                stretch=min(3.0, max(0.1, 2.0 ** (10 * (share - done)))),
                stalled=figures.lives - self._moved_at_life >= STALLED_LIVES,
                files=max(1, setting.slices // 40),
            )
            life = self._export.live(death)
            self._weather_passes()
            self._look(life)
            if life.exit == 0 and figures.kills < setting.kills:
                self._end_s += (setting.end_s - START_S) // 4
                self._describe()

    def complete(self) -> None:
        """Runs until one says that it is complete; after many in vain the weather clears up. One more in good
        weather deletes what is still to be deleted."""
        for number in range(MOST_LIVES_AFTER):
            if number >= self._setting.calm_after or time.monotonic() > self._give_up_at:
                self._clear_up()
            elif number:
                self._weather_passes()
            life = self._export.whole(("run", "--no-progress"), LIFE_S)
            self._look(life)
            if life.exit == 0:
                break
        self._clear_up()

    def _weather_passes(self) -> None:
        """One life is over; after some the weather changes."""
        self._weather_lasts -= 1
        if self._weather_lasts <= 0:
            self._change_weather()

    def _change_weather(self) -> None:
        self._weather_lasts = 1 + int(self._rng.random() * 8)
        setting = self._setting
        if not setting.weather:
            self._service.behave(
                calm(setting.seed, lost_replies=setting.lost_replies, lost_form=setting.lost_form)
            )
            return
        weather = draw_weather(setting.seed, self._weathers, lost_replies=setting.lost_replies)
        self._weathers += 1
        self._figures.faults_met.update(weather.names)
        self._service.behave(weather.switches)

    def _clear_up(self) -> None:
        self._service.behave(calm(self._setting.seed))

    def _look(self, life: Life) -> None:
        """What this life left, and whether it told the truth about it."""
        figures = self._figures
        figures.lives += 1
        figures.exits[life.exit] += 1
        if life.killed:
            figures.kills += 1
            figures.kills_by_kind[life.death] += 1
        covered_s = self._remains.covered_s
        self._remains = read_remains(self._folder / "orchestrator.db", JOB)
        if self._remains.covered_s > covered_s:
            self._moved_at_life = figures.lives
        alive = self._service.tasks()
        found = list(judging.after_a_death(self._remains, self._folder / "archive", alive, self._digests))
        if life.exit >= 0:
            found += judging.exit_code(life, complete=not self._truth - self._archived())
        figures.findings += [f"life {figures.lives} ({life.death}): {finding}" for finding in found]
        self._tell(
            f"life {figures.lives:4d}  {life.death:16s} exit {life.exit:4d} after {life.lived_s:5.1f} s  "
            f"kills {figures.kills}  {dict(self._remains.states)}" + "".join(f"\n  ! {one}" for one in found)
        )

    def _archived(self) -> Rows:
        """Every row under a final name; a file that has not changed is not read again."""
        rows: Rows = Counter()
        for path in final_files(self._folder / "archive"):
            key = (str(path), self._digests.of(path))
            if key not in self._rows_read:
                self._rows_read[key] = by_second(rows_of(path))
            rows.update(self._rows_read[key])
        return rows

    # --- the end

    def judged(self) -> Figures:
        """What the service, the files and the manifest say once all is over."""
        figures, setting = self._figures, self._setting
        last = self._export.whole(("run", "--no-progress"), LIFE_S)
        self._look(last)
        figures.complete = last.exit == 0
        self._judge_rows()
        self._judge_tasks()
        self._judge_peace()
        stats = self._service.stats()
        figures.findings += judging.ceilings(
            stats, requests_per_s=int(setting.requests_per_s * HELD_UP), tasks=setting.tasks, queries=QUERIES
        )
        secret = self._service.credentials["BCE_SECRET_ACCESS_KEY"]
        figures.findings += judging.hidden_words(self._folder, self._folder / "archive", secret)
        if "Traceback" in self._export.log.read_text(encoding="utf-8", errors="replace"):
            figures.findings.append("a run had a traceback")
        if figures.kills < setting.kills:
            figures.findings.append(f"{figures.kills} kills of {setting.kills}")
        figures.remote_tasks_made = stats["tasks_made"]
        figures.creates_lost = {
            how.removeprefix("create "): count
            for how, count in stats["replies_lost"].items()
            if how.startswith("create ")
        }
        figures.twins_ever = len(stats["duplicate_names_ever"])
        if figures.twins_ever:
            figures.findings.append(f"two remote tasks bore one name: {stats['duplicate_names_ever']}")
        figures.max_requests_in_1s = stats["max_requests_in_1s"]
        figures.max_outstanding = stats["max_outstanding"]
        figures.requests = stats["requests"]
        figures.disturbed = {
            status: count
            for status, count in sorted(stats["statuses"].items())
            if not status.endswith((" 200", " 201", " 204", " 206"))
        }
        return figures

    def _judge_rows(self) -> None:
        figures, archived = self._figures, self._archived()
        missing, twice = self._truth - archived, archived - self._truth
        figures.rows = archived.total()
        figures.rows_missing, figures.rows_twice = missing.total(), twice.total()
        if missing:
            figures.findings.append(f"{missing.total()} rows missing, such as {sample(missing)}")
        if twice:
            figures.findings.append(f"{twice.total()} rows too many, such as {sample(twice)}")

    def _judge_tasks(self) -> None:
        figures, remains = self._figures, self._remains
        figures.slice_states = dict(remains.states)
        figures.slices = remains.states["done"] + remains.states["empty"]
        figures.remote_tasks_wanted = sum(task.wanted for task in remains.tasks.values())
        figures.orphans = judging.orphans(remains, self._service.tasks())
        left = {kind: count for kind, count in asdict(figures.orphans).items() if count}
        if left:
            figures.findings.append(f"remote tasks of ours left at the service: {left}")
        if [(window.start_s, window.end_s) for window in remains.coverage] != [(START_S, self._end_s)]:
            figures.findings.append(f"covered is {remains.coverage}, not the window")
        if sum(rows for _, rows in remains.leaves) != self._truth.total():
            figures.findings.append("the rows of the ledger do not add up to the truth")
        unsettled = set(remains.states) - {"done", "empty", "cut", "superseded", "abandoned"}
        if unsettled:
            figures.findings.append(f"slices are left {', '.join(sorted(unsettled))}")

    def _judge_peace(self) -> None:
        """``verify`` agrees, and one more run has nothing to do."""
        figures = self._figures
        verified = self._export.whole(("verify",), LIFE_S)
        if verified.exit != 0:
            figures.findings.append(f"verify ended with {verified.exit}: {verified.document.get('error')}")
        again = self._export.whole(("run", "--no-progress"), LIFE_S)
        requests = again.document.get("requests", {})
        idle = {kind: requests.get(kind) for kind in ("create", "file", "delete")}
        if again.exit != 0 or any(count != 0 for count in idle.values()):
            figures.findings.append(f"a run after the last ended with {again.exit} and did {idle}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Play one seed; 1 when any promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.testing.chaos", description=__doc__)
    parser.add_argument("--slices", type=int, default=1000, help="at least so many remote tasks are needed")
    parser.add_argument("--kills", type=int, default=500, help="so many SIGKILLs that hit a running export")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lost-replies", type=float, default=0.2, help="share of creates without an answer")
    parser.add_argument("--fair-weather", action="store_true", help="no faults but lost replies and kills")
    parser.add_argument("--patience", type=float, default=7200.0, help="seconds after which kills end")
    parser.add_argument("--folder", type=Path, help="an empty folder that is kept; else a temporary one")
    parser.add_argument("--json", action="store_true", help="the figures as one JSON document on stdout")
    options = parser.parse_args(arguments)
    setting = Setting(
        slices=options.slices,
        kills=options.kills,
        seed=options.seed,
        lost_replies=options.lost_replies,
        weather=not options.fair_weather,
        patience_s=options.patience,
    )

    def tell(line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        figures = play(setting, options.folder.absolute(), tell)
    else:
        with tempfile.TemporaryDirectory() as folder:
            figures = play(setting, Path(folder), tell)
    sys.stdout.write(_as_json(figures) if options.json else _as_text(figures))
    return 1 if figures.findings else 0


def _as_json(figures: Figures) -> str:
    return json.dumps(asdict(figures), indent=2, sort_keys=True) + "\n"


def _as_text(figures: Figures) -> str:
    offered = sum(len(choices) for choices in GROUPS.values())
    kinds = ", ".join(f"{kind} {count}" for kind, count in figures.kills_by_kind.most_common())
    left = ", ".join(f"{kind} {count}" for kind, count in asdict(figures.orphans).items())
    lines = [
        f"seed {figures.seed}: {figures.slices} slices, {figures.rows} rows, {figures.duration_s:.0f} s",
        f"kills {figures.kills} in {figures.lives} lives: {kinds}",
        f"rows missing {figures.rows_missing}, rows twice {figures.rows_twice}, orphans: {left}",
        f"remote tasks made {figures.remote_tasks_made}, slices stand on {figures.remote_tasks_wanted}",
        f"names ever borne by two remote tasks: {figures.twins_ever}",
        f"replies to creates lost: {figures.creates_lost}",
        f"most at the service: {figures.max_requests_in_1s} requests in 1 s, {figures.max_outstanding} tasks",
        f"requests: {figures.requests}",
        f"disturbed: {figures.disturbed}",
        f"faults met: {len(figures.faults_met)} of {offered}",
        *(f"BROKEN {finding}" for finding in figures.findings),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
