# SPDX-License-Identifier: Apache-2.0

"""Processes that hear Ctrl-C, wherever the suite runs."""

from __future__ import annotations

import signal


def hear_interrupts() -> None:
    """For `preexec_fn`: what a shell runs in the background, and its children, ignore SIGINT otherwise."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
