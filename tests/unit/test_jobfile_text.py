"""What we write for people to start from is itself a valid job file, and complete."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import settings
from orchestrator.core.complaint import Complaint
from orchestrator.core.jobfile import examine, read
from orchestrator.core.jobfile_text import example_job_file, job_file_schema, starter, toml_text
from orchestrator.core.jobfile_values import allowed_text, read_value
from orchestrator.core.jobkeys import KEYS, SECTIONS, Key, Kind, keys_of
from tests.unit.jobfile_cases import NOW_S

EXAMPLE_FILE = Path(__file__).parents[2] / "jobs.example.toml"
EXAMPLE = EXAMPLE_FILE.read_text(encoding="utf-8")
OPTIONAL = [index for index, line in enumerate(EXAMPLE.splitlines()) if re.match(r"# [a-z_]+ = ", line)]


def complaints_of(text: str) -> tuple[Complaint, ...]:
    return examine(
        tomllib.loads(text),
        now_s=NOW_S,
        zones=settings.zone,
        env={},
        base_folder="/srv",
        file="jobs.example.toml",
    )[1]


def test_the_example_is_what_the_table_says() -> None:
    """jobs.example.toml is drawn from the table of keys: write it anew when this fails."""
    assert example_job_file() == EXAMPLE


def test_the_example_is_valid_as_it_stands() -> None:
    """Somebody who copies the example has a job file."""
    (job,) = settings.load(EXAMPLE_FILE, now_s=NOW_S, env={}).jobs
    assert job.name == "web-access"


@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"{key.section}.{key.name}")
def test_the_example_shows_every_key(key: Key) -> None:
    """Every key stands in the example with its default, or an example where there is none."""
    value = key.example if key.default is None else key.default
    text = str(value) if key.kind is Kind.MOMENT else toml_text(value)
    assert re.search(rf"^(# )?{key.name} = {re.escape(text)}$", EXAMPLE, re.MULTILINE)


@pytest.mark.parametrize("index", OPTIONAL, ids=lambda index: EXAMPLE.splitlines()[index][2:40])
def test_every_optional_line_can_be_taken(index: int) -> None:
    """Uncommenting a line of the example gives a valid file, or says that this version cannot do it yet."""
    lines = EXAMPLE.splitlines()
    lines[index] = lines[index].removeprefix("# ")
    assert {complaint.problem for complaint in complaints_of("\n".join(lines))} <= {
        "not available in this version"
    }


def test_most_lines_of_the_example_are_optional() -> None:
    """All but the few keys that are needed are commented out."""
    assert len(OPTIONAL) == len(KEYS) - sum(key.needed == "always" for key in KEYS) - 2  # region, destination


@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"{key.section}.{key.name}")
def test_defaults_and_examples_are_allowed_values(key: Key) -> None:
    """What the table gives as default or example is what it allows, and it says what that is."""
    assert key.meaning.endswith(".")
    assert allowed_text(key)
    assert key.default is None or key.example is None
    for value in (key.default, key.example):
        if value is not None:
            read_value(key, value)


def test_sections_hold_all_keys() -> None:
    """No key stands in a section that nobody reads, and names are unique in each."""
    assert sum(len(keys_of(section.name)) for section in SECTIONS) == len(KEYS)


def test_the_starter_runs_as_it_is() -> None:
    """What `init` writes is a valid job file for exactly what was asked."""
    text = starter(logstore="web-access", region="gz", project="shop", destination="out", since="today-7d")
    job_file = read(
        tomllib.loads(text), now_s=NOW_S, zones=settings.zone, env={}, base_folder="/srv", file="jobs.toml"
    )
    (job,) = job_file.jobs
    assert (job.name, job.identity.project, job.identity.logstore) == ("web-access", "shop", "web-access")
    assert job.service.region == "gz"
    assert job.destination is not None
    assert job.destination.url == "/srv/out"
    assert job.from_s == int(datetime(2026, 1, 8, tzinfo=UTC).timestamp())


def test_the_starter_takes_an_endpoint_and_a_date() -> None:
    """An endpoint stands in for a region, and a date for words."""
    text = starter(logstore="a" * 100, endpoint="http://127.0.0.1:8700", since=date(2026, 1, 1))
    assert "region" not in tomllib.loads(text)["service"]
    assert complaints_of(text) == ()
    assert tomllib.loads(text)["jobs"][0]["from"] == date(2026, 1, 1)
    assert complaints_of(re.sub(r"(?m)^# (?=[a-z]+ +=)", "", text)) == ()


@given(
    name=st.text(st.characters(exclude_categories=["Cs"])),
    logstore=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_the_starter_is_toml_whatever_it_is_told(name: str, logstore: str) -> None:
    """No argument breaks out of its quotes."""
    job = tomllib.loads(starter(logstore=logstore, name=name, region=name))["jobs"][0]
    assert job["logstore"] == logstore
    assert job["name"] == (name or logstore)[:64]


def test_the_schema_knows_every_key() -> None:
    """The JSON schema is JSON, closed, and has every key of every section."""
    schema = job_file_schema()
    assert json.loads(json.dumps(schema)) == schema
    properties = schema["properties"]
    places = {
        "": schema,
        "service": properties["services"]["additionalProperties"],
        "limits": properties["limits"],
        "data_plane": properties["data_plane"],
        "destinations": properties["destinations"]["additionalProperties"],
        "jobs": properties["jobs"]["items"],
    }
    for section in SECTIONS:
        assert set(keys_of(section.name)) <= set(places[section.name]["properties"])
        assert places[section.name]["additionalProperties"] is False
    assert "name" not in properties["defaults"]["properties"]
    assert places["jobs"]["properties"]["max_lines"]["maximum"] == 1_000_000
    assert {"enum": ["asc", "desc"]} in places["jobs"]["properties"]["order"]["anyOf"]
    assert places["jobs"]["properties"]["lag"]["default"] == "5m"
