"""Originals beside their reconstructions, as PNG files (extra `figures`)."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from pathlib import Path

from sordino.audit.inversion import Rebuilt
from sordino.errors import ConfigError


def draw_rebuilt(pictures: Mapping[str, Rebuilt], folder: Path, *, most: int = 6) -> list[Path]:
    """A file for each, the first `most` patients in columns: above the original, below the reconstruction.

    Rows of a square number of more than 100 columns are images, others are bars. Raises `ConfigError` without
    matplotlib, or for a folder that cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("a picture needs matplotlib: pip install 'sordino[figures]'") from None
    written = []
    for name, rebuilt in pictures.items():
        shown = min(most, len(rebuilt.truth))
        edge = isqrt(rebuilt.truth.shape[1])
        image = edge * edge == rebuilt.truth.shape[1] and edge > 10
        figure = Figure(figsize=(1.6 * shown + 1.0, 3.6), layout="constrained")
        figure.suptitle(name, fontsize=9)
        for place, axes in enumerate(figure.subplots(2, shown, squeeze=False).ravel()):
            rows = (rebuilt.truth, rebuilt.found)[place // shown]
            row = rows[place % shown]
            if image:
                axes.imshow(row.reshape(edge, edge), cmap="gray", vmin=-1.0, vmax=1.0)
            else:
                axes.bar(range(len(row)), row, color="0.3")
                axes.set_ylim(-4.0, 4.0)
            axes.set(xticks=[], yticks=[])
            if place % shown == 0:
                axes.set_ylabel(("original", "reconstruction")[place // shown], fontsize=8)
            if place >= shown:
                axes.set_xlabel(f"error {rebuilt.error[place % shown]:.2g}", fontsize=8)
        path = folder / (name.replace(", ", "-").replace(" ", "-").replace("'", "") + ".png")
        try:
            figure.savefig(path, dpi=110)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
        written.append(path)
    return written
