"""Rows of a running export: in time order, as soon as it is proven that nothing comes before them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from orchestrator.app.pulling_order import Hole, Unrolling
from orchestrator.app.pulling_rows import Written, write_out
from orchestrator.core.model import Part, Slice, SliceState
from orchestrator.core.window import Window
from orchestrator.dataplane.outgoing import Outgoing
from orchestrator.dataplane.sniff import Packing, Shape
from orchestrator.dataplane.spill import Spill
from orchestrator.errors import IntegrityError, StorageError
from orchestrator.manifest.store import MemoryManifest, SqliteManifest, open_memory
from orchestrator.ports.store import Changes, Covered
from tests.unit.merge_kit import HOUR, JOB, Row, body, lines, slice_of, stored

S = HOUR.start_s
QUARTERS = [Window(S + at, S + at + 900) for at in range(0, 3600, 900)]
DEADLINE_S = 20.0


@dataclass
class Taker:
    """A sink that remembers, and wants no more after ``most`` pieces."""

    most: int = 10**9
    pieces: list[bytes] = field(default_factory=list)
    fails: StorageError | None = None

    def write(self, rows: bytes) -> bool:
        if self.fails is not None:
            raise self.fails
        if len(self.pieces) >= self.most:
            return False
        self.pieces.append(rows)
        return True

    def stop(self) -> None:
        self.most = 0

    @property
    def all(self) -> bytes:
        return b"".join(self.pieces)


@dataclass
class Export:
    """A manifest that fills up, and whoever watches it."""

    folder: Path
    manifest: SqliteManifest
    unrolling: Unrolling
    taker: Taker
    rows: list[Row] = field(default_factory=list)
    holes_too: bool = False

    def file(self, window: Window, rows: Sequence[Row] = (), **changes: object) -> Slice:
        """A stored file of the window; made up rows unless they are given."""
        count = len(self.rows)
        made = rows or [Row(window.start_s * 1000 + n * 100, count + n) for n in range(5)]
        self.rows += made
        source = lines(self.folder / f"{window.start_s}-{count}", made, window)
        return slice_of(source, **changes)

    async def commit(self, *slices: Slice, covered: Sequence[Window] = ()) -> None:
        """As the driver does it: on disk first, then told."""
        marks = tuple(Covered(JOB.name, "*", window) for window in covered)
        await self.manifest.commit(Changes(slices=slices, covered=marks, jobs=(JOB,)))
        for slice_ in slices:
            self.unrolling.changed(None, slice_, None)

    async def store(self, window: Window, **changes: object) -> None:
        await self.commit(self.file(window, **changes), covered=(window,))

    def writing(self, form: Outgoing = Outgoing.RAW, limit: int = 0) -> asyncio.Task[Written]:
        spill = Spill(str(self.folder))
        work = write_out(
            self.unrolling, HOUR, self.taker, spill, form=form, limit=limit, holes_too=self.holes_too
        )
        return asyncio.create_task(work)

    @property
    def sorted(self) -> bytes:
        return b"".join(row.line for row in sorted(self.rows, key=lambda row: row.ms))


Story = Callable[[Export], Awaitable[Written]]


def told(folder: Path, story: Story, *, holes_too: bool = False, taker: Taker | None = None) -> Export:
    """The export after ``story``, which must end."""

    async def lived() -> Export:
        memory: MemoryManifest = open_memory(now=lambda: 1.0, new_id=lambda: "0123456789abcdef")
        manifest = memory.reopen()
        unrolling = Unrolling(JOB, manifest)
        export = Export(folder, manifest, unrolling, taker or Taker(), holes_too=holes_too)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await story(export)
        finally:
            await manifest.close()
            memory.close()
        return export

    return asyncio.run(lived())


async def settled() -> None:
    """Long enough for everything that can go on to have gone on: nothing else runs in this loop."""
    for _ in range(50):
        await asyncio.sleep(0.002)


def test_rows_wait_for_what_comes_before_them_and_for_nothing_else(tmp_path: Path) -> None:
    """A stored slice is written when all earlier ones are, while later ones are still missing."""

    async def story(export: Export) -> Written:
        writing = export.writing()
        await export.store(QUARTERS[1])
        await settled()
        assert export.taker.all == b""
        await export.store(QUARTERS[0])
        while export.taker.all != export.sorted:
            await asyncio.sleep(0.002)
        assert not writing.done()
        await export.store(QUARTERS[3])
        await export.store(QUARTERS[2])
        written = await writing
        assert (written.rows, written.until_s, written.holes) == (20, HOUR.end_s, [])
        assert written.size_bytes == len(export.taker.all)
        return written

    export = told(tmp_path, story)
    assert export.taker.all == export.sorted


def test_any_order_of_ends_gives_the_same_rows(tmp_path: Path) -> None:
    """However slices come to their ends, and some of them empty, the rows come once each and in order."""

    async def story(export: Export) -> Written:
        windows = [Window(S + at, S + at + 60) for at in range(0, 3600, 60)]
        random.Random(7).shuffle(windows)
        writing = export.writing()
        for number, window in enumerate(windows):
            if number % 5 == 0:
                empty = replace(
                    export.file(window), state=SliceState.EMPTY, receipt=None, path="", published_path=""
                )
                del export.rows[-5:]
                await export.commit(empty, covered=(window,))
            else:
                await export.store(window)
            if number % 7 == 0:
                await settled()
        return await writing

    export = told(tmp_path, story)
    assert export.taker.all == export.sorted
    assert len(export.rows) == 48 * 5


@pytest.mark.parametrize("full", [(), (0,), (1, 2)])
def test_a_window_that_ends_without_rows_is_whole(tmp_path: Path, full: tuple[int, ...]) -> None:
    """Where it is proven that nothing lies the rows are told up to there, with no row at all as well."""

    async def story(export: Export) -> Written:
        writing = export.writing()
        for number, window in enumerate(QUARTERS):
            if number in full:
                await export.store(window)
            else:
                empty = replace(
                    export.file(window), state=SliceState.EMPTY, receipt=None, path="", published_path=""
                )
                del export.rows[-5:]
                await export.commit(empty, covered=(window,))
        export.unrolling.over((), HOUR.end_s)
        written = await writing
        assert (written.rows, written.until_s, written.holes) == (5 * len(full), HOUR.end_s, [])
        return written

    export = told(tmp_path, story)
    assert export.taker.all == export.sorted


def test_files_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    """Rows stirred inside a file come out by their milliseconds, those of equal times as they stood."""

    async def story(export: Export) -> Written:
        chance = random.Random(3)
        rows = [Row(S * 1000 + chance.randrange(3_600_000), number) for number in range(20_000)]
        await export.commit(export.file(HOUR, rows), covered=(HOUR,))
        return await export.writing()

    export = told(tmp_path, story)
    assert export.taker.all == export.sorted


def test_the_parts_of_one_second_lie_between_each_other(tmp_path: Path) -> None:
    """A second that was divided by log stream is one piece: its files are merged by time."""

    async def story(export: Export) -> Written:
        second = Window(S, S + 1)
        parts = [
            export.file(
                second,
                [Row(S * 1000 + n, 100 * stream + n) for n in range(stream, 900, 3)],
                logstream=f"s{stream}",
                whole="w",
            )
            for stream in range(3)
        ]
        rest = Window(S + 1, HOUR.end_s)
        await export.store(rest)
        writing = export.writing()
        await export.commit(parts[0])
        await export.commit(*parts[1:])
        await settled()
        assert export.taker.all == b""  # not before they have been added up
        await export.commit(covered=(second,))
        export.unrolling.changed(None, replace(parts[0], id="w", state=SliceState.SUPERSEDED), None)
        return await writing

    export = told(tmp_path, story)
    assert export.taker.all == export.sorted


def test_rows_end_at_the_first_hole(tmp_path: Path) -> None:
    """Without a word to the contrary nothing behind a gap is written, and the gap is told at once."""
    heard: list[Hole] = []

    async def story(export: Export) -> Written:
        spill = Spill(str(tmp_path))
        work = write_out(export.unrolling, HOUR, export.taker, spill, form=Outgoing.RAW, told=heard.append)
        writing = asyncio.create_task(work)
        await export.store(QUARTERS[0])
        kept = len(export.rows)
        await export.store(QUARTERS[2])
        await export.commit(export.file(QUARTERS[1], state=SliceState.FAILED, reason="attempts exhausted"))
        written = await writing
        assert written.until_s == QUARTERS[0].end_s
        del export.rows[kept:]
        return written

    export = told(tmp_path, story)
    assert [(hole.window, hole.reason) for hole in heard] == [(QUARTERS[1], "attempts exhausted")]
    assert export.taker.all == export.sorted


def test_rows_go_on_behind_a_hole_when_asked(tmp_path: Path) -> None:
    """With holes allowed everything there is comes, also the fullest file of a slice that stayed short, and
    what the run only told of at its end."""

    async def story(export: Export) -> Written:
        writing = export.writing()
        await export.commit(
            export.file(QUARTERS[1], state=SliceState.FAILED, reason="short by 3"),
        )
        await export.store(QUARTERS[2])
        await export.store(QUARTERS[0])
        while len(export.taker.pieces) < 3:
            await asyncio.sleep(0.002)
        export.unrolling.over([Hole(QUARTERS[3], "beyond retention")], HOUR.end_s)
        written = await writing
        assert [hole.window for hole in written.holes] == [QUARTERS[1], QUARTERS[3]]
        assert written.until_s == HOUR.end_s
        return written

    export = told(tmp_path, story, holes_too=True)
    assert export.taker.all == export.sorted


def test_a_failed_slice_that_is_tried_again_is_no_hole(tmp_path: Path) -> None:
    """What an earlier run gave up, and this one has taken up again, is waited for."""

    async def story(export: Export) -> Written:
        writing = export.writing()
        failed = export.file(QUARTERS[0], state=SliceState.FAILED, reason="throttled")
        await export.commit(failed)
        export.unrolling.changed(failed, replace(failed, state=SliceState.PLANNED), None)
        return await writing if writing.done() else await finished(export, writing, failed)

    async def finished(export: Export, writing: asyncio.Task[Written], failed: Slice) -> Written:
        await export.commit(replace(failed, state=SliceState.DONE, reason=""), covered=(QUARTERS[0],))
        for window in QUARTERS[1:]:
            await export.store(window)
        return await writing

    export = told(tmp_path, story)
    assert export.taker.all == export.sorted


def test_a_run_that_ended_early_ends_the_rows(tmp_path: Path) -> None:
    """What was never tried is waited for no longer once the run is over."""

    async def story(export: Export) -> Written:
        writing = export.writing()
        await export.store(QUARTERS[0])
        export.unrolling.over((), HOUR.end_s)
        written = await writing
        assert written.until_s == QUARTERS[0].end_s
        return written

    export = told(tmp_path, story)
    assert export.taker.all == export.sorted


def test_whoever_has_enough_ends_it(tmp_path: Path) -> None:
    """A limit cuts inside a slice, a reader that leaves ends at its piece, and a stop at any time."""

    async def limited(export: Export) -> Written:
        for window in QUARTERS[:2]:
            await export.store(window)
        written = await export.writing(limit=7)
        assert (written.rows, written.enough) == (7, True)
        return written

    async def left(export: Export) -> Written:
        for window in QUARTERS[:2]:
            await export.store(window)
        written = await export.writing()
        assert (written.refused, written.rows) == (True, 5)
        return written

    async def stopped(export: Export) -> Written:
        writing = export.writing()
        await settled()
        export.unrolling.stop()
        written = await writing
        assert (written.rows, written.until_s) == (0, S)
        return written

    assert len(told(tmp_path, limited).taker.all.splitlines()) == 7
    told(tmp_path, left, taker=Taker(most=1))
    told(tmp_path, stopped)


def test_a_file_that_is_not_the_ledgers_is_not_written(tmp_path: Path) -> None:
    """A flipped byte is found before the first row of its file gets out; a full disk is said."""

    async def flipped(export: Export) -> Written:
        slice_ = export.file(HOUR)
        content = bytearray(Path(slice_.path).read_bytes())
        content[20] ^= 1
        Path(slice_.path).write_bytes(content)
        await export.commit(slice_, covered=(HOUR,))
        with pytest.raises(IntegrityError):
            await export.writing()
        assert export.taker.all == b""
        return Written(S)

    async def full(export: Export) -> Written:
        await export.store(HOUR)
        with pytest.raises(StorageError):
            await export.writing()
        return Written(S)

    told(tmp_path, flipped)
    told(tmp_path, full, taker=Taker(fails=StorageError("full")))


@pytest.mark.parametrize("packing", [None, Packing.GZIP, Packing.ZSTD])
@pytest.mark.parametrize("shape", list(Shape))
@pytest.mark.parametrize("form", list(Outgoing))
def test_every_form_is_made_of_every_served_shape(
    tmp_path: Path, form: Outgoing, shape: Shape, packing: Packing | None
) -> None:
    """However the service packed and laid out its files: raw lines, JSON lines, and one table with one header
    hold the same rows in the same order."""
    rows = [Row(S * 1000 + number, number, f'line "{number}", ümlaut') for number in range(6)]

    async def story(export: Export) -> Written:
        for number, window in enumerate((Window(S, S + 10), Window(S + 10, HOUR.end_s))):
            part = [replace(row, ms=row.ms + number * 10_000) for row in rows]
            source = stored(
                tmp_path / f"{number}", body(part, shape), len(part), shape, packing=packing, window=window
            )
            await export.commit(slice_of(source), covered=(window,))
            export.rows += part
        return await export.writing(form)

    export = told(tmp_path, story)
    text = export.taker.all.decode()
    if form is Outgoing.TEXT:
        assert text == "".join(f"{row.text}\n" for row in export.rows)
    elif form is Outgoing.CSV or (form is Outgoing.RAW and shape is Shape.CSV):
        assert text.replace("\r\n", "\n") == body(export.rows, Shape.CSV).decode()
    elif shape is Shape.CSV:
        assert len(text.splitlines()) == len(export.rows)
        assert text.splitlines()[0].startswith('{"@timestamp":"')
    else:
        assert export.taker.all == export.sorted


def test_parts_of_a_second_by_time_are_whole(tmp_path: Path) -> None:
    """A second fetched from both ends comes as one run of rows."""

    async def story(export: Export) -> Written:
        early = [Row(S * 1000 + n, n) for n in range(500)]
        late = [Row(S * 1000 + n, n) for n in range(500, 1000)]
        window = Window(S, S + 1)
        parts = [
            export.file(window, late[::-1], part=Part.LATE, whole="w"),
            replace(export.file(window, early, part=Part.EARLY, whole="w"), id="e"),
        ]
        await export.commit(*parts, covered=(window, Window(S + 1, HOUR.end_s)))
        return await export.writing()

    export = told(tmp_path, story)
    assert export.taker.all == export.sorted
