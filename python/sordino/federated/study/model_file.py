# SPDX-License-Identifier: Apache-2.0

"""model.json: everything that it takes to score a new patient, and where the model came from."""

from __future__ import annotations

from pathlib import Path

import msgspec

from sordino.errors import ConfigError
from sordino.federated.study.families.any import ModelFile


def read_model(path: Path) -> ModelFile:
    """Read a model. Raises `ConfigError` if it is not one, or its parts do not fit together."""
    try:
        model: ModelFile = msgspec.json.decode(path.read_bytes(), type=ModelFile)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not a model of sordino: {error}") from None
    if fault := model.fault():
        raise ConfigError(f"{path}: {fault}")
    return model
