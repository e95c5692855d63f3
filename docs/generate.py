"""Writes the pages of this folder that follow from the code, so that they cannot drift from it.

``python docs/generate.py`` writes them; ``--check`` writes nothing, shows what would change and exits 1 if
anything would.
A new page is one line in ``PAGES``: its file name and the function that returns its text. A table inside a
page that people write is one line in ``BLOCKS``: it stands between ``<!-- name -->`` and ``<!-- /name -->``.
"""

from __future__ import annotations

import argparse
import difflib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import typer.core
import typer.main

from orchestrator import errors
from orchestrator.cli.parse import app
from orchestrator.core.jobfile_notyet import NOT_YET
from orchestrator.core.jobkeys import KEYS, SECTIONS, Key, Kind
from orchestrator.core.lifecycle import TABLE
from orchestrator.core.model import SliceState
from orchestrator.core.reasons import REDO, Reason, describe_reason
from orchestrator.errors import Disposition, ExitCode, OrchestratorError
from orchestrator.testing.switch_row import Switch
from orchestrator.testing.switches import ITEMS, SWITCHES

HERE = Path(__file__).resolve().parent
MARK = "<!-- Written by docs/generate.py (make docs); edit the code, not this page. -->"

EXIT_MEANINGS = {
    ExitCode.COMPLETE: "complete; accepted gaps are allowed",
    ExitCode.BUG: "a bug of ours",
    ExitCode.USAGE: "the command line or the job file is wrong",
    ExitCode.INCOMPLETE: "incomplete; run again",
    ExitCode.INTEGRITY: "a stored file or a count does not agree",
    ExitCode.REFUSED: "the service refuses: credentials, permission, no such logstore",
    ExitCode.STORAGE: "local storage: disk full, manifest damaged or written by a newer version",
    ExitCode.UNMENDABLE: "incomplete, and no further run can mend what is left",
    ExitCode.LOCKED: "another run holds the manifest",
    ExitCode.INTERRUPTED: "interrupted and drained; run again",
}

DISPOSITIONS = {
    Disposition.RETRY: "tries again later; counts as an attempt",
    Disposition.THROTTLE: "tries again more slowly; does not count as an attempt",
    Disposition.LOOK: "looks at the service what became of it before anything else",
    Disposition.RENEW: "asks for a fresh link and goes on where the file stopped",
    Disposition.REFUSE: "stops this job, lets the others go on",
    Disposition.GIVE_UP: "gives this slice up: its window becomes a gap with its reason",
    Disposition.STOP: "ends the run; what is under way is drained first",
    Disposition.BUG: "ends with a traceback in the log file",
}

STATES = {
    SliceState.PLANNED: "the window is known, no remote task of it exists",
    SliceState.SUBMITTING: "the intent is on disk, the create is under way",
    SliceState.IN_DOUBT: "a create went out and nobody knows what became of it",
    SliceState.WAITING: "the service holds the remote task and has not begun",
    SliceState.RUNNING: "the service is writing the file",
    SliceState.READY: "the file can be fetched",
    SliceState.TRANSFERRING: "the file is being fetched, checked and staged, or its rows counted again",
    SliceState.SETTLING: "the staged file is proved and moves to its final name",
    SliceState.DONE: "stored and proved",
    SliceState.EMPTY: "proved to hold no lines; there is no file",
    SliceState.DELIVERED: "the service wrote the files itself",
    SliceState.CUT: "the whole part of a truncated file is kept, another slice took over the rest",
    SliceState.SUPERSEDED: "handed over whole to smaller slices",
    SliceState.FAILED: "a gap with its reason",
    SliceState.ABANDONED: "no longer wanted",
}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; bars inside cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def error_classes() -> list[type[OrchestratorError]]:
    """Every class of the tree, parents before children, in the order of ``errors.py``."""
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, OrchestratorError)]
    return sorted(classes, key=lambda c: inspect.getsourcelines(c)[1])


def tree_meanings() -> dict[str, str]:
    """Class name to the words beside it in the tree at the head of ``errors.py``."""
    lines = (errors.__doc__ or "").splitlines()
    found = (re.match(r"[\s│├└─]*(\w+)\s+exit \d+\s*(.*)", line) for line in lines)
    return {m[1]: m[2].strip() for m in found if m}


def in_words(class_name: str) -> str:
    """``ManifestDamaged`` as a person says it, for classes whose name is meaning enough."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", class_name).lower()


def errors_page() -> str:
    """Exit codes, then every error: what it means, what the program does about it, how a person mends it."""
    meanings = tree_meanings()
    rows = [
        (
            f"`{c.code}`",
            int(c.exit_code),
            meanings.get(c.__name__) or in_words(c.__name__),
            DISPOSITIONS[c.disposition],
            c.default_hint,
            f"`{c.__name__}`",
        )
        for c in error_classes()
    ]
    head = ("code", "exit", "meaning", "what the program does", "how to mend it", "class")
    speaks = " ".join(str(int(code)) for code in sorted(ExitCode, key=_rank))
    return f"""# Exit codes and errors

## Exit codes

{table(("exit", "meaning"), [(int(code), EXIT_MEANINGS[code]) for code in ExitCode])}

Several jobs in one run: the process ends with the first of {speaks} that any of them
ended with; each job has its own in the report.

## Errors

`code` is what stands in `error.code` of every `--json` document. The hint printed with an error may say more
than the general one given here. An error that concerns one slice does not end the run; the exit code is
the one the run ends with when nothing better comes of it.

{table(head, rows)}
"""


def _rank(code: ExitCode) -> int:
    """How many other codes speak louder than this one."""
    return sum(ExitCode.worst([code, other]) == other for other in ExitCode if other != code)


def reasons_page() -> str:
    """The closed list of gap reasons."""
    texts = [(reason, describe_reason(reason)) for reason in Reason]
    rows = [(f"`{r.value}`", t.meaning, "yes" if t.mendable else "no", t.advice) for r, t in texts]
    mends = [(f"`{r.value}`", f"`{t.mend}`") for r, t in texts]
    return f"""# Reasons of a gap

A gap is a part of a window that is not proven to be stored. Its reason is one of these words and no other.
What can be mended is worth another run; what cannot may be accepted, with a reason of your own, and stays
listed.

{table(("reason", "meaning", "can a run mend it", "what to do by hand"), rows)}

## The command that mends it

The end of `run`, `gaps` and `status` print it for every gap, and `mend` in their JSON holds it: quoted for a
shell, with the real job file, job, window, slice and path in place of the names in braces. `--logstream` is
there only where a job exports its log streams one by one; `'*'` is what is missing of all of them together.

{table(("reason", "command"), mends)}

A gap that was accepted is left alone by `run`, which spends no attempt on it; its command is
`{REDO}`. What is stored after all
ends the acceptance: should that window ever get lost again, it is a new gap. An acceptance speaks of the log
stream it was given for, and of no other.
"""


def edges() -> dict[tuple[SliceState, SliceState], list[str]]:
    """From state and to state, with the names of the events that lead there, in the order of the table."""
    found: dict[tuple[SliceState, SliceState], list[str]] = {}
    for (state, event), row in TABLE.items():
        for target in sorted(row.targets, key=list(SliceState).index):
            found.setdefault((state, target), []).append(event.__name__)
    return found


def states_page() -> str:
    """The life of a slice as a diagram and as a table, both from ``core.lifecycle.TABLE``."""
    arrows = [f"    {a} --> {b}: {', '.join(events)}" for (a, b), events in edges().items()]
    ends = [f"    {state} --> [*]" for state in SliceState if not any(a == state for a, _ in TABLE)]
    rows = [
        (
            f"`{state}`",
            f"`{event.__name__}`",
            first_sentence(event),
            targets_of(row.targets),
        )
        for (state, event), row in TABLE.items()
    ]
    diagram = "\n".join(["stateDiagram-v2", "    [*] --> planned", *arrows, *ends])
    return f"""# The life of a slice

{table(("state", "meaning"), [(f"`{state}`", STATES[state]) for state in SliceState])}

## Diagram

```mermaid
{diagram}
```

## Every legal event in every state

An event that is not here for a slice's state is refused and changes nothing.

{table(("state", "event", "what happened", "leads to"), rows)}
"""


def first_sentence(event: type) -> str:
    """What an event's docstring says first; its name in words when a dataclass only repeats its fields."""
    text = inspect.getdoc(event) or ""
    if text.startswith(f"{event.__name__}("):
        return in_words(event.__name__)
    return re.split(r"[.;](?:\s|$)", text)[0].replace("``", "`").replace("\n", " ")


def targets_of(targets: Iterable[SliceState]) -> str:
    """States in the order in which a slice meets them."""
    return ", ".join(f"`{state}`" for state in sorted(targets, key=list(SliceState).index))


def job_file_page() -> str:
    """Every key of the job file, section by section, from ``core.jobkeys``."""
    parts = []
    for section in SECTIONS:
        rows = [
            (f"`{key.name}`", key.kind.value, unless_given(key), allowed(key), key.meaning + not_yet(key))
            for key in KEYS
            if key.section == section.name
        ]
        title = f"`{section.header}`" if section.header else "Top level"
        head = ("key", "value", "when left out", "allowed", "meaning")
        parts.append(f"## {title}\n\n{section.meaning}\n\n{table(head, rows)}\n")
    sections = "\n".join(parts)
    return f"""# The job file

TOML. Every text may hold `"${{NAME}}"` or `"${{NAME:-default}}"` from the environment; what came that way is
redacted in output. Durations are whole numbers of `s`, `m`, `h`, `d` or `w`, such as `90s` or `1h30m`; sizes
are bytes, such as `200MB` (10^6) or `64MiB` (2^20).
`orchestrator check` names everything that is wrong with a file, line by line, and contacts nothing.

{sections}"""


def unless_given(key: Key) -> str:
    """What holds when the key is left out: its default, that it is needed, or that it is off."""
    if key.needed:
        return "required" if key.needed == "always" else f"required {key.needed}"
    if key.default is None:
        return "off"
    return f"`{in_toml(key.default)}`"


def allowed(key: Key) -> str:
    """Choices, form and bounds of a key in words; an example where nothing else says what it looks like."""
    if key.choices:
        return ", ".join(f"`{in_toml(choice)}`" for choice in key.choices)
    words = [key.form.words] if key.form else []
    unit = {Kind.DURATION: " s", Kind.SIZE: " B"}.get(key.kind, "")
    if key.least is not None and key.most is not None:
        words.append(f"{key.least:,} to {key.most:,}{unit}")
    elif key.least is not None:
        words.append(f"at least {key.least:,}{unit}")
    if key.example is not None and not key.default:
        words.append(f"such as `{in_toml(key.example)}`")
    return "; ".join(words)


def not_yet(key: Key) -> str:
    """Which part of the key this version refuses rather than keep half of its promise."""
    refuses = NOT_YET.get((key.section, key.name))
    if refuses is None:
        return ""
    refused = [f"`{in_toml(choice)}`" for choice in key.choices if refuses(choice)]
    if refused:
        return f" (Not in this version: {', '.join(refused)}.)"
    if refuses(key.default if key.example is None else key.example):
        return " (Not in this version.)"
    return " (Not every form in this version: `orchestrator check` says which.)"


def in_toml(value: object) -> str:
    """A default or example as it is written in the file."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {in_toml(inner)}" for name, inner in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def commands_page() -> str:
    """Every command with its usage, help and options, as the command line itself says them."""
    shown = [command for command in commands() if not command.hidden]
    rows = [(f"[`{c.name}`](#{c.name})", (c.help or "").partition("\n")[0]) for c in shown]
    chapters = "\n".join(chapter(command) for command in shown)
    return f"""# Commands

`orchestrator COMMAND [OPTIONS]`, or `python -m orchestrator`. stdout carries results only; logs and progress
go to stderr. What the process says when it ends: [errors.md](errors.md).

{table(("command", "does"), rows)}

{chapters}"""


def commands() -> list[typer.core.TyperCommand]:
    """Every command in the order of the command line's own help."""
    group = typer.main.get_command(app)
    found = group.commands.values() if isinstance(group, typer.core.TyperGroup) else [group]
    return [command for command in found if isinstance(command, typer.core.TyperCommand)]


def chapter(command: typer.core.TyperCommand) -> str:
    """One command: usage, help, arguments and options."""
    context = command.make_context(f"orchestrator {command.name}", [], resilient_parsing=True)
    records = [parameter.get_help_record(context) for parameter in command.params]
    rows = [(f"`{record[0]}`", record[1]) for record in records if record]
    return f"""## {command.name}

```
{context.command_path} {" ".join(command.collect_usage_pieces(context))}
```

{as_markdown(command.help or "")}

{table(("option", "meaning"), rows)}
"""


def as_markdown(help_text: str) -> str:
    """Help as typed in the terminal: a paragraph behind the mark ``\\b`` keeps its line breaks."""
    paragraphs = inspect.cleandoc(help_text).split("\n\n")
    return "\n\n".join(
        "```\n" + text.removeprefix("\b\n") + "\n```" if text.startswith("\b") else text
        for text in paragraphs
    )


def switches_block() -> str:
    """Every switch of the emulator: its settings, what the program does, and which test shows it."""
    rows = [
        (
            switch.item or "",
            f"`{switch.name}`",
            settings_of(switch),
            switch.does,
            "request" if switch.never_sent else "export",
        )
        for switch in SWITCHES
    ]
    settings = sum(len(switch.settings) for switch in SWITCHES)
    return f"""{len(SWITCHES)} switches, {settings} settings.

{table(("item", "switch", "settings", "what the program does about it", "test"), rows)}"""


def settings_of(switch: Switch) -> str:
    """Every setting that is tested, the default first and in italics."""
    spelled = [in_toml(list(value) if isinstance(value, tuple) else value) for value in switch.settings]
    return ", ".join([f"*`{spelled[0]}`*", *(f"`{each}`" for each in spelled[1:])])


def items_block() -> str:
    """What may be so or otherwise, item by item, and the switches that make it so."""
    rows = [
        (item or "–", text, ", ".join(f"`{switch.name}`" for switch in SWITCHES if switch.item == item))
        for item, text in ITEMS.items()
    ]
    return table(("item", "what may be so or otherwise", "switches"), rows)


PAGES: list[tuple[str, Callable[[], str]]] = [
    ("errors.md", errors_page),
    ("reasons.md", reasons_page),
    ("states.md", states_page),
    ("job-file.md", job_file_page),
    ("cli.md", commands_page),
]


BLOCKS: list[tuple[str, str, Callable[[], str]]] = [
    ("reliability.md", "switches", switches_block),
    ("bls-api.md", "items", items_block),
]


def rendered() -> dict[Path, str]:
    """Path to text of every page that is generated, whole or in part."""
    pages = {HERE / name: f"{MARK}\n\n{render()}" for name, render in PAGES}
    for name, mark, render in BLOCKS:
        path = HERE / name
        pages[path] = spliced(pages.get(path) or path.read_text(encoding="utf-8"), mark, render(), name)
    return pages


def spliced(page: str, mark: str, block: str, name: str) -> str:
    """The page with the block between its marks, which must stand there once and in order."""
    opening, closing = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, found, rest = page.partition(opening)
    _, ended, after = rest.partition(closing)
    if not found or not ended or opening in after:
        raise SystemExit(f"docs/{name}: {opening} and {closing} must stand there once, in this order")
    return f"{before}{opening}\n\n{block}\n\n{closing}{after}"


def stale(pages: dict[Path, str]) -> list[str]:
    """A unified diff for every page whose text on disk is not what the code says."""
    found = []
    for path, wanted in pages.items():
        on_disk = path.read_text(encoding="utf-8") if path.exists() else ""
        if on_disk != wanted:
            diff = difflib.unified_diff(
                on_disk.splitlines(), wanted.splitlines(), f"docs/{path.name}", "from the code", lineterm=""
            )
            found.append("\n".join(diff))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check all pages; 1 when ``--check`` finds one that is out of date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit 1 with a diff when a page is stale")
    options = parser.parse_args(arguments)
    pages = rendered()
    if options.check:
        diffs = stale(pages)
        if diffs:
            print("\n".join(diffs))
            print("\ndocs/ is out of date: run `make docs` and commit", file=sys.stderr)
        return 1 if diffs else 0
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
