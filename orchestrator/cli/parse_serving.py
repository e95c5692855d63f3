"""What may be typed that stays until it is told to end?"""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.asked import Asked
from orchestrator.cli.entry import app, end


@app.command(short_help="Run the emulator of the service alone.")
def emulate(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")
    ] = 8700,
    load: Annotated[
        str, typer.Option("--load", metavar="FILE", help="Serve a log file or exported rows, besides.")
    ] = "",
    world: Annotated[
        str, typer.Option("--world", metavar="FILE", help="Description of logstores and behaviour (TOML).")
    ] = "",
) -> None:
    """Run the emulator of the service alone, until SIGINT. Prints its endpoint and test credentials.

    What it prints on stdout are shell lines: `eval` them, and every command talks to it.

    \b
    Examples:
      orchestrator emulate
      orchestrator emulate --port 0 --world world.toml
    """
    from orchestrator.cli import emulating

    end(
        Asked("emulate"), lambda stage: emulating.emulate(stage, host=host, port=port, load=load, world=world)
    )
