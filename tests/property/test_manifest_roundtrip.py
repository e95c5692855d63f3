"""Whatever can stand in a slice comes back from the manifest as it was, and every answer agrees with a plain
model of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.job import Order, ServedFormat
from orchestrator.core.model import LIVE_STATES, Evidence, Part, Receipt, RemoteTask, Slice, SliceState
from orchestrator.core.window import Window, intersect, normalise, seconds, subtract, union
from orchestrator.manifest.store import SqliteManifest, open_memory
from orchestrator.ports.store import Changes, Covered, JobCounts, JournalEntry

ALL = Window(0, 100_000)
OPEN_STATES = LIVE_STATES | {SliceState.PLANNED}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.integers(0, 2**63 - 1)
sizes = st.integers(0, 2**40)
moments = st.floats(0, 4e9)
maybe_moments = st.none() | moments
details = st.dictionaries(texts, st.none() | texts | st.integers(-(2**53), 2**53) | moments, max_size=4)
windows = st.builds(
    lambda start, length: Window(start, start + length), st.integers(0, 300), st.integers(1, 60)
)


@st.composite
def receipts(draw: st.DrawFn) -> Receipt:
    stored, dropped = draw(sizes), draw(sizes)
    return Receipt(
        staged_path=draw(texts),
        form=draw(texts),
        extension=draw(texts),
        fetched_bytes=draw(sizes),
        fetched_sha256=draw(texts),
        stored_bytes=draw(sizes),
        stored_sha256=draw(texts),
        served_rows=stored + dropped,
        dropped_rows=dropped,
        stored_rows=stored,
        kept=draw(st.none() | windows),
        truncated=draw(st.booleans()),
        time_known=draw(st.booleans()),
        wire_bytes=draw(sizes),
        turn_ms=draw(st.none() | st.integers(0, 999)),
    )


@st.composite
def remote_tasks(draw: st.DrawFn, slice_id: str, job: str) -> RemoteTask:
    return RemoteTask(
        number=draw(st.integers(1, 2**40)),
        name=draw(texts),
        slice_id=slice_id,
        job=job,
        attempt=draw(st.integers(0, 99)),
        window=draw(windows),
        limit=draw(numbers),
        order=draw(st.sampled_from(Order)),
        format=draw(st.sampled_from(ServedFormat)),
        intent_at=draw(moments),
        uuid=draw(texts),
        state=draw(texts),
        request_id=draw(texts),
        answered_at=draw(maybe_moments),
        expires_at=draw(maybe_moments),
        created_at=draw(maybe_moments),
        finished_at=draw(maybe_moments),
        written_rows=draw(st.none() | numbers),
        failed_code=draw(texts),
        failed_message=draw(texts),
        surplus=draw(st.booleans()),
        deleted=draw(st.booleans()),
    )


@st.composite
def slices(draw: st.DrawFn, slice_id: str | None = None, job: str | None = None) -> Slice:
    own_id = draw(st.text("0123456789abcdef", min_size=16, max_size=16)) if slice_id is None else slice_id
    own_job = draw(st.sampled_from(["web", "api", "Ünï"])) if job is None else job
    return Slice(
        id=own_id,
        job=own_job,
        logstream=draw(texts),
        window=draw(windows),
        state=draw(st.sampled_from(SliceState)),
        generation=draw(st.integers(0, 9)),
        attempt=draw(st.integers(0, 9)),
        throttled=draw(st.integers(0, 9)),
        refetched=draw(st.integers(0, 9)),
        fetch_round=draw(st.integers(0, 9)),
        expiries=draw(st.integers(0, 9)),
        padded=draw(st.booleans()),
        not_before_at=draw(moments),
        expected_lines=draw(st.none() | numbers),
        counted_at=draw(maybe_moments),
        recount=draw(st.none() | numbers),
        recounted_at=draw(maybe_moments),
        evidence=draw(st.sampled_from(Evidence)),
        reason=draw(texts),
        path=draw(texts),
        published_path=draw(texts),
        published_sha256=draw(texts),
        published_rows=draw(st.integers(0, 2**40)),
        parent=draw(texts),
        replaces=draw(texts),
        whole=draw(texts),
        part=draw(st.sampled_from(Part)),
        edge_ms=draw(st.integers(0, 999)),
        task=draw(st.none() | remote_tasks(own_id, own_job)),
        receipt=draw(st.none() | receipts()),
        best=draw(st.none() | receipts()),
        updated_at=draw(moments),
    )


def on_a_manifest(work: Callable[[SqliteManifest], Awaitable[None]]) -> None:
    """Runs ``work`` on an empty manifest in memory."""

    async def run() -> None:
        memory = open_memory(now=lambda: 1.0, new_id=lambda: "0123456789abcdef")
        manifest = memory.reopen()
        try:
            await work(manifest)
        finally:
            await manifest.close()
            memory.close()

    asyncio.run(run())


@given(slices(), slices())
@settings(max_examples=60)
def test_a_slice_is_read_back_as_it_was_committed(first: Slice, then: Slice) -> None:
    """A slice is read back equal in every field, first written and overwritten; that a remote task was let go
    or deleted is never unsaid."""

    async def work(manifest: SqliteManifest) -> None:
        await manifest.commit(Changes(slices=(first,)))
        assert await manifest.slice(first.id) == first
        task = then.task and replace(then.task, slice_id=first.id, job=first.job)
        if task and first.task and (task.number, task.uuid) == (first.task.number, first.task.uuid):
            said = first.task
            task = replace(task, surplus=task.surplus or said.surplus, deleted=task.deleted or said.deleted)
        again = replace(then, id=first.id, job=first.job, window=first.window, task=task)
        await manifest.commit(Changes(slices=(again,)))
        assert await manifest.slice(first.id) == again

    on_a_manifest(work)


FULL_RECEIPT = Receipt(
    staged_path="/s/1",
    form="jsonl+gzip",
    extension=".jsonl.gz",
    fetched_bytes=1,
    fetched_sha256="f",
    stored_bytes=2,
    stored_sha256="s",
    served_rows=7,
    dropped_rows=3,
    stored_rows=4,
    kept=Window(5, 6),
    truncated=True,
    time_known=False,
    wire_bytes=8,
    turn_ms=9,
)
FULL_TASK = RemoteTask(
    number=3,
    name="o-0123456789abcdef-3",
    slice_id="s1",
    job="web",
    attempt=2,
    window=Window(4, 7),
    limit=100,
    order=Order.DESC,
    format=ServedFormat.CSV,
    intent_at=10.5,
    uuid="u",
    state="RUNNING",
    request_id="r",
    answered_at=11.0,
    expires_at=12.0,
    created_at=13.0,
    finished_at=14.0,
    written_rows=15,
    failed_code="c",
    failed_message="m",
    surplus=True,
    deleted=True,
)
FULL = Slice(
    id="s1",
    job="web",
    logstream="stream",
    window=Window(5, 6),
    state=SliceState.SETTLING,
    generation=1,
    attempt=2,
    throttled=3,
    refetched=4,
    fetch_round=5,
    expiries=6,
    padded=True,
    not_before_at=7.5,
    expected_lines=8,
    counted_at=9.0,
    recount=10,
    recounted_at=11.0,
    evidence=Evidence.COUNT,
    reason="damaged",
    path="/d/1",
    published_path="/d/0",
    published_sha256="p",
    published_rows=17,
    parent="s0",
    replaces="s8",
    whole="s9",
    part=Part.LATE,
    edge_ms=500,
    task=FULL_TASK,
    receipt=FULL_RECEIPT,
    best=replace(FULL_RECEIPT, stored_rows=0, dropped_rows=7, kept=None),
    updated_at=12.5,
)


def test_no_field_is_left_out_of_the_tables() -> None:
    """A slice none of whose fields has its default comes back equal: a field without a column would be lost
    here."""
    for noun in (FULL, FULL_TASK, FULL_RECEIPT):
        kept = [item for item in fields(noun) if item.compare]  # the others say that they are not
        same = [item.name for item in kept if getattr(noun, item.name) == item.default]
        assert same == [], "give the new field a value here, and a column"

    async def work(manifest: SqliteManifest) -> None:
        await manifest.commit(Changes(slices=(FULL,)))
        assert await manifest.slice("s1") == FULL

    on_a_manifest(work)


@given(
    st.dictionaries(texts, st.none() | texts | st.integers(-(2**53), 2**53) | moments, max_size=4),
    moments,
    texts,
)
@settings(max_examples=40)
def test_a_journal_entry_is_read_back_as_it_was_committed(
    detail: dict[str, str], at: float, event: str
) -> None:
    """The story of a slice repeats each entry word by word and in order."""

    async def work(manifest: SqliteManifest) -> None:
        entry = JournalEntry(at, "web", "s1", event, detail)
        await manifest.commit(Changes(journal=(entry, replace(entry, slice_id="s2"), entry)))
        story = await manifest.story("s1")
        assert [line.entry for line in story] == [entry, entry]
        assert [line.number for line in story] == [1, 3]

    on_a_manifest(work)


# --- against a model


@dataclass
class Model:
    """What the manifest of one job must answer, in plain Python."""

    slices: dict[str, Slice] = field(default_factory=dict)
    covered: dict[str, tuple[Window, ...]] = field(default_factory=dict)
    uuids: set[tuple[int, str]] = field(default_factory=set)
    next_number: int = 1

    def counts(self, within: Window) -> JobCounts:
        inside = [piece for piece in self.slices.values() if within.holds(piece.window)]
        done = [piece for piece in inside if piece.state is SliceState.DONE]
        fetched = [piece for piece in inside if piece.state in {SliceState.DONE, SliceState.EMPTY}]
        return JobCounts(
            slices={
                state: sum(piece.state is state for piece in inside)
                for state in {piece.state for piece in inside}
            },
            lines=sum(piece.receipt.stored_rows for piece in done if piece.receipt),
            stored_bytes=sum(piece.receipt.stored_bytes for piece in done if piece.receipt),
            fetched_bytes=sum(piece.receipt.fetched_bytes for piece in fetched if piece.receipt),
            files=sum(piece.path != "" for piece in done),
            remote_tasks=len(self.uuids),
        )


@st.composite
def pieces(draw: st.DrawFn) -> Slice:
    """One of twelve slices, each with a window of its own for life and one remote task that may get its uuid
    late."""
    place = draw(st.integers(0, 11))
    start = place * 20
    task = None
    if draw(st.booleans()):
        number = place + 1
        uuid = draw(st.sampled_from(["", f"uuid-{number}"]))
        task = replace(
            FULL_TASK,
            number=number,
            name=f"o-{number}",
            slice_id=f"s{place:02d}",
            uuid=uuid,
            window=Window(start, start + 9),
        )
    return Slice(
        id=f"s{place:02d}",
        job="web",
        logstream="",
        window=Window(start, start + 20 + place % 3 * 15),
        state=draw(st.sampled_from(SliceState)),
        not_before_at=draw(st.sampled_from([0.0, 5.0, 10.0, 15.0])),
        path=draw(st.sampled_from(["", "/a/b"])),
        task=task,
        receipt=draw(st.none() | receipts()),
    )


operations = st.one_of(
    st.tuples(st.just("slice"), pieces()),
    st.tuples(
        st.sampled_from(["cover", "uncover"]), st.sampled_from(["", "*", "a"]), st.lists(windows, max_size=4)
    ),
)


@given(st.lists(operations, max_size=25), windows)
@settings(max_examples=80)
def test_every_answer_agrees_with_a_plain_model(steps: list[tuple], asked: Window) -> None:
    """Counters equal a full recount, coverage is core.window's, and every listing is the model's, after any
    sequence."""

    async def work(manifest: SqliteManifest) -> None:
        model = Model()
        for step in steps:
            await manifest.commit(_apply(model, step))
        await _compare(manifest, model, asked)

    on_a_manifest(work)


def _apply(model: Model, step: tuple) -> Changes:
    if step[0] == "slice":
        piece = step[1]
        model.slices[piece.id] = piece
        if piece.task is not None:
            model.next_number = max(model.next_number, piece.task.number + 1)
            if piece.task.uuid:
                model.uuids.add((piece.task.number, piece.task.uuid))
        return Changes(slices=(piece,))
    kind, stream, parts = step
    before = model.covered.get(stream or "*", ())
    model.covered[stream or "*"] = (union if kind == "cover" else subtract)(before, parts)
    items = tuple(Covered("web", stream, window) for window in parts)
    return Changes(covered=items) if kind == "cover" else Changes(uncovered=items)


async def _compare(manifest: SqliteManifest, model: Model, asked: Window) -> None:
    assert await manifest.counts("web") == model.counts(ALL)
    for stream in ("*", "a"):
        assert await manifest.coverage("web", stream) == model.covered.get(stream, ())
    assert await manifest.next_number() == model.next_number
    ordered = sorted(model.slices.values(), key=lambda piece: (piece.window.start_s, piece.id))
    assert await manifest.live("web") == tuple(piece for piece in ordered if piece.state in LIVE_STATES)
    planned = [piece for piece in ordered if piece.state is SliceState.PLANNED]
    due = [piece for piece in planned if piece.not_before_at <= 10.0]
    assert await manifest.admissible("web", 10.0, 3) == tuple(due[:3])
    assert await manifest.next_due_at("web") == min((piece.not_before_at for piece in planned), default=None)
    unfinished = [piece.window for piece in ordered if piece.state in OPEN_STATES]
    assert await manifest.unfinished("web") == normalise(unfinished)
    assert await manifest.unfinished("web", asked) == normalise(
        window for window in unfinished if window.meets(asked)
    )
    chosen = (SliceState.DONE, SliceState.FAILED, SliceState.PLANNED, SliceState.CUT)
    met = tuple(piece for piece in ordered if piece.state in chosen and piece.window.meets(asked))
    assert await _paged(manifest, chosen, asked) == met
    totals, wanted = await manifest.totals("web", asked), model.counts(asked)
    assert replace(totals, remote_tasks=0) == replace(wanted, remote_tasks=0)
    assert await manifest.quick_check() == ()


async def _paged(
    manifest: SqliteManifest, states: tuple[SliceState, ...], window: Window
) -> tuple[Slice, ...]:
    found: list[Slice] = []
    while page := await manifest.slices(
        "web", states, window=window, limit=2, after=found[-1].id if found else ""
    ):
        found.extend(page)
    return tuple(found)


@given(st.lists(pieces(), min_size=1, max_size=20), st.none() | windows)
@settings(max_examples=50)
def test_forgetting_leaves_nothing_covered_without_its_ledger_row(
    written: list[Slice], forgotten: Window | None
) -> None:
    """After `forget` no slice meets the forgotten window, counters still agree, numbers stay used, and what
    it says it dropped is what is no longer covered."""

    async def work(manifest: SqliteManifest) -> None:
        for piece in written:
            covered = (Covered("web", "*", piece.window),)
            await manifest.commit(Changes(slices=(piece,), covered=covered))
        before, number = await manifest.coverage("web"), await manifest.next_number()
        lost = await manifest.forget("web", forgotten, 9.0)
        left = await manifest.slices("web", tuple(SliceState))
        latest = {piece.id: piece for piece in written}
        kept = {piece.id for piece in latest.values() if forgotten and not piece.window.meets(forgotten)}
        assert {piece.id for piece in left} == kept
        after = await manifest.coverage("web")
        assert union(after, lost) == before
        assert seconds(after) + seconds(lost) == seconds(before)
        assert forgotten is None or intersect(after, (forgotten,)) == ()
        assert await manifest.next_number() == number
        counts, totals = await manifest.counts("web"), await manifest.totals("web", ALL)
        assert replace(counts, remote_tasks=0) == replace(totals, remote_tasks=0)

    on_a_manifest(work)
