"""Which services and which folders or buckets does a job file name, and does any of them lie inside
another?"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address

from orchestrator.core.complaint import Objection, Wrong, nearest
from orchestrator.core.job import DestinationSpec, ServiceSpec
from orchestrator.core.jobfile_tables import Findings, Table
from orchestrator.core.jobkeys import REGIONS

__all__ = ["Base", "lies_inside", "read_destination", "read_service", "service_identity"]

_OBJECT_URL = re.compile(r"(s3|bos)://")
_REGION_OF_HOST = re.compile(r"bls-log\.([a-z0-9-]+)\.baidubce\.com", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Base:
    """What relative paths start from: the job file's folder, absolute, and the environment for ``~``."""

    folder: str
    env: Mapping[str, str]

    def absolute(self, path: str) -> str:
        """An absolute path without ``.`` and ``..``. Raises Wrong for ``~`` without HOME."""
        if path == "~" or path.startswith("~/"):
            home = self.env.get("HOME", "")
            if not home:
                raise Wrong("a path below ~, and HOME is not set", "a path without ~")
            path = home + path[1:]
        joined = posixpath.normpath(posixpath.join(self.folder, path))
        return joined[1:] if joined.startswith("//") else joined  # POSIX gives two leading slashes a meaning

    def place(self, text: str) -> str:
        """An object URL as it is, without a slash at its end; a folder made absolute. Raises Wrong as
        ``absolute``."""
        return text.rstrip("/") if _OBJECT_URL.match(text) else self.absolute(text)


def lies_inside(inner: str, outer: str) -> bool:
    """Whether a file or folder is ``outer`` or stands below it; both absolute, or both object URLs."""
    return inner == outer or inner.startswith(f"{outer.rstrip('/')}/")


def read_service(name: str, table: Table, base: Base, findings: Findings) -> ServiceSpec | None:
    """One [service] table as a value; None after a complaint."""
    values, broken = table.values, table.broken
    region, endpoint = str(values.get("region", "")), str(values.get("endpoint", "")).rstrip("/")
    if not table.has("region") and not table.has("endpoint"):
        findings.add(
            table.where("region"),
            Objection("required, and missing", f"a region ({', '.join(REGIONS)}) or `endpoint`"),
        )
        return None
    if endpoint and ":" in _host(endpoint) and not _is_ipv6(_host(endpoint)):
        findings.add(
            table.where("endpoint"),
            Objection("no IPv6 address between the brackets", "http(s)://HOST[:PORT]"),
        )
        return None
    named = _REGION_OF_HOST.fullmatch(_host(endpoint))
    if region and not endpoint and region not in REGIONS and "endpoint" not in broken:
        allowed = f"{', '.join(REGIONS)}; any other service by `endpoint`"
        findings.add(
            table.where("region"), Objection("not a known region", allowed, nearest(region, REGIONS))
        )
        return None
    if named and region and named[1].lower() != region:
        findings.add(
            table.where("endpoint"),
            Objection("the endpoint of another region than `region`", "one of the two"),
        )
        return None
    ca_file = _absolute(table, "ca_file", base, findings)
    credentials = str(values["credentials"]) if "credentials" in values else "auto"
    if credentials.startswith("file:"):
        try:
            credentials = f"file:{base.absolute(credentials.removeprefix('file:'))}"
        except Wrong as wrong:
            findings.add(table.where("credentials"), wrong.objection)
    if broken:
        return None
    return ServiceSpec(
        name=name,
        endpoint=endpoint or f"https://bls-log.{region}.baidubce.com",
        region=region or (named[1].lower() if named else ""),
        credentials=credentials,
        ca_file=ca_file,
    )


def service_identity(service: ServiceSpec) -> str:
    """What names a service in a job's identity: its region, or its host when it stands at an address of its
    own."""
    host = _host(service.endpoint)
    named = _REGION_OF_HOST.fullmatch(host)
    return named[1].lower() if named else host.lower()


def read_destination(table: Table, base: Base, findings: Findings) -> DestinationSpec | None:
    """One [destinations.NAME] table as a value; None after a complaint."""
    if not table.has("url"):
        findings.add(
            table.where("url"),
            Objection("required, and missing", "a folder, s3://BUCKET/PREFIX or bos://BUCKET/PREFIX"),
        )
        return None
    if table.broken:
        return None
    try:
        url = base.place(table.values["url"])
    except Wrong as wrong:
        findings.add(table.where("url"), wrong.objection)
        return None
    return DestinationSpec(
        url=url,
        endpoint=str(table.values.get("endpoint", "")).rstrip("/"),
        region=table.values.get("region", ""),
        credentials=table.values["credentials"],
        addressing=table.values["addressing"],
    )


def _absolute(table: Table, key: str, base: Base, findings: Findings) -> str:
    if key not in table.values:
        return ""
    try:
        return base.absolute(table.values[key])
    except Wrong as wrong:
        findings.add(table.where(key), wrong.objection)
        return ""


def _is_ipv6(host: str) -> bool:
    try:
        IPv6Address(host)
    except ValueError:
        return False
    return True


def _host(endpoint: str) -> str:
    """The host of a URL that has the form of jobkeys' endpoint."""
    rest = endpoint.partition("://")[2]
    return rest.partition("]")[0].removeprefix("[") if rest.startswith("[") else rest.partition(":")[0]
