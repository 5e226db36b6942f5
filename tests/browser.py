# SPDX-License-Identifier: Apache-2.0

"""Debian's Chromium on pages of a folder, and what it asked of anybody."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

CHROMIUM = shutil.which("chromium")

QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=AutofillServerCommunication",
]

ITS_OWN = {"accounts.google.com", "clients2.google.com", "update.googleapis.com"}
"""Hosts that Chromium looks for whenever it starts, whatever the page."""


def look(address, *more, profile):
    """Chromium on one address: its output and its messages."""
    return subprocess.run(
        [
            *(CHROMIUM, *QUIET, f"--user-data-dir={profile}", "--enable-logging=stderr"),
            f"--log-net-log={profile / 'net.json'}",
            *more,
            address,
        ],
        capture_output=True,
        text=True,
        timeout=90,
    )


def browse(folder, page, *more, profile):
    """Chromium on one page of a folder: its output, its messages, and the requests that arrived."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        done = look(f"http://127.0.0.1:{server.server_port}/{page}", *more, profile=profile)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    return done, asked


def foreign_hosts(profile):
    """Whom the browser asked besides this machine; what it asks whenever it starts does not count."""
    urls = set(re.findall(r'"url":"(\w+://[^"/]+)', (profile / "net.json").read_text()))
    asked = {url for url in urls if not url.startswith(("http://127.0.0.1", "chrome", "file:"))}
    return {url.split("://")[1] for url in asked} - ITS_OWN
