"""Which logstores does the service list, with what retention, and can they be counted?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.app.wiring import Outside, asking, services_of
from orchestrator.core.job import JobFile, ServiceSpec
from orchestrator.core.jobfile_places import service_identity
from orchestrator.core.model import Fault
from orchestrator.engine.faults import fault_of
from orchestrator.errors import CredentialsError, ServiceError
from orchestrator.ports.service import LogStore, MetaApi

__all__ = ["Listing", "Place", "list_logstores"]


@dataclass(frozen=True, slots=True)
class Place:
    """One project at one service: ``service`` is its region or endpoint host, as in a job's identity."""

    service: str
    endpoint: str
    project: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The logstores of every place, by name; ``faults`` are the places that could not be listed."""

    stores: tuple[tuple[Place, LogStore], ...]
    faults: tuple[tuple[Place, Fault], ...]


async def list_logstores(job_file: JobFile, outside: Outside, *, project: str = "") -> Listing:
    """Every logstore in the projects of the file's jobs, or in ``project``, at all of their services.

    Whether there is an index is asked of each logstore whose entry does not say; None when nobody says.
    Raises CredentialsError, UsageError; what one place refuses stands in the answer.
    """
    async with asking(job_file, outside) as clients:
        places = [
            (spec, Place(service_identity(spec), spec.endpoint, name))
            for spec in services_of(job_file)
            for name in ([project] if project else _projects(job_file, spec))
        ]
        answers = await asyncio.gather(*(_listed(clients[spec], place) for spec, place in places))
    stores: list[tuple[Place, LogStore]] = []
    faults: list[tuple[Place, Fault]] = []
    for (_, place), answer in zip(places, answers, strict=True):
        if isinstance(answer, Fault):
            faults.append((place, answer))
        else:
            stores += [(place, store) for store in answer]
    return Listing(tuple(stores), tuple(faults))


def _projects(job_file: JobFile, spec: ServiceSpec) -> Sequence[str]:
    jobs = (*job_file.jobs, *(fleet.template for fleet in job_file.fleets))
    return sorted({job.identity.project for job in jobs if job.service == spec})


async def _listed(meta: MetaApi, place: Place) -> Sequence[LogStore] | Fault:
    try:
        found = sorted(await meta.list_logstores(place.project), key=lambda store: store.name)
    except (ServiceError, CredentialsError) as error:
        return fault_of(error)
    indexes = await asyncio.gather(*(_index(meta, place, store) for store in found))
    return [replace(store, index_enabled=index) for store, index in zip(found, indexes, strict=True)]


async def _index(meta: MetaApi, place: Place, store: LogStore) -> bool | None:
    """A question of its own that needs a permission of its own: what cannot be had is unknown."""
    if store.index_enabled is not None:
        return store.index_enabled
    try:
        return await meta.has_index(place.project, store.name)
    except ServiceError:
        return None
