"""Keys, tokens, signatures and links: a service quotes them back at every turn, and nothing of ours shows
them."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.conftest import PATIENCE_S, Ended
from tests.e2e.hostile_front import Front, quoting_front
from tests.e2e.leaks import Leak, Search, artefacts
from tests.e2e.proving import DAY, Program, describe_world, program, same_rows, truth

ROWS = 4_000
TOKEN = "STS/4QgvB+wJ0b1c2d3e==~9fKx|uU3z%Lm8/Qe5y+Ht6=&0a1b2c3d4e5f/Zr7+"
CUSTOMER = "customer-7c91aa04-which-nobody-may-read"
"""Comes into the job file by ``${CUSTOMER}``."""


@dataclass
class Stage:
    """A desk behind a quoting front, and everything its commands said."""

    desk: Program
    front: Front
    hidden: dict[str, str]
    said: dict[str, str] = field(default_factory=dict)

    def keep(self, what: str, ended: Ended) -> Ended:
        self.said[f"{len(self.said)} {what}, stdout"] = ended.out
        self.said[f"{len(self.said)} {what}, stderr"] = ended.err
        return ended

    def call(self, *words: str, **environment: str) -> Ended:
        return self.keep(" ".join(words), self.desk.call(*words, **environment))

    def search(self) -> Search:
        return Search(self.hidden, sorted(self.front.signatures))

    def leaks(self, *exempt: str) -> list[Leak]:
        """Whatever shows, on either stream or in any file; ``exempt`` names files that hold it on purpose."""
        search = self.search()
        found = [leak for where, text in self.said.items() for leak in search.of(where, text)]
        for where, content in artefacts(self.desk.folder):
            if where not in exempt:
                found += search.of(where, content)
        return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, Path]]:
    folder = tmp_path_factory.mktemp("quoting")
    world = describe_world(folder, ROWS, {"run_base_s": 0.3})
    with program(folder, "--world", str(world)) as made:
        yield made, world


@pytest.fixture
def stage(served: tuple[Program, Path], tmp_path: Path) -> Iterator[Stage]:
    """A job of a few slices behind the front, with temporary keys and a query from the environment."""
    behind, _ = served
    behind.emulated.reset()
    behind.emulated.behave(run_base_s=0.3)
    secret = behind.emulated.credentials["BCE_SECRET_ACCESS_KEY"]
    hidden = {"the secret key": secret, "the session token": TOKEN}
    with quoting_front(behind.emulated.endpoint, hidden) as front:
        environment = {**behind.environment, "BCE_SECURITY_TOKEN": TOKEN, "CUSTOMER": CUSTOMER}
        desk = Program(tmp_path, behind.emulated, environment)
        made = Stage(desk, front, {**hidden, "the customer": CUSTOMER})
        write_jobs(made)
        yield made
        for child in desk.children:
            if child.poll() is None:
                child.kill()
            child.communicate()


def write_jobs(stage: Stage, credentials: str = "auto") -> None:
    (stage.desk.folder / "jobs.toml").write_text(
        f'[service]\nendpoint = "{stage.front.endpoint}"\ncredentials = "{credentials}"\n'
        '[limits]\ndisk_reserve = "1MB"\nrequests_per_second = 500\n'
        '[[jobs]]\nname = "web"\nlogstore = "web"\nmax_lines = 1000\ndestination = "archive"\n'
        f"from = {DAY[0]}\nto = {DAY[1]}\nquery = \"match * and not '${{CUSTOMER}}'\"\nattempts = 9\n",
        encoding="utf-8",
    )


# --- a whole export


def test_nothing_a_run_leaves_shows_a_secret(stage: Stage, served: tuple[Program, Path]) -> None:
    """Killed, resumed, with every line that can be logged, and looked at with every command: no key, token,
    signature, link or value of the environment on any stream or in any file."""
    desk = stage.desk
    loud = ("run", "--json", "--verbose", "--report", "report.json")
    child = desk.start(*loud, "--log-format", "json", "--log-file", "first.log", PYTHONASYNCIODEBUG="1")
    while child.poll() is None and stage.front.seen["file"] < 2:
        time.sleep(0.01)
    child.kill()
    stage.keep("run, killed", desk.end(child))
    ended = stage.call(*loud, "--log-format", "console")
    assert ended.exit == 0, ended.err[-3000:]
    same_rows(desk.archived(), truth(served[1]))
    quoted = stage.front.quoted
    assert all(quoted[kind] for kind in ("create", "list", "link", "query", "file")), quoted
    look_at_everything(stage)
    leaks = stage.leaks()
    # The query is what the job is: the manifest alone holds it, to tell when it has changed.
    query = [leak for leak in leaks if leak.what == "the customer"]
    assert {leak.where for leak in query} <= {"orchestrator.db", "orchestrator.db as text"}
    assert [leak for leak in leaks if leak not in query] == []
    shown = "".join(stage.said.values())
    assert "slice.fault" in shown, "nothing was told, so nothing was shown to be hidden"
    assert "[redacted]" in shown


EVERYTHING = """
import json, sys
from orchestrator.cli import main
for words in json.loads(sys.argv[1]):
    main(words)
"""


def look_at_everything(stage: Stage) -> None:
    """Every command that shows, in every form; in one process, because starting one takes longer."""
    rows = [json.loads(line) for line in stage.call("manifest", "--format", "jsonl").out.splitlines()]
    every = [
        *([name, *json] for name in ("status", "gaps", "manifest", "check") for json in ([], ["--json"])),
        ["manifest", "--format", "csv", "-o", "ledger.csv"],
        ["manifest", "--format", "sha256sums"],
        ["plan", "--json"],
        ["verify", "--verbose"],
        *(["story", row["slice"], *json] for row in rows for json in ([], ["--json"])),
    ]
    done = subprocess.run(
        [sys.executable, "-c", EVERYTHING, json.dumps(every)],
        cwd=stage.desk.folder,
        env=stage.desk.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout.count('"version":1') == 5 + len(rows)
    stage.keep("everything", Ended(0, done.stdout, done.stderr))


def test_a_refusal_that_quotes_everything_shows_nothing(stage: Stage) -> None:
    """A wrong secret is refused in words that hold it: exit 5, the reason told, the secret not."""
    wrong = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
    stage.front.secrets = {"wrong": wrong, **stage.front.secrets}
    stage.hidden["the wrong secret"] = wrong
    for words in (("run", "--verbose", "--json"), ("plan",)):
        assert stage.call(*words, BCE_SECRET_ACCESS_KEY=wrong).exit == 5
    assert stage.leaks() == []


# --- a defect

DEFECT = """
import sys
from orchestrator.remote import files, session

async def broken(self, call, headers, timeout_s):
    self._calls = getattr(self, "_calls", 0) + 1
    if self._calls > 6:
        try:
            raise KeyError(str(headers))
        except KeyError as first:
            first.add_note(f"signed {headers['Authorization']}")
            raise RuntimeError(f"cannot send {headers} to {self._endpoint}") from first
    return await real(self, call, headers, timeout_s)

async def lost(self, link, address, headers):
    raise AssertionError(f"cannot open {link} {link.reveal()} {address!r}")

real = session.Session._send
if sys.argv[1] == "session":
    session.Session._send = broken
else:
    files.HttpFileSource._get = lost
from orchestrator.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("place", ["session", "files"])
def test_the_traceback_of_a_defect_shows_no_secret(stage: Stage, place: str) -> None:
    """Exit 1 says where the traceback is; it stands in the log file alone, with causes and notes, without
    what they quote."""
    stage.front.silent = True
    (stage.desk.folder / "defect.py").write_text(DEFECT)
    words = [sys.executable, "-X", "dev", "defect.py", place, "run", "--json", "--verbose"]
    done = subprocess.run(
        words,
        cwd=stage.desk.folder,
        env=stage.desk.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    ended = stage.keep("defect", Ended(done.returncode, done.stdout, done.stderr))
    assert ended.exit == 1, ended.err
    assert ended.document["error"]["code"] == "bug"
    log = (stage.desk.folder / "orchestrator.log").read_text()
    assert "Traceback" in log
    assert "Traceback" not in ended.err
    assert ("cannot send" if place == "session" else "cannot open") in log
    stage.hidden.pop("the customer")
    assert CUSTOMER not in log + ended.out + ended.err
    assert stage.leaks() == []


# --- other processes


def test_no_process_is_given_a_secret(stage: Stage) -> None:
    """Keys from a command: neither arguments nor environment of the run, or of what it starts, hold them."""
    stage.front.silent = True
    folder, environment = stage.desk.folder, dict(stage.desk.environment)
    keys = {name: environment.pop(name) for name in list(environment) if name.startswith("BCE_")}
    given = {
        "access_key_id": keys["BCE_ACCESS_KEY_ID"],
        "secret_access_key": keys["BCE_SECRET_ACCESS_KEY"],
        "security_token": TOKEN,
        "expires_at": int(time.time()) + 301,
    }
    (folder / "keys.json").write_text(json.dumps(given))
    (folder / "keys.sh").write_text("#!/bin/sh\nsleep 0.3\nexec cat keys.json\n")
    write_jobs(stage, f"exec:/bin/sh {folder}/keys.sh")
    stage.desk.environment = environment
    child = stage.desk.start("run", "--json", "--verbose")
    stage.hidden.pop("the customer")  # the environment holds it, because the user put it there
    search, looked, found = stage.search(), set(), []
    while child.poll() is None:
        for pid in family_of(child.pid):
            for what in ("cmdline", "environ"):
                try:
                    content = Path(f"/proc/{pid}/{what}").read_bytes()
                except OSError:  # it has ended meanwhile
                    continue
                if content and (pid, content) not in looked:
                    looked.add((pid, content))
                    found += search.of(f"/proc/{pid}/{what}", content)
        time.sleep(0.02)
    ended = stage.keep("run", stage.desk.end(child))
    assert ended.exit == 0, ended.err
    assert found == []
    assert len({pid for pid, _ in looked}) >= 2, "the command was never met"
    assert stage.leaks("keys.json") == []
    assert CUSTOMER not in ended.out + ended.err


def family_of(pid: int) -> list[int]:
    """The process and its children, as Linux tells them."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(other for child in children for other in family_of(int(child)))]


# --- the search itself


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "quoted": lambda text: quote(text, safe=""),
    "quoted twice": lambda text: quote(quote(text, safe=""), safe=""),
    "JSON": json.dumps,
    "JSON in JSON": lambda text: json.dumps(json.dumps({"a": text})),
    "JSON with slashes escaped": lambda text: json.dumps(text).replace("/", "\\/"),
    "JSON by numbers": lambda text: "".join(c if c.isalnum() else f"\\u{ord(c):04x}" for c in text),
    "HTML": html.escape,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of more": lambda text: base64.b64encode(f"user:{text}!".encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "its first half": lambda text: text[: len(text) // 2],
    "its second half": lambda text: text[len(text) // 2 :],
    "without its ends": lambda text: text[3:-3],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_search_finds_what_is_planted(tmp_path: Path, spelling: str) -> None:
    """In a log, in a page of SQLite, on a stream: whatever the spelling, and half a secret too."""
    import sqlite3

    signature = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    hidden = {"key": "ebdf1e0bd1c24e0cb6b2f1a0c8f9b7aa", "token": TOKEN, "name": CUSTOMER}
    search = Search(hidden, [signature])
    spell = SPELLINGS[spelling]
    for name, value in [*hidden.items(), ("a signature", signature)]:
        if name == "a signature" and spelling in ("base64", "base64 of more", "hex"):
            continue  # nobody puts a signature through base64
        planted = spell(value)
        (tmp_path / "run.log").write_text(json.dumps({"message": f"it said {planted} and more"}))
        with sqlite3.connect(tmp_path / "some.db") as database:
            database.execute("create table if not exists t (x)")
            database.execute("insert into t values (?)", (f"{'x' * 4090}{planted}",))
        database.close()
        met = {leak.where for where, content in artefacts(tmp_path) for leak in search.of(where, content)}
        assert met >= {"run.log", "some.db as text"}, (name, planted)
        (tmp_path / "some.db").unlink()
    assert search.of("clean", f"[redacted] {'0' * 64} bce-auth-v1/[redacted] match *") == []


def test_a_signature_header_is_found_whoever_signed(tmp_path: Path) -> None:
    """Whatever follows the name of the scheme is a leak, known or not."""
    assert Search({}).of("x", "Authorization: bce-auth-v1/somebody/2026-01-14T00:00:00Z/1800//00ff")


# --- values in memory


def holders(secret: str, link: str) -> list[object]:
    """One of everything that holds a secret or a link while the program runs."""
    from orchestrator.app.library import JobFile
    from orchestrator.core.job import Compression, DestinationSpec, Order, Output, ServedFormat, ServiceSpec
    from orchestrator.core.model import LinkExpired, Ticket
    from orchestrator.core.redact import PresignedLink, Redactor, Secret
    from orchestrator.core.signing import Credentials, presign
    from orchestrator.core.window import Window
    from orchestrator.errors import OrchestratorError
    from orchestrator.logs import Redaction
    from orchestrator.remote.credentials import StaticCredentials, find_credentials
    from orchestrator.remote.proxies import Proxies

    credentials = Credentials("an-id", Secret(secret), Secret(secret[::-1] + secret))
    ticket = Ticket(
        "0" * 16,
        "web",
        "o-0-1",
        Window(0, 60),
        Window(0, 60),
        10,
        Order.ASC,
        ServedFormat.JSON,
        Output.RAW,
        Compression.NONE,
        "auto",
        DestinationSpec("/archive"),
        PresignedLink(link),
    )
    found = find_credentials(
        "env",
        environment={"BCE_ACCESS_KEY_ID": "an-id", "BCE_SECRET_ACCESS_KEY": secret},
        home=Path("/"),
        folder=Path("/"),
        clock=None,  # type: ignore[arg-type]  # never asked
    )
    jobs = JobFile.from_dict(
        {
            "service": {"region": "bj"},
            "jobs": [
                {"name": "a", "logstore": "a", "destination": "x", "from": "2026-01-14", "query": "${Q}"}
            ],
        },
        environment={"Q": "match *"},
    )
    return [
        credentials,
        StaticCredentials(credentials),
        found,
        ticket,
        LinkExpired(3),
        presign(credentials, host="h", path="/f", timestamp_s=0),
        Redactor([secret, link]),
        Redaction((secret, link)),
        Proxies.from_environment({"http_proxy": f"http://me:{secret}@proxy:3128"}),
        ServiceSpec("", "http://h"),
        jobs,
        OrchestratorError(f"about {Secret(secret)} and {PresignedLink(link)}"),
    ]


def drawn(value: object) -> str:
    """A traceback with local variables, as rich draws one."""
    from rich.console import Console
    from rich.traceback import Traceback

    console = Console(width=200, file=io.StringIO())
    try:
        raise ValueError(f"cannot use {value}")
    except ValueError as error:
        trace = Traceback.from_exception(type(error), error, error.__traceback__, show_locals=True)
    with console.capture() as captured:
        console.print(trace)
    assert "locals" in captured.get()
    return captured.get()


def test_no_value_in_memory_shows_what_it_holds() -> None:
    """However a value is printed, unfolded or drawn into a traceback: hidden stays hidden."""
    secret = "ebdf1e0bd1c24e0cb6b2f1a0c8f9b7aa"
    link = "https://h.example/f?authorization=bce-auth-v1%2Fme%2F2026%2F18%2F%2F" + "0f1e" * 16
    search = Search({"secret": secret}, ["0f1e" * 16])
    for value in holders(secret, link):
        shown = [
            repr(value),
            str(value),
            f"{value}",
            f"{value!r:>60}",
            f"{value!s:>60}",
            str([value]),
        ]
        if dataclasses.is_dataclass(value):
            shown += [str(dataclasses.asdict(value)), str(dataclasses.astuple(value))]  # type: ignore[call-overload]
        shown.append(json.dumps({"value": value}, default=str))
        shown.append(drawn(value))
        for text in shown:
            assert search.of(type(value).__name__, text) == []
