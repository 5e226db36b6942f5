# SPDX-License-Identifier: Apache-2.0

"""What is extracted and how: PyRadiomics' parameters, checked, in one canonical form, with a hash.

Two sites' features may be put together only if they mean the same. So the hash covers all that moves a
value: the parameters with their defaults filled in, the release of PyRadiomics (its formulas), the feature
release of SimpleITK (its interpolation), and `READING`, which counts changes to how sordino reads scans and
masks. NumPy and PyWavelets are left out: between their releases values move by rounding only. The rows name
NumPy anyway.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import tomllib
import warnings
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from sordino.errors import ConfigError

if TYPE_CHECKING:
    from radiomics.featureextractor import RadiomicsFeatureExtractor

Settings: TypeAlias = Mapping[str, Any]
"""PyRadiomics' parameters: tables `setting`, `imageType` and `featureClass`."""

READING = 1
"""Goes up when sordino itself comes to read scans or masks so that a value may move."""

DEFAULT = """\
# CT, in Hounsfield units.
[setting]
resampledPixelSpacing = [1.0, 1.0, 1.0]  # mm
interpolator = "sitkBSpline"             # of the image; masks go by the nearest voxel
binWidth = 25.0                          # HU; a fixed width, so that a bin means the same in every scan
voxelArrayShift = 1000                   # for energy and root mean square: air counts 0
geometryTolerance = 1e-4                 # of a voxel, between image and mask

[imageType]
Original = {}

[featureClass]                           # an empty list: all features of the class
shape = []
firstorder = []
glcm = []
glrlm = []
glszm = []
gldm = []
ngtdm = []
"""
_TABLES = ("setting", "imageType", "featureClass")
_NEEDED = {"PyRadiomics": "pyradiomics-bhklab", "SimpleITK": "SimpleITK", "NumPy": "numpy"}


def settings_hash(settings: Path | str | Settings | None = None) -> str:
    """SHA-256, in hexadecimal, of settings and of the software that they are carried out by.

    settings    a TOML, YAML or JSON file, the tables themselves, or nothing for the default

    The order of keys, of features in a class and 25 instead of 25.0 make no difference, nor does a default
    that is written out. Raises `ConfigError` for settings that cannot be read or hold, or without the extra
    `radiomics`.
    """
    return hash_of(read_settings(settings))


def hash_of(settings: Settings) -> str:
    """The hash of canonical settings; see `settings_hash`."""
    software = versions()
    covered = {
        "settings": settings,
        "reading": READING,
        "pyradiomics": software["PyRadiomics"],
        "simpleitk": ".".join(software["SimpleITK"].split(".")[:2]),
    }
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """The release of PyRadiomics, SimpleITK and NumPy; `ConfigError` if one of them is not installed."""
    try:
        return {name: version(package) for name, package in _NEEDED.items()}
    except PackageNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed: pip install 'sordino[radiomics]'") from None


def read_settings(source: Path | str | Settings | None = None) -> dict[str, Any]:
    """Canonical settings, with PyRadiomics' defaults filled in: what its extractor takes.

    source  as in `settings_hash`

    Raises `ConfigError` for a file that cannot be read, an unknown name (with the nearest valid one), a value
    that PyRadiomics refuses, or without the extra `radiomics`.
    """
    versions()
    if source is None:
        return _canonical(tomllib.loads(DEFAULT), "settings")
    if isinstance(source, Mapping):
        return _canonical(source, "settings")
    path = Path(source)
    return _canonical(_parse(path), str(path))


def _parse(path: Path) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        text = path.read_text(encoding="utf-8")
        # JSON is YAML.
        return tomllib.loads(text) if path.suffix == ".toml" else YAML(typ="safe", pure=True).load(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    except MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ConfigError(f"{path}: {line}{error.problem}") from None
    except YAMLError as error:
        raise ConfigError(f"{path}: {error}") from None


def _canonical(given: Any, where: str) -> dict[str, Any]:
    from pykwalify.errors import SchemaError
    from radiomics import getFeatureClasses, getImageTypes, getParameterValidationFiles
    from radiomics.featureextractor import RadiomicsFeatureExtractor
    from ruamel.yaml import YAML

    schema = YAML(typ="safe", pure=True).load(Path(getParameterValidationFiles()[0]))
    rules = schema["mapping"]["setting"]["mapping"]
    classes = {name: found.getFeatureNames() for name, found in getFeatureClasses().items()}
    if "voxelSetting" in _table(given, where):
        raise ConfigError(f"{where}: voxelSetting: maps of voxels are not extracted; leave it out")
    _known(given, _TABLES, where)
    for name in given:
        _table(given[name], f"{where}: {name}")

    setting = given.get("setting", {})
    _known(setting, rules, f"{where}: setting")
    images = {name: own or {} for name, own in given.get("imageType", {}).items()} or {"Original": {}}
    _known(images, getImageTypes(), f"{where}: imageType")
    for name, own in images.items():
        _known(_table(own, f"{where}: imageType: {name}"), rules, f"{where}: imageType: {name}")
    features = given.get("featureClass", {}) or dict.fromkeys(classes.keys() - {"shape2D"})
    _known(features, classes, f"{where}: featureClass")
    for name, chosen in features.items():
        if not isinstance(chosen, list | None):
            raise ConfigError(f"{where}: featureClass: {name}: must be a list of features, empty for all")
        _known(chosen or [], classes[name], f"{where}: featureClass: {name}")

    defaults = RadiomicsFeatureExtractor._getDefaultSettings()
    own = _ordered(defaults | {"binWidth": 25} | setting, rules)
    # A label is a wish of whoever asks, no default; what PyRadiomics says besides features is not kept.
    del own["additionalInfo"]
    if "label" not in setting:
        del own["label"]
    if own.get("binCount") is not None:
        del own["binWidth"]
    canonical = {
        "setting": {key: own[key] for key in own if own[key] is not None or defaults.get(key) is not None},
        "imageType": {name: _ordered(images[name], rules) for name in sorted(images)},
        "featureClass": {name: sorted(set(features[name] or [])) for name in sorted(features)},
    }
    quiet = [logging.getLogger(name) for name in ("pykwalify", "radiomics")]
    before = [logger.level for logger in quiet]
    for logger in quiet:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        extractor(canonical)
    except SchemaError as error:
        faults = [line.removeprefix(" - ") for line in error.msg.splitlines() if line.startswith(" - ")]
        raise ConfigError(f"{where}: {'; '.join(faults) or error.msg}") from None
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {error}") from None
    finally:
        for logger, level in zip(quiet, before, strict=True):
            logger.setLevel(level)
    return canonical


def extractor(settings: dict[str, Any]) -> RadiomicsFeatureExtractor:
    """PyRadiomics set up by canonical settings."""
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    with warnings.catch_warnings():  # pykwalify loads PyRadiomics' rules by a deprecated call
        warnings.simplefilter("ignore", DeprecationWarning)
        return RadiomicsFeatureExtractor(settings)


def _table(given: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise ConfigError(f"{where}: must be a table of names and values")
    return given


def _known(names: Collection[str], valid: Collection[str], where: str) -> None:
    for name in names:
        if name not in valid:
            near = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(valid))}"
            raise ConfigError(f"{where}: unknown name {name!r}; {hint}")


def _ordered(setting: Settings, rules: Settings) -> dict[str, Any]:
    """By name; floats where PyRadiomics has them, since 25 and 25.0 are one value and name one column."""

    def number(value: Any, rule: Settings) -> Any:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return float(value) if whole and rule.get("type") == "float" else value

    def canonical(value: Any, rule: Settings) -> Any:
        if isinstance(value, list) and rule.get("seq"):
            return [number(one, rule["seq"][0]) for one in value]
        return number(value, rule)

    return {key: canonical(setting[key], rules[key]) for key in sorted(setting)}
