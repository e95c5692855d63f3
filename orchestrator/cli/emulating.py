"""How does ``emulate`` go: serve a world until SIGINT, and say on stdout how to reach it."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys

from orchestrator.app.emulation import world_of
from orchestrator.cli.ending import Stage
from orchestrator.clock import SystemClock
from orchestrator.core.window import iso_utc
from orchestrator.emulator.http import TEST_CREDENTIALS, Emulator
from orchestrator.errors import ExitCode, StorageError

__all__ = ["emulate"]


def emulate(stage: Stage, *, host: str, port: int, load: str, world: str) -> int:
    """Serve until SIGINT or SIGTERM. Raises UsageError for files that describe no world, StorageError for a
    port in use."""
    clock = SystemClock()
    served = world_of(world_path=world, load_path=load, now_s=clock.now())

    async def serve() -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        try:
            emulator = await Emulator(served, now=clock.now, host=host, port=port).__aenter__()
        except OSError as error:
            raise StorageError(
                f"{host}:{port} cannot be listened on: {error.strerror or error}",
                hint="choose another --port",
            ) from None
        try:
            _introduce(stage, emulator)
            await ended.wait()
        finally:
            await emulator.__aexit__(None, None, None)

    asyncio.run(serve())
    return ExitCode.COMPLETE


def _introduce(stage: Stage, emulator: Emulator) -> None:
    """Shell lines on stdout; what a person wants to know on stderr."""
    shown = {
        "BLS_ENDPOINT": emulator.endpoint,
        "BCE_ACCESS_KEY_ID": TEST_CREDENTIALS.access_key_id,
        "BCE_SECRET_ACCESS_KEY": TEST_CREDENTIALS.secret_access_key.reveal(),
    }
    for name, value in shown.items():
        stage.out.line(f"export {name}={shlex.quote(value)}")
    stage.out.flush()
    stores = [
        f"{project.name}/{store.name}"
        + (f" from {iso_utc(store.created_at_s)} on" if store.created_at_s else "")
        for project in emulator.world.account.projects()
        for store in emulator.world.account.stores(project.name)
    ]
    print(
        f"the emulator serves {', '.join(stores)}\n"
        f'in a job file: [service] endpoint = "{emulator.endpoint}"\n'
        "the credentials above are accepted here and valid nowhere else; SIGINT ends it",
        file=sys.stderr,
        flush=True,
    )
