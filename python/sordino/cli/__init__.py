# SPDX-License-Identifier: Apache-2.0

"""The command `sordino`: one file a command, each loading what it needs only when it is called."""

from __future__ import annotations

from sordino.cli import (
    audit,
    check,
    demo,
    describe,
    doctor,
    extract,
    init,
    keys,
    ledger,
    phantom,
    plan,
    predict,
    privacy,
    report,
    run,
)
from sordino.cli.app import app

__all__ = [
    "app",
    "audit",
    "check",
    "demo",
    "describe",
    "doctor",
    "extract",
    "init",
    "keys",
    "ledger",
    "main",
    "phantom",
    "plan",
    "predict",
    "privacy",
    "report",
    "run",
]


def main() -> None:
    """Entry of the command `sordino`."""
    app()
