"""Remote tasks of the emulated service: taken, queued, executed, listed, expired, deleted; every switch both
ways."""

from __future__ import annotations

import pytest

from orchestrator.emulator.account import Logstore
from orchestrator.emulator.behaviour import Behaviour
from orchestrator.emulator.density import Uniform
from orchestrator.emulator.file_body import FileBody
from orchestrator.emulator.generated import GeneratedStore
from orchestrator.emulator.record import Record
from orchestrator.emulator.records import RecordStore
from orchestrator.emulator.refusal import Refusal
from orchestrator.emulator.world import World

NOW_S = 1_768_465_800.0
DAY_S = 86_400
STEADY = {"run_base_s": 10.0, "run_per_line_s": 0.0, "run_jitter": 0.0}
WINDOW = {"queryStartTime": "2026-01-14T00:00:00Z", "queryEndTime": "2026-01-14T00:00:10Z"}
BODY = {"logStoreName": "web", "order": "asc", **WINDOW}
SECOND_MS = 1_768_348_800_000


def world_of(**switches: object) -> World:
    stores = [
        Logstore("web", GeneratedStore(7, Uniform(DAY_S * 10)), retention_days=30),
        Logstore("empty", RecordStore()),
        Logstore("web-2", GeneratedStore(8, Uniform(DAY_S)), project="shop"),
    ]
    return World(stores, seed=7, behaviour=Behaviour.from_dict({**STEADY, **switches}))


def create(world: World, now_s: float = NOW_S, **body: object) -> str:
    return world.create_task({**BODY, **body}, now_s)


def refusal_of(world: World, now_s: float = NOW_S, **body: object) -> tuple[int, str]:
    with pytest.raises(Refusal) as refusal:
        create(world, now_s, **body)
    return refusal.value.status, refusal.value.code


def state(world: World, uuid: str, now_s: float) -> str:
    return world.tasks.describe(uuid, now_s).state


def all_bytes(body: FileBody) -> bytes:
    return b"".join(body.read(0, body.size_bytes()))


def file_of(world: World, uuid: str, now_s: float = NOW_S + 60) -> bytes:
    return all_bytes(world.tasks.open_file(uuid, now_s)[1])


def test_tasks_queue_before_the_executors() -> None:
    """With two executors the third task starts when the first ends, first come first served."""
    world = world_of(executors=2)
    uuids = [create(world) for _ in range(5)]
    assert [state(world, uuid, NOW_S + 5) for uuid in uuids] == ["RUNNING"] * 2 + ["WAITING"] * 3
    assert [state(world, uuid, NOW_S + 15) for uuid in uuids] == ["SUCCESS"] * 2 + ["RUNNING"] * 2 + [
        "WAITING"
    ]
    views = [world.tasks.describe(uuid, NOW_S + 99) for uuid in uuids]
    assert [view.exec_end_at_s for view in views] == [NOW_S + t for t in (10, 10, 20, 20, 30)]


def test_looking_changes_nothing() -> None:
    """The outcome is the same whether the tasks are watched every second or looked at once at the end."""
    watched, unwatched = world_of(run_jitter=0.9, executors=3), world_of(run_jitter=0.9, executors=3)
    uuids = [create(watched) for _ in range(9)]
    assert uuids == [create(unwatched) for _ in range(9)]
    for second in range(200):
        watched.tasks.advance(NOW_S + second)
    for uuid in uuids:
        seen, unseen = watched.tasks.describe(uuid, NOW_S + 200), unwatched.tasks.describe(uuid, NOW_S + 200)
        assert (seen.state, seen.exec_start_at_s, seen.exec_end_at_s) == (
            unseen.state,
            unseen.exec_start_at_s,
            unseen.exec_end_at_s,
        )


def test_deleting_a_running_task_frees_its_executor() -> None:
    """A cancelled task makes room at once, and never comes back."""
    world = world_of(executors=1)
    first, second = create(world), create(world)
    world.tasks.delete(first, NOW_S + 4)
    assert state(world, second, NOW_S + 5) == "RUNNING"
    assert world.tasks.describe(second, NOW_S + 20).exec_end_at_s == NOW_S + 14
    with pytest.raises(Refusal, match="DownloadTaskNotFound"):
        world.tasks.describe(first, NOW_S + 5)


def test_deleting_a_waiting_task_takes_it_out_of_the_queue() -> None:
    """The task behind a deleted one moves up."""
    world = world_of(executors=1)
    uuids = [create(world) for _ in range(3)]
    world.tasks.delete(uuids[1], NOW_S + 1)
    assert state(world, uuids[2], NOW_S + 11) == "RUNNING"


def test_delete_may_be_refused_or_let_the_task_finish() -> None:
    """A running task may not be deletable, or may keep its executor although it is gone."""
    refused = world_of(delete_running="refused")
    uuid = create(refused)
    with pytest.raises(Refusal, match="AccessDenied"):
        refused.tasks.delete(uuid, NOW_S + 1)
    finishing = world_of(delete_running="finishes", executors=1)
    first, second = create(finishing), create(finishing)
    finishing.tasks.delete(first, NOW_S + 1)
    assert state(finishing, second, NOW_S + 9) == "WAITING"
    assert state(finishing, second, NOW_S + 11) == "RUNNING"


@pytest.mark.parametrize("again", ["not-found", "success"])
def test_a_second_delete(again: str) -> None:
    """Deleting twice gives 404 or success; a uuid that never was is always 404."""
    world = world_of(delete_again=again)
    uuid = create(world)
    world.tasks.delete(uuid, NOW_S)
    if again == "success":
        world.tasks.delete(uuid, NOW_S)
    else:
        with pytest.raises(Refusal, match="DownloadTaskNotFound"):
            world.tasks.delete(uuid, NOW_S)
    with pytest.raises(Refusal, match="DownloadTaskNotFound"):
        world.tasks.delete("no-such-uuid", NOW_S)


@pytest.mark.parametrize("removes", [True, False])
def test_the_file_of_a_deleted_task(removes: bool) -> None:
    """Deleting a task removes its file, or leaves it to whoever holds the link."""
    world = world_of(delete_removes_file=removes)
    uuid = create(world)
    world.tasks.delete(uuid, NOW_S + 20)
    if removes:
        with pytest.raises(Refusal, match="NoSuchKey"):
            file_of(world, uuid)
    else:
        assert file_of(world, uuid).count(b'"@seq"') == 100


@pytest.mark.parametrize(
    ("switches", "first_ms", "last_ms", "lines"),
    [
        ({}, SECOND_MS, SECOND_MS + 9_900, 100),
        ({"window_end": "inclusive"}, SECOND_MS, SECOND_MS + 10_000, 101),
        ({"window_end": "whole-second"}, SECOND_MS, SECOND_MS + 10_900, 110),
        ({"window_start": "exclusive"}, SECOND_MS + 100, SECOND_MS + 9_900, 99),
    ],
)
def test_window_ends(switches: dict[str, object], first_ms: int, last_ms: int, lines: int) -> None:
    """The ends of a task's window may be inclusive or exclusive."""
    world = world_of(**switches)
    rows = world.tasks.open_file(create(world), NOW_S + 20)[0].rows
    assert rows is not None
    records = rows.records(0, rows.count)
    assert (records[0].at_ms, records[-1].at_ms, len(records)) == (first_ms, last_ms, lines)


def test_a_limit_truncates_in_the_requested_order() -> None:
    """Order desc keeps the newest lines, asc the oldest, and writtenRows equals the limit."""
    world = world_of()
    for order, first_ms in (("asc", SECOND_MS), ("desc", SECOND_MS + 9_900)):
        uuid = create(world, order=order, limit=30)
        rows = world.tasks.open_file(uuid, NOW_S + 20)[0].rows
        assert rows is not None
        assert rows.records(0, 1)[0].at_ms == first_ms
        assert world.tasks.describe(uuid, NOW_S + 20).written_rows == 30


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"logStoreName": "nothing"}, 404, "LogStoreNotFound"),
        ({"project": "nothing"}, 404, "ProjectNotFound"),
        ({"logStoreName": ""}, 400, "InvalidParameter"),
        ({"logStoreName": 7}, 400, "InvalidParameter"),
        ({"limit": 1_000_001}, 400, "InvalidParameter"),
        ({"limit": "10"}, 400, "InvalidParameter"),
        ({"format": "xml"}, 400, "InvalidParameter"),
        ({"order": "up"}, 400, "InvalidParameter"),
        ({"query": "match ("}, 400, "InvalidParameter"),
        ({"query": "match * | select count(*) as c"}, 400, "InvalidParameter"),
        ({"queryEndTime": WINDOW["queryStartTime"]}, 400, "InvalidParameter"),
        ({"queryEndTime": "2026-01-13T00:00:00Z"}, 400, "InvalidParameter"),
        ({"queryEndTime": "2026-01-14T00:00:10+08:00"}, 400, "InvalidParameter"),
        ({"queryEndTime": "2026-02-31T00:00:00Z"}, 400, "InvalidParameter"),
        ({"queryEndTime": "2026-01-14T00:00:10.5Z"}, 400, "InvalidParameter"),
    ],
)
def test_a_wrong_create_is_refused(body: dict[str, object], status: int, code: str) -> None:
    """What the service's pages do not allow is refused with the documented code, and makes nothing."""
    world = world_of()
    assert refusal_of(world, **body) == (status, code)
    assert world.tasks.tasks() == ()


def test_empty_and_zero_are_absent() -> None:
    """Empty strings and zeros count as left out, as one of the official clients relies on."""
    world = world_of()
    uuid = create(
        world, name="", project="", logStreamName="", query="", limit=0, order="", format="", fileDir=""
    )
    request = world.tasks.describe(uuid, NOW_S).task.request
    assert (request.project, request.query, request.limit) == ("default", "match *", 1_000_000)
    assert (request.order, request.format, request.logstream) == ("desc", "json", None)
    assert refusal_of(world_of(empty_equals_absent=False), limit=0) == (400, "InvalidParameter")
    assert refusal_of(world_of(unknown_fields="rejected"), colour="red") == (400, "InvalidParameter")
    create(world_of(), colour="red")


@pytest.mark.parametrize(("how", "end_ms"), [("accepted", SECOND_MS + 500), ("rounded", SECOND_MS + 0)])
def test_subsecond_windows(how: str, end_ms: int) -> None:
    """Fractions of a second are rejected, honoured, or cut off."""
    world = world_of(subsecond_windows=how, empty_windows="accepted")
    uuid = create(world, queryEndTime="2026-01-14T00:00:00.500Z")
    assert world.tasks.describe(uuid, NOW_S).task.request.end_ms == end_ms


@pytest.mark.parametrize("how", ["two-tasks", "same-task", "error"])
def test_a_repeated_create(how: str) -> None:
    """A second create of one name makes a second task, answers with the first, or is an error."""
    world = world_of(create_repeated=how)
    first = create(world, name="x")
    if how == "error":
        assert refusal_of(world, name="x")[0] == 409
    else:
        assert (create(world, name="x") == first) is (how == "same-task")
    assert world.witness.live_duplicate_names() == (("x",) if how == "two-tasks" else ())


def test_a_lost_create_may_take_effect_later() -> None:
    """A task whose reply was lost appears after its delay, not before."""
    world = world_of(lost_reply_delay_s=20.0)
    world.create_task_unheard({**BODY, "name": "late"}, NOW_S)
    assert world.tasks.list_page({}, NOW_S + 19).total == 0
    page = world.tasks.list_page({}, NOW_S + 21)
    assert [(view.task.request.name, view.task.created_at_s) for view in page.views] == [("late", NOW_S + 20)]


def test_a_list_filters_pages_and_sorts() -> None:
    """Project is exact, logstore a substring, paging by number, order by creation, update or name."""
    world = world_of(executors=1)
    names = [f"t-{n}" for n in (3, 1, 2)]
    uuids = [create(world, NOW_S + n, name=name) for n, name in enumerate(names)]
    other = create(world, NOW_S + 3, name="t-9", project="shop", logStoreName="web-2")
    shown = [view.task.uuid for view in world.tasks.list_page({}, NOW_S + 4).views]
    assert shown == [other, *reversed(uuids)]
    page = world.tasks.list_page(
        {"project": "default", "logStoreName": "we", "order": "asc", "pageSize": 2}, NOW_S + 4
    )
    assert ([view.task.uuid for view in page.views], page.total) == (uuids[:2], 3)
    by_name = world.tasks.list_page({"orderBy": "name", "order": "asc"}, NOW_S + 4)
    assert [view.task.request.name for view in by_name.views] == ["t-1", "t-2", "t-3", "t-9"]
    by_update = world.tasks.list_page({"orderBy": "updatedTime", "order": "desc"}, NOW_S + 12)
    assert [view.task.uuid for view in by_update.views][:2] == [uuids[1], uuids[0]]
    for wrong in ({"orderBy": "colour"}, {"order": "up"}, {"pageNo": -1}):
        with pytest.raises(Refusal, match="InvalidParameter"):
            world.tasks.list_page(wrong, NOW_S)


def test_a_list_lags_behind() -> None:
    """A created task may be describable before any list shows it."""
    world = world_of(list_lag_s=5.0, describe_lag_s=2.0)
    uuid = create(world)
    with pytest.raises(Refusal, match="DownloadTaskNotFound"):
        world.tasks.describe(uuid, NOW_S + 1)
    assert world.tasks.describe(uuid, NOW_S + 3).task.uuid == uuid
    assert world.tasks.list_page({}, NOW_S + 4).total == 0
    assert world.tasks.list_page({}, NOW_S + 5).total == 1


@pytest.mark.parametrize(("how", "size"), [("lowered", 3), ("honoured", 5), ("rejected", 0)])
def test_the_page_size_has_a_ceiling(how: str, size: int) -> None:
    """Above the ceiling a page size is silently lowered, honoured all the same, or rejected."""
    world = world_of(page_size_max=3, page_size_above_max=how)
    for _ in range(6):
        create(world)
    if how == "rejected":
        with pytest.raises(Refusal, match="InvalidParameter"):
            world.tasks.list_page({"pageSize": 5}, NOW_S)
    else:
        page = world.tasks.list_page({"pageSize": 5}, NOW_S)
        assert (page.page_size, len(page.views)) == (size, size)


@pytest.mark.parametrize(("how", "seen"), [("exact", 6), ("repeats", 7), ("misses", 5)])
def test_a_page_walk_may_repeat_or_miss(how: str, seen: int) -> None:
    """At a page border an item may come twice or not at all."""
    world = world_of(page_border=how)
    for _ in range(6):
        create(world)
    walked = [
        view
        for page_no in (1, 2)
        for view in world.tasks.list_page({"pageSize": 4, "pageNo": page_no}, NOW_S).views
    ]
    assert len(walked) == min(seen, 8)


@pytest.mark.parametrize("how", ["expired", "vanished"])
def test_a_file_does_not_last(how: str) -> None:
    """After its lifetime the task is EXPIRED, or gone altogether, and the file with it."""
    world = world_of(file_lifetime_s=100.0, after_lifetime=how)
    uuid = create(world)
    assert state(world, uuid, NOW_S + 109) == "SUCCESS"
    if how == "expired":
        assert state(world, uuid, NOW_S + 111) == "EXPIRED"
    else:
        with pytest.raises(Refusal, match="DownloadTaskNotFound"):
            world.tasks.describe(uuid, NOW_S + 111)
        assert world.tasks.list_page({}, NOW_S + 111).total == 0
    with pytest.raises(Refusal, match="NoSuchKey"):
        file_of(world, uuid, NOW_S + 111)


@pytest.mark.parametrize(
    ("switches", "states"),
    [
        ({}, ["RUNNING", "RUNNING", "RUNNING", "SUCCESS"]),
        ({"running_shown": False}, ["WAITING", "WAITING", "WAITING", "SUCCESS"]),
        ({"setback_probability": 1.0}, ["RUNNING", "WAITING", "RUNNING", "SUCCESS"]),
        (
            {"unknown_state": "PAUSED", "unknown_state_probability": 1.0},
            ["PAUSED", "PAUSED", "PAUSED", "SUCCESS"],
        ),
        ({"fail_probability": 1.0}, ["RUNNING", "RUNNING", "RUNNING", "FAILED"]),
        ({"stuck_probability": 1.0}, ["RUNNING", "RUNNING", "RUNNING", "RUNNING"]),
    ],
)
def test_odd_states(switches: dict[str, object], states: list[str]) -> None:
    """The state machine may skip, fall back, show strange words, fail, or never end."""
    world = world_of(**switches)
    uuid = create(world)
    assert [state(world, uuid, NOW_S + t) for t in (1, 5, 9, 11)] == states


@pytest.mark.parametrize(("codes", "code"), [("named", "InternalError"), ("empty", "")])
def test_failures_may_name_no_cause(codes: str, code: str) -> None:
    """FAILED comes with a code, or with empty ones."""
    world = world_of(fail_probability=1.0, fail_codes=codes)
    assert world.tasks.describe(create(world), NOW_S + 20).failed_code == code


def test_a_task_may_expire_between_describe_and_link() -> None:
    """SUCCESS can turn into EXPIRED exactly when the link is asked for."""
    world = world_of(expires_at_link_probability=1.0)
    uuid = create(world)
    assert state(world, uuid, NOW_S + 20) == "SUCCESS"
    world.tasks.link(uuid, NOW_S + 20)
    assert state(world, uuid, NOW_S + 20) == "EXPIRED"


def test_a_link_before_success() -> None:
    """A link may be given before the file exists, or refused until then."""
    world = world_of()
    uuid = create(world)
    assert world.tasks.link(uuid, NOW_S + 1).file_name.startswith("task_json_")
    with pytest.raises(Refusal, match="NoSuchKey"):
        file_of(world, uuid, NOW_S + 1)
    strict = world_of(link_before_success="refused")
    uuid = create(strict)
    with pytest.raises(Refusal, match="InvalidParameter"):
        strict.tasks.link(uuid, NOW_S + 1)


@pytest.mark.parametrize("again", ["fresh", "same"])
def test_a_second_link(again: str) -> None:
    """Asking again gives a fresh link, or the same one that expires with the first."""
    world = world_of(link_again=again)
    uuid = create(world)
    first = world.tasks.link(uuid, NOW_S + 20)
    second = world.tasks.link(uuid, NOW_S + 50)
    assert (first == second) is (again == "same")
    assert world.tasks.opens(uuid, first.issued_at_s, first.lifetime_s, first.ticket, NOW_S + 21)
    assert not world.tasks.opens(uuid, first.issued_at_s, first.lifetime_s, first.ticket, NOW_S + 20 + 1801)
    assert not world.tasks.opens(uuid, first.issued_at_s + 99, first.lifetime_s, first.ticket, NOW_S + 21)


@pytest.mark.parametrize(
    ("how", "expected"), [("empty-file", "SUCCESS"), ("no-file", "SUCCESS"), ("failed", "FAILED")]
)
def test_an_empty_result(how: str, expected: str) -> None:
    """A window without records gives an empty file, no file, or a failure."""
    world = world_of(empty_result=how)
    uuid = create(world, logStoreName="empty")
    view = world.tasks.describe(uuid, NOW_S + 20)
    assert (view.state, view.written_rows) == (expected, 0)
    if how == "empty-file":
        assert file_of(world, uuid) == b""
    else:
        with pytest.raises(Refusal, match="NoSuchKey"):
            file_of(world, uuid)


@pytest.mark.parametrize(
    ("how", "running", "done"),
    [
        ("exact", 50, 100),
        ("at-end", None, 100),
        ("missing", None, None),
        ("zero", 0, 0),
        ("limit", 50, 200),
        ("one-less", 50, 99),
        ("one-more", 50, 101),
    ],
)
def test_written_rows_may_lie(how: str, running: int | None, done: int | None) -> None:
    """The field writtenRows is exact, late, missing, zero, the limit, or off by one."""
    world = world_of(written_rows=how)
    uuid = create(world, limit=200)
    assert world.tasks.describe(uuid, NOW_S + 5).written_rows == running
    assert world.tasks.describe(uuid, NOW_S + 20).written_rows == done


@pytest.mark.parametrize(
    ("form", "refused"),
    [
        ("429", (429, "RequestLimited")),
        ("400", (400, "DownloadTaskQuotaExceeded")),
        ("403", (403, "DownloadTaskQuotaExceeded")),
        ("waits", None),
    ],
)
def test_a_hidden_quota(form: str, refused: tuple[int, str] | None) -> None:
    """Too many outstanding tasks show as 429, 400, 403, or just as long waiting."""
    world = world_of(outstanding_cap=2, outstanding_cap_form=form)
    create(world)
    create(world)
    if refused is None:
        assert state(world, create(world), NOW_S + 9) == "WAITING"
    else:
        assert refusal_of(world) == refused
        create(world, NOW_S + 11)
    assert world.witness.max_outstanding <= 3


def test_a_task_too_large_is_refused() -> None:
    """RequestOverload 413 stands before a task over too many records."""
    assert refusal_of(world_of(overload_rows=99)) == (413, "RequestOverload")
    create(world_of(overload_rows=100))


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("failed", ("FAILED", "InternalError")),
        ("empty", ("SUCCESS", "")),
        ("not-found", ("FAILED", "LogStoreNotFound")),
    ],
)
def test_a_logstore_may_go_while_a_task_waits(how: str, expected: tuple[str, str]) -> None:
    """Removing the logstore fails the waiting task, empties it, or names the loss."""
    world = world_of(executors=1, store_removed=how)
    create(world)
    uuid = create(world)
    world.account.remove_store("default", "web")
    view = world.tasks.describe(uuid, NOW_S + 30)
    assert (view.state, view.failed_code) == expected


@pytest.mark.parametrize(("how", "lines"), [("none", 0), ("all", 100), ("not-found", None)])
def test_a_stream_that_does_not_exist(how: str, lines: int | None) -> None:
    """An unknown stream means no rows, all rows, or 404."""
    world = world_of(missing_stream=how)
    if lines is None:
        assert refusal_of(world, logStreamName="nobody") == (404, "LogStreamNotFound")
    else:
        assert world.tasks.describe(create(world, logStreamName="nobody"), NOW_S + 20).written_rows == lines


@pytest.mark.parametrize(("how", "lines"), [("none", 0), ("all", 100)])
def test_an_empty_stream_name(how: str, lines: int) -> None:
    """An empty stream name that does not count as absent means all streams or none."""
    world = world_of(empty_stream=how, empty_equals_absent=False)
    assert world.tasks.describe(create(world, logStreamName=""), NOW_S + 20).written_rows == lines


def test_retention_takes_records_away() -> None:
    """Records older than the retention are no longer found."""
    world = world_of()
    uuid = create(world, NOW_S + 40 * DAY_S)
    assert world.tasks.describe(uuid, NOW_S + 41 * DAY_S).written_rows == 0


def test_records_are_searched_when_the_task_starts() -> None:
    """A record pushed while the task waits is found, one pushed while it runs is not."""
    world = world_of(executors=1)
    source = world.account.store("default", "empty").source
    assert isinstance(source, RecordStore)
    create(world)
    waiting = create(world, logStoreName="empty")
    for at_s in (NOW_S + 5, NOW_S + 15):
        world.tasks.advance(at_s)
        source.push([Record(SECOND_MS, source.next_seq, "s", "line", (), int(at_s * 1000))])
    assert world.tasks.describe(waiting, NOW_S + 99).written_rows == 1


def test_other_switches_take_effect_at_once_but_keep_files_as_they_are() -> None:
    """Swapping the behaviour changes what starts later; a finished file keeps its form."""
    world = world_of(executors=1)
    first, second = create(world), create(world)
    world.behave(Behaviour.from_dict({**STEADY, "file_layout": "array", "executors": 2}), NOW_S + 5)
    assert state(world, second, NOW_S + 6) == "RUNNING"
    assert file_of(world, first).startswith(b"{")
    assert file_of(world, second).startswith(b"[")


def test_the_witness_tells_how_busy_the_executors_were() -> None:
    """Busy is what tasks took of the executors, all together; what is cut short counts up to its end, and
    what runs for ever not at all."""
    world = world_of(executors=2)
    uuids = [create(world) for _ in range(3)]
    world.tasks.delete(uuids[0], NOW_S + 4)
    world.tasks.advance(NOW_S + 30)
    assert world.witness.stats()["executors"] == {"busy_s": 4.0 + 10.0 + 10.0, "span_s": 14.0}
    stuck = world_of(stuck_probability=1.0)
    create(stuck)
    assert stuck.witness.stats()["executors"] == {"busy_s": 0.0, "span_s": 0.0}
    replaced = world_of(create_repeated="replaced")
    create(replaced, name="a")
    create(replaced, NOW_S + 3, name="a")
    assert replaced.witness.stats()["executors"] == {"busy_s": 13.0, "span_s": 13.0}


def test_the_witness_tells_how_late_links_were_asked_for() -> None:
    """The delay of a link counts from the end of its task, once for each task, and not before the end."""
    world = world_of()
    uuids = [create(world) for _ in range(2)]
    for at_s in (5, 11, 60):
        world.tasks.link(uuids[0], NOW_S + at_s)
    world.tasks.link(uuids[1], NOW_S + 13)
    assert world.witness.stats()["links"] == {"tasks": 2, "mean_delay_s": 2.0, "max_delay_s": 3.0}
