# SPDX-License-Identifier: Apache-2.0

"""The command line itself: its options, and how an error is told.

Bad input ends in a line on stderr for each fault, never in a traceback: exit code 2 where you erred, 3 where
another party did, 130 after Ctrl-C.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sordino.errors import LocalError, SordinoError

YOU_ERRED = 2
PEER_ERRED = 3
INTERRUPTED = 130


class Commands(TyperGroup):
    """All commands; what one of them raises is told here."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command and turn its errors into a line and an exit code."""
        try:
            return super().invoke(ctx)
        except SordinoError as error:
            _tell(str(error))
            sys.exit(YOU_ERRED if isinstance(error, LocalError) else PEER_ERRED)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            where = f"{error.filename}: " if error.filename else ""
            _tell(f"{where}{error.strerror or error}")
            sys.exit(YOU_ERRED)
        except KeyboardInterrupt:
            _tell("interrupted")
            sys.exit(INTERRUPTED)


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Secure sums over hospitals: train one model together, and nobody sees more than the sum.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"sordino {version('sordino')}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    version: Annotated[  # noqa: ARG001 (its callback prints it)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Say every step of the protocol on stderr.")
    ] = False,
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="FILE", help="Append every step to FILE, a JSON object a line."),
    ] = None,
) -> None:
    """Secure sums over hospitals: train one model together, and nobody sees more than the sum."""
    if verbose or log is not None:
        _listen(ctx, verbose, log)


def _listen(ctx: typer.Context, verbose: bool, log: Path | None) -> None:
    """Send what is logged to stderr, a file, or both. Raises `OSError` if that cannot be written."""
    import logging

    from sordino.log import JsonLines, logger

    handlers: list[logging.Handler] = [logging.StreamHandler()] if verbose else []
    if log is not None:
        handlers.append(logging.FileHandler(log, encoding="utf-8"))
        handlers[-1].setFormatter(JsonLines())
    logger.setLevel(logging.INFO)

    def end() -> None:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()

    for handler in handlers:
        logger.addHandler(handler)
    ctx.call_on_close(end)


def tell_error(message: str) -> None:
    """A line on stderr, red on a terminal that takes colour."""
    typer.secho(f"error: {message}", err=True, fg=typer.colors.RED, color=_coloured())


def tell_warning(message: str, *, err: bool = True) -> None:
    """A line on stderr (or stdout), yellow on a terminal that takes colour."""
    typer.secho(f"warning: {message}", err=err, fg=typer.colors.YELLOW, color=_coloured())


def _coloured() -> bool | None:
    """False where the user wants no colour (no-color.org) or the terminal has none, else left to click."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def _tell(message: str) -> None:
    for line in message.splitlines() or ["unknown error"]:
        tell_error(line)
