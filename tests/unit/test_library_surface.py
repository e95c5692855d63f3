"""What a program may build on: the names of the library, their types, and the ways to stop it."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import inspect
import threading
import types
import typing
from collections.abc import Iterator

import pytest

import orchestrator
from orchestrator.app.library import jobs_words
from orchestrator.errors import OrchestratorError

NAMES = [name for name in orchestrator.__all__ if name != "__version__"]
FUNCTIONS = ("load", "plan", "run", "run_sync", "verify")


def parts_of(annotation: object) -> Iterator[type]:
    """The classes of ours that an annotation is made of."""
    if isinstance(annotation, type) and annotation.__module__.startswith("orchestrator."):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from parts_of(argument)


def reachable(*roots: type) -> set[type]:
    """Every class of ours that stands in a field of a value, or of a value in it."""
    found: set[type] = set()
    left = list(roots)
    while left:
        kind = left.pop()
        if kind in found:
            continue
        found.add(kind)
        if dataclasses.is_dataclass(kind):
            for annotation in typing.get_type_hints(kind).values():
                left += parts_of(annotation)
    return found


@pytest.mark.parametrize("root", ["Report", "JobPlan", "VerifyReport", "JobFile", "Slice"])
def test_every_value_in_an_answer_has_a_public_name(root: str) -> None:
    """Whatever a report, a plan or a job file holds can be named in an annotation without reaching inside."""
    public = {getattr(orchestrator, name) for name in NAMES}
    kinds = reachable(getattr(orchestrator, root))
    assert len(kinds) > 2
    assert [kind.__name__ for kind in kinds if kind not in public] == []


def test_answers_are_frozen() -> None:
    """No value that the library gives out can be changed by accident."""
    kinds = reachable(
        orchestrator.Report, orchestrator.JobPlan, orchestrator.VerifyReport, orchestrator.Slice
    )
    values = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
    assert len(values) > 12
    assert [kind.__name__ for kind in values if not kind.__dataclass_params__.frozen] == []  # type: ignore[attr-defined]  # typeshed leaves it out


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_says_what_it_is(name: str) -> None:
    """Every class and function of the library has a docstring of its own, but for errors that are only told
    apart by their names."""
    value = getattr(orchestrator, name)
    if isinstance(value, types.UnionType | types.GenericAlias):
        return
    own = value.__dict__.get("__doc__") if isinstance(value, type) else value.__doc__
    if isinstance(value, type) and issubclass(value, OrchestratorError):
        own = own or value.default_hint
    assert own
    assert not own.startswith(f"{name}(")  # what dataclasses write where nobody did


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_call_tells_its_errors_and_is_typed(name: str) -> None:
    """Every function says what it raises, and has a type for each argument and its answer."""
    function = getattr(orchestrator, name)
    assert "Raises" in function.__doc__
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(
        parameter.annotation not in (inspect.Signature.empty, "Any")
        for parameter in signature.parameters.values()
    )


def test_run_sync_takes_what_run_takes() -> None:
    """The two differ in nothing but the waiting."""
    run, run_sync = (inspect.signature(getattr(orchestrator, name)) for name in ("run", "run_sync"))
    assert run == run_sync


def test_what_is_not_there_is_said_so() -> None:
    """A name that the library does not have is an AttributeError, and `dir` lists those it has."""
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        orchestrator.laod  # type: ignore[attr-defined]  # noqa: B018  the typing error is the point
    assert set(NAMES) <= set(dir(orchestrator))


def job_file(**keys: object) -> orchestrator.JobFile:
    job = {"name": "web", "logstore": "web", "from": "2026-01-14", "to": "2026-01-15", "destination": "out"}
    service = {"endpoint": "http://127.0.0.1:9"}
    return orchestrator.JobFile.from_dict({"service": service, "jobs": [job], **keys}, folder="/srv/logs")


def test_run_sync_inside_a_loop_says_what_to_do() -> None:
    """Where an event loop runs already, the refusal names the call that works there, and no coroutine is left
    behind."""

    async def notebook_cell() -> None:
        with pytest.raises(orchestrator.UsageError) as refused:
            orchestrator.run_sync(job_file())
        assert "event loop is running" in refused.value.message
        assert "await orchestrator.run" in refused.value.hint

    asyncio.run(notebook_cell())


def test_one_name_needs_no_list() -> None:
    """A job's name given by itself is one name, not one per letter."""
    with pytest.raises(orchestrator.UsageError, match="no job fits --job shop"):
        orchestrator.run_sync(job_file(), jobs="shop")


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_outside_its_range_is_refused(share: float) -> None:
    """A share is a number from 0 to 1."""
    with pytest.raises(orchestrator.UsageError, match="share is"):
        asyncio.run(orchestrator.verify(job_file(), share=share))


def test_commands_name_a_manifest_that_the_file_does_not(tmp_path: typing.Any) -> None:
    """What a gap's command says works on the manifest of the run that said it."""
    path = tmp_path / "jobs.toml"
    path.write_text(
        '[service]\nregion = "bj"\n[[jobs]]\nname = "web"\nlogstore = "web"\nfrom = 2026-01-14\n'
        'destination = "out"\n',
        encoding="utf-8",
    )
    assert jobs_words(orchestrator.load(path, environment={})) == str(path)
    named = orchestrator.load(path, manifest=str(tmp_path / "other.db"), environment={})
    assert jobs_words(named) == f"{path} --manifest {tmp_path}/other.db"
    variable = {"ORCHESTRATOR_MANIFEST": str(tmp_path / "third.db")}
    assert jobs_words(orchestrator.load(path, environment=variable)).endswith(
        f"--manifest {tmp_path}/third.db"
    )


# --- stopping ---


def test_a_stop_signal_wakes_a_loop_from_another_thread() -> None:
    """Asked from any thread, a loop that sleeps wakes up at once."""

    async def waits(stop: orchestrator.StopSignal, waiting: threading.Event) -> None:
        asyncio.get_running_loop().call_soon(waiting.set)
        async with asyncio.timeout(30):
            await asyncio.gather(stop.wait(), stop.wait())

    stop, waiting = orchestrator.StopSignal(), threading.Event()

    def asks() -> None:
        if waiting.wait(30):
            stop.set("enough", interrupted=False)

    other = threading.Thread(target=asks)
    other.start()
    asyncio.run(waits(stop, waiting))
    other.join()
    assert (stop.is_set(), stop.reason, stop.interrupted) == (True, "enough", False)


def test_a_stop_signal_serves_one_loop_after_another() -> None:
    """A signal that was not needed in one run serves the next; set, it stays so, and the first reason
    counts."""
    stop = orchestrator.StopSignal()

    async def waits_in_vain() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.01)

    asyncio.run(waits_in_vain())
    asyncio.run(waits_in_vain())
    stop.set("first")
    stop.set("second", interrupted=False)
    asyncio.run(asyncio.wait_for(stop.wait(), 30))
    assert (stop.reason, stop.interrupted) == ("first", True)


def test_public_words_are_enumerations() -> None:
    """States, reasons and exit codes can be compared with plain words and numbers."""
    assert issubclass(orchestrator.ExitCode, enum.IntEnum)
    assert (orchestrator.SliceState.DONE, orchestrator.Reason.NOT_EXPORTED) == ("done", "not exported yet")
