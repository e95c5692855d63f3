"""A merge of stored files: ordered, complete, stable, whatever their form, their order and their number."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.window import Window
from orchestrator.dataplane import rows as rows_of_files
from orchestrator.dataplane import spill
from orchestrator.dataplane import stored as stored_files
from orchestrator.dataplane.merge import Merge
from orchestrator.dataplane.rowform import Merged, as_lines
from orchestrator.dataplane.rows import RowStream, split_rows
from orchestrator.dataplane.sniff import Packing, Shape
from orchestrator.dataplane.spill import Spill
from orchestrator.dataplane.stored import Source
from orchestrator.errors import DiskFull, IntegrityError, RowsOutsideWindow, UsageError
from tests.unit.merge_kit import HEADER, HOUR, START_MS, Row, body, kept, lines, merged, pieces, stored

S = HOUR.start_s
ROWS = [Row(START_MS + n, n) for n in range(50)]
ROWS_TEXT = body(ROWS, Shape.JSON_LINES)
PACKINGS = st.sampled_from([None, Packing.GZIP, Packing.ZSTD, Packing.ZIP])


def sorted_rows(files: Sequence[Sequence[Row]]) -> list[Row]:
    """The answer: all rows by time, those of one millisecond by file, then by place."""
    return sorted((row for file in files for row in file), key=lambda row: row.ms)


@st.composite
def archives(draw: st.DrawFn) -> list[list[Row]]:
    """Files of one hour whose rows interleave in any way; some in order, some not, many ties."""
    times = st.integers(0, draw(st.sampled_from([3, 50, 3_599_999])))
    files = draw(st.lists(st.lists(times, max_size=30), min_size=1, max_size=7))
    number = iter(range(10_000))
    made = []
    for file in files:
        held = sorted(file) if draw(st.booleans()) else file
        made.append([Row(START_MS + ms, next(number), "x" * draw(st.integers(0, 40))) for ms in held])
    return made


@given(archives(), st.data(), st.booleans())
def test_any_interleaving_of_rows_over_files_comes_out_sorted(
    files: list[list[Row]], data: st.DataObject, cramped: bool
) -> None:
    """By time, ties as they stand; also when no memory is there and everything waits on disk."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as place:
        if cramped:
            squeeze(patch)
        folder = Path(place)
        sources = [
            lines(folder / f"{at}", file, packing=data.draw(PACKINGS))
            for at, file in enumerate(files)
            if file
        ]
        found = merged(folder, sources, open_bytes=1 if cramped else 48 << 20)
        assert found == b"".join(row.line for row in sorted_rows(files))


def squeeze(patch: pytest.MonkeyPatch) -> None:
    """So little memory that a handful of rows is too much for it."""
    for name, value in {"CHUNK_ROWS": 4, "KEPT_BYTES": 0, "FAN_IN": 2, "FRAME_BYTES": 100}.items():
        patch.setattr(spill, name, value)
    for name in ("LOOK_BYTES", "READ_BYTES"):
        patch.setattr(stored_files, name, 70)
    patch.setattr(rows_of_files, "HEAD_BYTES", 20)


@given(archives(), st.data())
def test_every_form_of_the_archive_can_be_read_together(files: list[list[Row]], data: st.DataObject) -> None:
    """JSON lines, arrays and CSV, packed in any way, become one sequence of the same records."""
    shapes = [data.draw(st.sampled_from(list(Shape))) for _ in files]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sources = [
            stored(folder / f"{at}", body(file, shape), len(file), shape, packing=data.draw(PACKINGS))
            for at, (file, shape) in enumerate(zip(files, shapes, strict=True))
            if file
        ]
        expected = [row.fields for row in sorted_rows(files)]
        found = [json.loads(line) for line in merged(folder, sources, Merged.JSONL).splitlines()]
        assert [{key: str(value) for key, value in row.items()} for row in found] == [
            {key: str(value) for key, value in row.items()} for row in expected
        ]
        sheet = csv.DictReader(io.StringIO(merged(folder, sources, Merged.CSV).decode(), newline=""))
        assert [dict(row) for row in sheet] == [
            {key: str(value) for key, value in row.items()} for row in expected
        ]


@given(archives(), st.sampled_from(list(Shape)))
def test_raw_keeps_rows_as_they_are_stored(files: list[list[Row]], shape: Shape) -> None:
    """Files of one shape give a file of that shape: one header, one pair of brackets, the same bytes."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sources = [
            stored(folder / f"{at}", body(file, shape), len(file), shape)
            for at, file in enumerate(files)
            if file
        ]
        found = merged(folder, sources)
        rows = sorted_rows(files)
        assert found == body(rows, shape if rows else Shape.JSON_LINES)


@given(archives(), st.integers(0, 3_600_000), st.integers(0, 3_600_000))
def test_only_rows_of_the_asked_windows_come(files: list[list[Row]], one: int, other: int) -> None:
    """Files that reach over the asked window are clipped by record time, to the second it begins and ends."""
    low, high = sorted((one // 1000, other // 1000))
    windows = [Window(S + low, S + high)] if high > low else []
    windows += [Window(S + high + 1, S + high + 2)] if high < 3598 else []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sources = [kept(lines(folder / f"{at}", file), *windows) for at, file in enumerate(files) if file]
        asked = [
            row
            for row in sorted_rows(files)
            if any(window.start_s <= row.ms // 1000 < window.end_s for window in windows)
        ]
        assert merged(folder, sources) == b"".join(row.line for row in asked)


def test_a_file_is_opened_when_its_window_comes(tmp_path: Path) -> None:
    """A thousand slices, one after the other, are never open together: the first rows come before the second
    file is asked for."""
    asked: list[str] = []

    def one_by_one() -> Iterator[Source]:
        for at in range(1000):
            window = Window(S + at, S + at + 1)
            asked.append(str(at))
            yield lines(tmp_path / f"{at}", [Row(window.start_s * 1000 + 5, at)], window)

    merge = Merge(one_by_one(), as_lines(), Spill(str(tmp_path)))
    for at, piece in enumerate(merge.pieces()):
        assert json.loads(piece)["n"] == at
        assert len(asked) <= at + 2
    assert (merge.rows, merge.files) == (1000, 1000)


def test_rows_of_a_file_in_order_are_passed_on_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing overlaps no row is taken apart: not one call of the parser for two thousand rows."""
    monkeypatch.setattr(stored_files, "split_rows", None)
    sources = []
    for at in range(2):
        window = Window(S + at * 10, S + at * 10 + 10)
        rows = [Row(window.start_s * 1000 + n, at * 1000 + n) for n in range(1000)]
        sources.append(lines(tmp_path / f"{at}", rows, window))
    found = merged(tmp_path, sources)
    assert [json.loads(line)["n"] for line in found.splitlines()] == list(range(2000))


LAST = Row(START_MS + 9000, 9).line


@pytest.mark.parametrize(
    ("plain", "raw", "objects"),
    [
        (ROWS_TEXT.rstrip(b"\n"), ROWS_TEXT, ROWS_TEXT),
        (b"\xef\xbb\xbf" + ROWS_TEXT, ROWS_TEXT, ROWS_TEXT),
        (ROWS_TEXT.replace(b"\n", b"\r\n"), ROWS_TEXT.replace(b"\n", b"\r\n"), ROWS_TEXT),
        (ROWS_TEXT.replace(b"\n", b"\n \n\n"), ROWS_TEXT, ROWS_TEXT),
        (b"\n" * 7000 + ROWS_TEXT + b"\n" * 600_000, ROWS_TEXT, ROWS_TEXT),
    ],
    ids=["no newline at the end", "byte order mark", "CR", "blank lines", "nothing but blank lines for long"],
)
def test_what_stands_around_rows_is_not_passed_on(
    tmp_path: Path, plain: bytes, raw: bytes, objects: bytes
) -> None:
    """A file that is passed on whole gives its rows, whatever else is in it; the next one begins a line."""
    first = Window(S, S + 5)
    sources = [
        stored(tmp_path / "a", plain, 50, window=first),
        lines(tmp_path / "b", [Row(START_MS + 9000, 9)], Window(S + 5, S + 10)),
    ]
    assert merged(tmp_path, sources) == raw + LAST
    assert merged(tmp_path, sources, Merged.JSONL) == objects + LAST


def test_the_end_of_a_window_is_not_in_it(tmp_path: Path) -> None:
    """To the millisecond, at both ends, of a file in order and of one that is not."""
    rows = [
        Row(ms, n) for n, ms in enumerate((S * 1000 + 999, S * 1000 + 1000, S * 1000 + 1999, S * 1000 + 2000))
    ]
    for held in (rows, rows[::-1], rows[1:], rows[:0:-1]):
        source = kept(lines(tmp_path / "a", held), Window(S + 1, S + 2))
        assert merged(tmp_path, [source]) == rows[1].line + rows[2].line


def test_a_large_file_in_reverse_is_sorted_through_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many times more rows than are sorted at once, the latest first."""
    monkeypatch.setattr(spill, "CHUNK_ROWS", 300)
    rows = [Row(START_MS + 3_599_999 - n // 3, n, "y" * 100) for n in range(20_000)]
    source = lines(tmp_path / "desc", rows)
    merge = Merge(iter([source]), as_lines(), spill_ := Spill(str(tmp_path)))
    found = b"".join(merge.pieces())
    assert found == b"".join(row.line for row in sorted_rows([rows]))
    assert spill_.written_bytes > source.size_bytes
    assert [path.name for path in tmp_path.iterdir()] == ["desc"], "what waits on disk has no name"


def test_more_files_than_may_be_open_are_merged_in_steps(tmp_path: Path) -> None:
    """Forty files that overlap, with room for three: the same rows in the same order."""
    files = [[Row(START_MS + n * 100 + at % 7, at * 100 + n) for n in range(100)] for at in range(40)]
    sources = [lines(tmp_path / f"{at:02}", file) for at, file in enumerate(files)]
    spilled = Spill(str(tmp_path))
    merge = Merge(iter(sources), as_lines(), spilled, open_bytes=3 << 20)
    assert b"".join(merge.pieces()) == b"".join(row.line for row in sorted_rows(files))
    assert spilled.written_bytes > 0


# --- what is refused


@pytest.mark.parametrize("packing", [None, Packing.GZIP, Packing.ZSTD])
def test_a_file_that_is_not_the_ledgers_is_not_used(tmp_path: Path, packing: Packing | None) -> None:
    """Missing, longer, cut short, or with one byte changed: said with its path before any row of it came."""
    path = tmp_path / "rows"
    source = lines(path, ROWS, packing=packing)
    good = path.read_bytes()
    middle = len(good) // 2
    flipped = good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]
    for bad in (None, good + b"\n", good[:-3], flipped):
        path.unlink()
        if bad is not None:
            path.write_bytes(bad)
        for asked in (Merged.RAW, Merged.CSV):
            got: list[bytes] = []
            with pytest.raises(IntegrityError) as caught:
                got += pieces(tmp_path, [source], asked)
            assert str(path) in str(caught.value)
            assert got == []
        path.write_bytes(good)


def test_a_file_with_other_rows_than_the_ledger_says_is_refused(tmp_path: Path) -> None:
    """The digest agrees and the number of rows does not: the ledger is wrong, and nobody knows about what."""
    source = stored(tmp_path / "rows", body(ROWS, Shape.JSON_LINES), len(ROWS) + 1)
    with pytest.raises(IntegrityError, match="50 rows and not 51"):
        merged(tmp_path, [source])


def test_a_file_replaced_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    """Of two files only the second can still be swapped once rows of the first are out."""
    path = tmp_path / "b"
    sources = [lines(tmp_path / "a", ROWS), lines(path, ROWS)]
    running = pieces(tmp_path, sources)
    next(running)
    path.write_bytes(path.read_bytes())
    path.touch()
    with pytest.raises(IntegrityError, match="changed or replaced"):
        list(running)


def test_a_file_replaced_while_it_is_looked_at_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digest and rows may then be of two files: not a row of them comes."""
    path = tmp_path / "a"
    source = lines(path, ROWS)
    digest = stored_files._sha256

    def slow(name: str, stop: object) -> str:
        found = digest(name, stop)
        (tmp_path / "b").write_bytes(path.read_bytes())
        (tmp_path / "b").replace(path)  # in one step: whoever looks meanwhile finds one of the two
        return found

    monkeypatch.setattr(stored_files, "_sha256", slow)
    got: list[bytes] = []
    with pytest.raises(IntegrityError, match="changed or replaced"):
        got += pieces(tmp_path, [source])
    assert got == []


UNDATED = [*ROWS[:3], Row(0, 100, "no time"), *ROWS[3:6]]


def test_rows_without_a_time_are_refused_or_follow(tmp_path: Path) -> None:
    """Never lost: the first of them is named with its file and place, or all stay behind the row before."""
    plain = body(UNDATED, Shape.JSON_LINES).replace(b'"@timestamp":0,', b"")
    source = stored(tmp_path / "rows", plain, len(UNDATED))
    with pytest.raises(UsageError, match=r"rows, row 4 has no readable time.*no time") as caught:
        merged(tmp_path, [source])
    assert "--undated follow" in caught.value.hint
    other = lines(tmp_path / "other", [Row(START_MS + 2, 200), Row(START_MS + 3, 300)])
    found = merged(tmp_path, [source, other], follow=True)
    assert [json.loads(line)["n"] for line in found.splitlines()] == [0, 1, 2, 100, 200, 3, 300, 4, 5]


@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=1, max_size=12), st.booleans())
def test_rows_that_follow_stay_behind_the_row_before_them(tenths: list[int | None], cramped: bool) -> None:
    """In order or not, asked for whole or in part: each has the time of the last row before it in its file
    that has one."""
    plain, keys, before = b"", [], START_MS
    for number, tenth in enumerate(tenths):
        before = before if tenth is None else START_MS + tenth * 300
        keys.append(before)
        row = Row(before, number).line
        plain += row if tenth is not None else row.replace(b'"@timestamp"', b'"no"')
    if tenths[0] is None:  # then the file has no field to date any row by
        keys = [START_MS] * len(tenths)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as place:
        if cramped:
            squeeze(patch)
        source = stored(Path(place) / "rows", plain, len(tenths))
        other = lines(Path(place) / "other", [Row(START_MS + 1500, 100)])
        found = merged(Path(place), [source, other], follow=True)
        late = merged(Path(place), [kept(source, Window(S + 1, S + 2))], follow=True)
    numbered = sorted([*zip(keys, range(len(keys)), strict=True)], key=lambda pair: pair[0])
    assert _numbers(late) == [number for key, number in numbered if 1000 <= key - START_MS < 2000]
    numbered = sorted([*numbered, (START_MS + 1500, 100)], key=lambda pair: pair[0])
    assert _numbers(found) == [number for _, number in numbered]


def _numbers(rows: bytes) -> list[int]:
    return [json.loads(line)["n"] for line in rows.splitlines()]


def test_a_file_without_any_time_is_refused_or_comes_as_it_is(tmp_path: Path) -> None:
    """CSV without a header says nothing of its columns."""
    plain = body(ROWS, Shape.CSV, header=False)
    source = stored(tmp_path / "rows", plain, len(ROWS), Shape.CSV)
    with pytest.raises(UsageError, match="row 1 has no readable time"):
        merged(tmp_path, [source])
    assert merged(tmp_path, [source], follow=True) == plain
    assert merged(tmp_path, [source], time_field="#1") == plain


def test_rows_outside_their_slice_are_refused_or_follow(tmp_path: Path) -> None:
    """Such a row would come too late or too early for the files beside it."""
    rows = [ROWS[0], Row(START_MS + 3_600_000, 7, "late"), ROWS[1]]
    source = lines(tmp_path / "rows", rows)
    with pytest.raises(RowsOutsideWindow, match="2026-01-14T01:00:00Z"):
        merged(tmp_path, [source])
    found = merged(tmp_path, [source], follow=True)
    assert [json.loads(line)["n"] for line in found.splitlines()] == [0, 7, 1]


def test_raw_refuses_to_mix_shapes_and_headers(tmp_path: Path) -> None:
    """Both files are named, and what to do; as objects or one table the same files go together."""
    json_file = lines(tmp_path / "a", ROWS)
    csv_file = stored(tmp_path / "b", body(ROWS, Shape.CSV), 50, Shape.CSV)
    with pytest.raises(UsageError, match=r"different shapes, as .*a and .*b"):
        merged(tmp_path, [json_file, csv_file])
    other = body(ROWS, Shape.CSV).replace(HEADER, b"@timestamp,number,@raw\n")
    other_file = stored(tmp_path / "c", other, 50, Shape.CSV)
    with pytest.raises(UsageError, match=r"different headers, as .*b and .*c"):
        merged(tmp_path, [csv_file, other_file])
    found = merged(tmp_path, [csv_file, other_file], Merged.CSV)
    assert found.splitlines()[:3] == [b"@timestamp,n,@raw,number", b"%d,0,," % START_MS, b"%d,,,0" % START_MS]


def test_csv_headers_may_differ_in_their_line_end(tmp_path: Path) -> None:
    """A header with CR and one without name the same columns."""
    plain = body(ROWS, Shape.CSV)
    one = stored(tmp_path / "a", plain, 50, Shape.CSV, keep=(Window(S, S + 1),))
    other = stored(tmp_path / "b", plain.replace(b"\n", b"\r\n"), 50, Shape.CSV)
    found = merged(tmp_path, [one, other])
    assert found.startswith(HEADER + ROWS[0].cells + ROWS[0].cells.rstrip() + b"\r\n")


# --- what a table makes of JSON


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["a", "b", "c d", "é"]),
            st.one_of(
                st.text(st.characters(codec="utf-8"), max_size=5),
                st.sampled_from(["", '"', "\r", "a,b", "x\ny"]),
                st.none(),
                st.booleans(),
                st.integers(),
                st.just([1, {"x": "y"}]),
            ),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_table_of_json_rows_has_every_field_and_every_row(found: list[dict[str, object]]) -> None:
    """A text stays itself, what is missing is empty, the rest is its JSON; no row becomes a blank line."""
    with tempfile.TemporaryDirectory() as place:
        plain = b"".join(json.dumps(row).encode() + b"\n" for row in found)
        source = stored(Path(place) / "rows", plain, len(found))
        sheet = merged(Path(place), [source], Merged.CSV, follow=True)
    names = list(dict.fromkeys(name for row in found for name in row))
    stream = RowStream(Shape.CSV)
    assert stream.feed(sheet) + stream.finish() is not None
    read = [tuple(cells) for cells in csv.reader(io.StringIO(sheet.decode(), newline=""))]
    if names:
        assert read[0] == tuple(names)
    assert read[1:] == [tuple(_cell(row.get(name)) for name in names) or ("",) for row in found]
    assert len(split_rows(sheet, Shape.CSV)) == len(found) + 1


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("form", [Merged.RAW, Merged.JSONL, Merged.CSV])
def test_no_file_at_all_gives_no_byte(tmp_path: Path, form: Merged) -> None:
    """Not even a header that names nothing."""
    assert merged(tmp_path, [], form) == b""


def test_numbers_keep_their_digits_in_a_table(tmp_path: Path) -> None:
    """What a parser would round or spell anew is written as it stands."""
    texts = ["1.10", "1e5", "123456789012345678901234567890", "0.1", "-0", "[1.50,{}]"]
    plain = b"".join(b'{"a":%s}\n' % text.encode() for text in texts)
    sheet = merged(tmp_path, [stored(tmp_path / "rows", plain, len(texts))], Merged.CSV, follow=True)
    assert [row["a"] for row in csv.DictReader(io.StringIO(sheet.decode()))] == texts


def test_rows_that_are_no_objects_make_no_table(tmp_path: Path) -> None:
    """An array may hold anything; what has no fields is refused and not written as an empty line."""
    source = stored(tmp_path / "rows", b'[{"a":1},[2]]', 2, Shape.JSON_ARRAY)
    with pytest.raises(UsageError, match="no JSON object"):
        merged(tmp_path, [source], Merged.CSV, follow=True)
    assert merged(tmp_path, [source], Merged.JSONL, follow=True) == b'{"a":1}\n[2]\n'


def test_a_table_has_a_bound(tmp_path: Path) -> None:
    """Rows whose fields are all different would make a header of any size."""
    plain = b"".join(b'{"f%d":1}\n' % n for n in range(10_001))
    with pytest.raises(UsageError, match="more than 10000"):
        merged(tmp_path, [stored(tmp_path / "rows", plain, 10_001)], Merged.CSV)


def test_what_waits_on_disk_leaves_the_reserve_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorting never takes the last of the disk."""
    monkeypatch.setattr(spill, "_LOOK_AT_DISK_BYTES", 1 << 16)
    rows = [Row(START_MS + 3_000_000 - n, n, "y" * 100) for n in range(5_000)]
    narrow = Spill(str(tmp_path), reserve_bytes=1000, free=lambda _: 999)
    with pytest.raises(DiskFull, match="less than 1000 bytes"):
        list(Merge(iter([lines(tmp_path / "a", rows)]), as_lines(), narrow).pieces())
