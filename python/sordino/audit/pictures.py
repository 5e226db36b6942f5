# SPDX-License-Identifier: Apache-2.0

"""Originals beside their reconstructions, as PNG files (extra `figures`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sordino.audit.inversion import Rebuilt
from sordino.audit.patches import EDGE, IMAGES
from sordino.errors import ConfigError


def file_name(name: str) -> str:
    """Of the picture of that name."""
    return name.replace(", ", "-").replace(" ", "-").replace("'", "") + ".png"


def draw_rebuilt(pictures: Mapping[str, Rebuilt], folder: Path, *, most: int = 6) -> list[Path]:
    """A file for each, the first `most` patients in columns: above the original, below the reconstruction.

    What is named after `IMAGES` is drawn as images, other rows as bars. Raises `ConfigError` without
    matplotlib, or for a folder that cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("a picture needs matplotlib: pip install 'sordino[figures]'") from None
    written = []
    for name, rebuilt in pictures.items():
        shown = min(most, len(rebuilt.truth))
        figure = Figure(figsize=(1.6 * shown + 1.0, 3.6), layout="constrained")
        figure.suptitle(name, fontsize=9)
        for place, axes in enumerate(figure.subplots(2, shown, squeeze=False).ravel()):
            rows = (rebuilt.truth, rebuilt.found)[place // shown]
            row = rows[place % shown]
            if name.startswith(IMAGES):
                axes.imshow(row.reshape(EDGE, EDGE), cmap="gray", vmin=-1.0, vmax=1.0)
            else:
                axes.bar(range(len(row)), row, color="0.3")
                axes.set_ylim(-4.0, 4.0)
            axes.set(xticks=[], yticks=[])
            if place % shown == 0:
                axes.set_ylabel(("original", "reconstruction")[place // shown], fontsize=8)
            if place >= shown:
                axes.set_xlabel(f"error {rebuilt.error[place % shown]:.2g} SD", fontsize=8)
        path = folder / file_name(name)
        try:
            figure.savefig(path, dpi=110)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
        written.append(path)
    return written
