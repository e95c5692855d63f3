"""Job files to start from, and their JSON schema: the example with every key, a starter for one logstore.

All of it is drawn from the table of keys, so none of it can say something else than the reader of job files
does."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.core.jobfile_notyet import NOT_YET
from orchestrator.core.jobfile_values import allowed_text
from orchestrator.core.jobkeys import COLUMN_TYPES, SECTIONS, Key, Kind, Section, keys_of

__all__ = ["example_job_file", "job_file_schema", "starter", "toml_text"]

_LINE = 118


def toml_text(value: object) -> str:
    """A value as TOML writes it, on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
        case list() | tuple():
            return f"[{', '.join(toml_text(item) for item in value)}]"
        case dict():
            return "{ " + ", ".join(f"{key} = {toml_text(item)}" for key, item in value.items()) + " }"
    return str(value)


def _absence(key: Key) -> str:
    """What of a key this version refuses, as a sentence after its meaning."""
    refused = NOT_YET.get((key.section, key.name))
    if not refused:
        return ""
    missing = [choice for choice in key.choices if refused(choice)]
    if missing:
        return f" Not in this version: {', '.join(toml_text(choice) for choice in missing)}."
    if key.form and "s3://" in key.form.words and not refused("folder"):
        return " Not in this version: s3:// and bos://."
    return " Not in this version."


def example_job_file() -> str:
    """jobs.example.toml: every key with its meaning and its default; what is optional is commented out."""
    parts = [
        "# Every key of a job file. A key that is commented out shows its default, or an example where it is",
        "# off by default; docs/job-file.md has the same as tables. This file is valid as it stands.",
        "",
    ]
    for section in SECTIONS:
        if section.name == "jobs":
            parts += [
                "",
                "# What the jobs below have in common: every key of [[jobs]] but `name`.",
                "[defaults]",
            ]
        header = section.header.replace("NAME", "cold")
        parts += ["", f"# {section.meaning}", header] if header else [f"# {section.meaning}"]
        for key in keys_of(section.name).values():
            parts += ["", *_wrapped(key.meaning + _absence(key)), *_wrapped(_status(key)), _example_line(key)]
        if section.name == "service":
            parts += ["", "# A second service.", "[services.gz]", 'region = "gz"']
    return "\n".join(parts) + "\n"


def _status(key: Key) -> str:
    allowed = allowed_text(key)
    if key.default is not None:
        return f"Allowed: {allowed}; the default:"
    if not key.needed:
        return f"Off by default. Allowed: {allowed}"
    return (
        f"Required. Allowed: {allowed}"
        if key.needed == "always"
        else f"Required {key.needed}. Allowed: {allowed}"
    )


def _example_line(key: Key) -> str:
    value = key.example if key.default is None else key.default
    text = str(value) if key.kind is Kind.MOMENT else toml_text(value)
    active = key.needed == "always" or (key.section, key.name) in {
        ("service", "region"),
        ("jobs", "destination"),
    }
    return f"{key.name} = {text}" if active else f"# {key.name} = {text}"


def _wrapped(text: str) -> list[str]:
    lines = ["#"]
    for word in text.split(" "):
        if len(lines[-1]) + len(word) >= _LINE:
            lines.append("#")
        lines[-1] += f" {word}"
    return lines


def starter(
    *,
    logstore: str,
    region: str = "",
    endpoint: str = "",
    project: str = "default",
    destination: str = "archive",
    since: object = "yesterday",
    name: str = "",
) -> str:
    """A short commented job file for one logstore. ``region`` or ``endpoint`` is needed; ``since`` is what
    `from` takes: text, a date or a date-time. Whatever the arguments are, the result is TOML."""
    where = f"endpoint = {toml_text(endpoint)}" if endpoint else f"region = {toml_text(region)}"
    start = toml_text(since) if isinstance(since, str) else str(since)
    return f"""\
# A job file: what to export, and where to. Every key: docs/job-file.md, jobs.example.toml
#   orchestrator check     is this file right?
#   orchestrator plan      what would a run do?
#   orchestrator run       make it true; safe to repeat, to kill and to run again

[service]
{where}
# credentials = "auto"          # BCE_ACCESS_KEY_ID and BCE_SECRET_ACCESS_KEY, else ~/.bce/config.json

[[jobs]]
name        = {toml_text((name or logstore)[:64])}
project     = {toml_text(project)}
logstore    = {toml_text(logstore)}
query       = "match *"          # a search, without SQL
from        = {start}   # inclusive: a date, a date-time, or relative, such as "today-7d"
# to        = "today"           # exclusive; left out: up to now, less lag
# lag       = "5m"              # how long rows may be on their way
# timezone  = "Asia/Shanghai"   # of dates and of folder names; UTC when left out
destination = {toml_text(destination)}
"""


def job_file_schema() -> dict[str, Any]:
    """A JSON schema (2020-12) of the job file, for editors; what spans several keys only the reader can
    judge."""
    tables = {section.name: _table_schema(section) for section in SECTIONS}
    properties = {key.name: _value_schema(key) for key in keys_of("").values()}
    properties["service"] = tables["service"]
    properties["services"] = {"type": "object", "additionalProperties": tables["service"]}
    properties["limits"] = tables["limits"]
    properties["data_plane"] = tables["data_plane"]
    properties["destinations"] = {"type": "object", "additionalProperties": tables["destinations"]}
    properties["defaults"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {key.name: _value_schema(key) for key in keys_of("defaults").values()},
    }
    properties["jobs"] = {"type": "array", "minItems": 1, "items": tables["jobs"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "orchestrator job file",
        "type": "object",
        "additionalProperties": False,
        "required": ["jobs"],
        "properties": properties,
    }


def _table_schema(section: Section) -> dict[str, Any]:
    keys = keys_of(section.name).values()
    required = {"jobs": ["name"], "destinations": ["url"]}.get(
        section.name
    )  # the rest may come from [defaults]
    schema: dict[str, Any] = {
        "type": "object",
        "description": section.meaning,
        "additionalProperties": False,
        "properties": {key.name: _value_schema(key) for key in keys},
    }
    return schema | ({"required": required} if required else {})


def _value_schema(key: Key) -> dict[str, Any]:
    schema: dict[str, Any] = {"description": f"{key.meaning} Allowed: {allowed_text(key)}"}
    if key.default is not None:
        schema["default"] = key.default
    match key.kind:
        case Kind.WHOLE | Kind.NUMBER:
            schema["type"] = "integer" if key.kind is Kind.WHOLE else "number"
            bounds = {"minimum": key.least, "maximum": key.most}
            return schema | {name: bound for name, bound in bounds.items() if bound is not None}
        case Kind.SWITCH:
            return schema | {"type": "boolean"}
        case Kind.COMMAND:
            return schema | {"type": "array", "minItems": 1, "items": {"type": "string"}}
        case Kind.NAMES:
            return schema | {"type": ["string", "array"], "items": {"type": "string"}}
        case Kind.COLUMNS:
            return schema | {"type": "object", "additionalProperties": {"enum": list(COLUMN_TYPES)}}
    schema["type"] = "string"
    if key.choices:
        return schema | {"anyOf": [{"enum": list(key.choices)}, {"pattern": r"\$\{"}]}
    return schema
