"""Which implementation stands behind which port? A job file becomes a room and one context per job.

One gate for all services, because the ceilings of ``[limits]`` hold for all signed calls together; one
session, client and credential source per service; one destination per folder.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.app.fleets import as_listed, as_remembered
from orchestrator.app.timekeeping import TimedDataPlane, TimedFiles, Timekeeper
from orchestrator.core.fleets import Resolved
from orchestrator.core.job import DestinationSpec, Job, JobFile, Output, ServiceSpec
from orchestrator.core.signing import Credentials
from orchestrator.dataplane.destination import FolderDestination
from orchestrator.dataplane.extras import need_parquet
from orchestrator.dataplane.inline import InlineDataPlane
from orchestrator.engine.context import JobContext, Room, StopSignal
from orchestrator.engine.gate import RequestGate
from orchestrator.engine.steady import SteadyClock
from orchestrator.errors import CredentialsError, UsageError
from orchestrator.ports.control import NoStopwatch, Observer
from orchestrator.ports.files import DataPlane
from orchestrator.ports.store import ManifestWriter
from orchestrator.ports.time import Clock, Rng
from orchestrator.remote.client import BlsClient
from orchestrator.remote.credentials import CredentialSource, find_credentials
from orchestrator.remote.files import HttpFileSource
from orchestrator.remote.proxies import Proxies
from orchestrator.remote.session import Session
from orchestrator.settings import home_folder, zone

__all__ = ["House", "NoBoundary", "Outside", "asking", "furnished", "services_of"]


@dataclass(frozen=True, slots=True)
class Outside:
    """What a call brings along: clocks and chance, who watches, how it is stopped, and who must be told of
    secrets."""

    environment: Mapping[str, str]
    clock: Clock
    rng: Rng
    observer: Observer
    stop: StopSignal = field(default_factory=StopSignal)
    remember_secrets: Callable[..., None] = lambda *_: None
    timekeeper: Timekeeper | None = None
    """Notes where the time of the run goes."""


@dataclass(frozen=True, slots=True)
class House:
    """A job file made ready to run."""

    contexts: tuple[JobContext, ...]
    room: Room
    resolved: Resolved
    """What the patterns of the job file came to; its ``job_file`` has every job there is a context for."""

    @property
    def job_file(self) -> JobFile:
        return self.resolved.job_file


class NoBoundary:
    """The Boundary port in production: nothing happens at a fault point."""

    def reached(self, name: str) -> None:
        """Go on."""


@asynccontextmanager
async def furnished(
    job_file: JobFile,
    manifest: ManifestWriter,
    outside: Outside,
    *,
    offline: bool = False,
    quiet_s: float = 0.0,
) -> AsyncIterator[House]:
    """The house of ``job_file`` for as long as the context lasts; connections are closed with it.

    Contacts nobody for ``quiet_s`` seconds: what an earlier process sent in its last second counts too; then
    asks for the logstores of fleets, and without a fleet for nothing yet. ``offline`` looks for no
    credentials: whatever asks the service then fails. Session and engine share one steady clock, so that the
    service's time means the same to both. Raises CredentialsError when a service's credentials cannot be
    found, UsageError for proxies, certificates, destinations and outputs that cannot be used.
    """
    outside = replace(outside, clock=SteadyClock(outside.clock))
    if any(job.output is Output.PARQUET for job in job_file.jobs):
        need_parquet()
    async with AsyncExitStack() as cleanup:
        gate = _gate(job_file, outside, quiet_s)
        proxies = Proxies.from_environment(outside.environment)
        clients = _clients(job_file, gate, proxies, outside, cleanup, offline=offline)
        resolved = await (
            as_remembered(job_file, manifest) if offline else as_listed(job_file, clients, manifest)
        )
        job_file = resolved.job_file
        data_plane = _data_plane(
            HttpFileSource(proxies=proxies, ca_file=_one_ca_file(clients), gate=gate), outside, cleanup
        )
        destinations = {
            spec: FolderDestination(spec.url)
            for spec in dict.fromkeys(_destination(job) for job in job_file.jobs)
        }
        room = Room(
            manifest=manifest,
            data_plane=data_plane,
            clock=outside.clock,
            rng=outside.rng,
            observer=outside.observer,
            boundary=NoBoundary(),
            limits=job_file.limits,
            requests=lambda: gate.counts,
            stop=outside.stop,
            stopwatch=outside.timekeeper or NoStopwatch(),
        )
        contexts = tuple(
            replace(
                _context(job, clients[job.service], destinations[_destination(job)]),
                stopped=resolved.stopped.get(job.name),
            )
            for job in job_file.jobs
        )
        yield House(contexts, room, resolved)


@asynccontextmanager
async def asking(job_file: JobFile, outside: Outside) -> AsyncIterator[Mapping[ServiceSpec, BlsClient]]:
    """Only the doors to the services of ``job_file``, below its ceilings: for what asks and writes nothing.
    Raises CredentialsError, UsageError."""
    outside = replace(outside, clock=SteadyClock(outside.clock))
    async with AsyncExitStack() as cleanup:
        proxies = Proxies.from_environment(outside.environment)
        yield _clients(job_file, _gate(job_file, outside, 0.0), proxies, outside, cleanup)


def _data_plane(files: HttpFileSource, outside: Outside, cleanup: AsyncExitStack) -> DataPlane:
    cleanup.push_async_callback(files.close)
    timekeeper = outside.timekeeper
    plane = InlineDataPlane(files if timekeeper is None else TimedFiles(files, timekeeper))
    cleanup.push_async_callback(plane.close)
    return plane if timekeeper is None else TimedDataPlane(plane, timekeeper)


def _gate(job_file: JobFile, outside: Outside, quiet_s: float) -> RequestGate:
    return RequestGate(
        requests_per_s=job_file.limits.requests_per_s,
        queries=job_file.limits.queries,
        rng=outside.rng,
        quiet_s=quiet_s,
        stopwatch=outside.timekeeper,
    )


def _clients(
    job_file: JobFile,
    gate: RequestGate,
    proxies: Proxies,
    outside: Outside,
    cleanup: AsyncExitStack,
    *,
    offline: bool = False,
) -> dict[ServiceSpec, BlsClient]:
    clients = {}
    for service in services_of(job_file):
        keys = _NoKeys() if offline else _keys(service, job_file, outside)
        clients[service] = _client(service, keys, gate, proxies, outside, cleanup)
    return clients


def services_of(job_file: JobFile) -> tuple[ServiceSpec, ...]:
    """Every service the file's jobs are at."""
    jobs = (*job_file.jobs, *(fleet.template for fleet in job_file.fleets))
    return tuple(dict.fromkeys(job.service for job in jobs))


def _context(job: Job, client: BlsClient, destination: FolderDestination) -> JobContext:
    found = zone(job.timezone)
    if found is None:
        raise UsageError(f"job {job.name}: the time zone {job.timezone} cannot be found any more")
    return JobContext(job, found, tasks=client, counts=client, meta=client, destination=destination)


def _client(
    service: ServiceSpec,
    credentials: CredentialSource,
    gate: RequestGate,
    proxies: Proxies,
    outside: Outside,
    cleanup: AsyncExitStack,
) -> BlsClient:
    session = Session(
        service, credentials=credentials, gate=gate, clock=outside.clock, rng=outside.rng, proxies=proxies
    )
    cleanup.push_async_callback(session.close)
    return BlsClient(session, observer=outside.observer)


def _keys(service: ServiceSpec, job_file: JobFile, outside: Outside) -> CredentialSource:
    source = find_credentials(
        service.credentials,
        environment=outside.environment,
        home=_home(service.credentials, outside.environment),
        folder=Path(job_file.path).parent,
        clock=outside.clock,
    )
    return _Remembered(source, outside.remember_secrets)


def _home(credentials: str, environment: Mapping[str, str]) -> Path:
    """Where ``~`` leads; a container's user without a home needs none when the keys are in the environment.
    Raises UsageError."""
    in_environment = credentials == "auto" and bool(environment.get("BCE_ACCESS_KEY_ID"))
    return Path("/") if credentials == "env" or in_environment else Path(home_folder())


class _NoKeys:
    """The credential source of what never asks the service."""

    name = "none"

    async def current(self) -> Credentials:
        raise CredentialsError("this command works without the service and has no credentials")

    def invalidate(self, used: Credentials) -> None:
        """There are none."""


class _Remembered:
    """A credential source whose secrets are told to whoever redacts, each time they are read."""

    def __init__(self, source: CredentialSource, remember: Callable[..., None]) -> None:
        self._source = source
        self._remember = remember

    @property
    def name(self) -> str:
        return self._source.name

    async def current(self) -> Credentials:
        found = await self._source.current()
        token = found.security_token
        self._remember(found.secret_access_key.reveal(), token.reveal() if token else "")
        return found

    def invalidate(self, used: Credentials) -> None:
        self._source.invalidate(used)


def _destination(job: Job) -> DestinationSpec:
    if job.destination is None:
        raise UsageError(f"job {job.name} has no destination", hint="name a folder in `destination`")
    return job.destination


def _one_ca_file(clients: Mapping[ServiceSpec, BlsClient]) -> str:
    """Files come over one connection pool, so every service that names certificates must name the same
    ones."""
    named = {service.ca_file for service in clients if service.ca_file}
    if len(named) > 1:
        raise UsageError(
            f"services name different ca_files: {', '.join(sorted(named))}",
            hint="put all certificates into one PEM file",
        )
    return named.pop() if named else ""
