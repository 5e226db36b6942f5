# SPDX-License-Identifier: Apache-2.0

"""The study file: every key, what it may hold, and what is wrong with a given one.

A study is TOML. Nothing is guessed: an unknown key is named with the nearest valid one, a value of the wrong
kind with what is allowed, and all faults are reported at once. docs/study.md is the reference of the keys.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct, inspect

from sordino.aggregation.base import Step
from sordino.errors import ConfigError
from sordino.federated.study.description_table import DescriptionTable, description_faults
from sordino.federated.study.families.any import ModelTable
from sordino.federated.study.families.logistic import LogisticFamily
from sordino.federated.study.harmonise_table import HarmoniseTable, harmonise_faults
from sordino.federated.study.keys import (
    Column,
    Columns,
    Count,
    FilePath,
    Fraction,
    Ids,
    Label,
    Pattern,
    PlainName,
    Seed,
    SiteCount,
    Switch,
)
from sordino.federated.study.modality_table import EarlyTable, LateTable, ModalityTable, modality_faults
from sordino.federated.study.privacy_table import PrivacyTable, privacy_faults
from sordino.federated.study.subgroup_table import SubgroupTable, subgroup_faults
from sordino.federated.study.training_table import (
    FedAvgTable,
    FedProxTable,
    RiskSetsTable,
    ScaffoldTable,
    training_faults,
)
from sordino.protocol.policy import AcrossRounds

TrainingTable: TypeAlias = FedAvgTable | FedProxTable | ScaffoldTable | RiskSetsTable
"""Table [training], by its `algorithm`."""
FusionTable: TypeAlias = EarlyTable | LateTable
"""Table [fusion], by its `type`."""
Kin: TypeAlias = Mapping[str, type[Struct]]


class Data(Struct, frozen=True, kw_only=True):
    """Table [data]: which columns mean what, and where the rows are if one file holds all sites."""

    id: Column = "id"
    target: Column = ""
    time: Column = ""
    event: Column = ""
    classes: Annotated[
        tuple[Label, Label],
        Meta(description='two labels, the negative and the positive one, such as ["benign", "malignant"]'),
    ] = (0, 1)
    features: Annotated[
        Literal["all others"] | list[Column],
        Meta(description='"all others" or a list of column names'),
    ] = "all others"
    exclude: Columns = []
    extraction: (
        Annotated[
            str,
            Meta(pattern="^[0-9a-f]{64}$", description="a settings hash, 64 hexadecimal digits"),
        ]
        | None
    ) = None
    missing: Annotated[Literal["refuse", "mean"], Meta(description='"refuse" or "mean"')] = "refuse"
    path: FilePath | None = None
    site_column: Column | None = None
    site_pattern: Pattern | None = None


class SiteEntry(Struct, frozen=True, kw_only=True):
    """One [[sites]]: its name, its file if each site has its own, and what is publicly known of it."""

    name: PlainName
    path: FilePath | None = None
    attributes: Annotated[
        dict[str, str | bool | int | float], Meta(description="a table of texts, numbers, true or false")
    ] = {}
    share_performance: Switch = False


class HeldOutTable(Struct, frozen=True, kw_only=True):
    """Table [test]: which patients every site holds out, by a fraction or by their ids."""

    fraction: Fraction | None = None
    ids: Ids | None = None
    draw: Annotated[Literal["class", "patient"], Meta(description='"class" or "patient"')] | None = None
    seed: Seed = 0
    repeats: Annotated[int, Meta(ge=1, le=1000, description="a whole number from 1 to 1000")] = 1
    bins: Annotated[int, Meta(ge=2, le=100_000, description="a whole number from 2 to 100,000")] | None = None
    min_subgroup: Annotated[int, Meta(ge=3, le=1_000_000, description="a whole number from 3 on")] = 10


class PolicyTable(Struct, frozen=True, kw_only=True):
    """Table [policy]: the terms of the secure sums; what is left out is planned."""

    across_rounds: (
        Annotated[AcrossRounds, Meta(description='"freeze" or "accept", or with [privacy] "noise"')] | None
    ) = None
    min_cohort: SiteCount | None = None
    threshold: SiteCount | None = None
    colluders: SiteCount | None = None
    max_dropouts: SiteCount | None = None
    consistency: Switch = True
    max_patients: Count = 10_000
    update_clip: Annotated[float, Meta(gt=0, le=2.0**40, description="a number above 0")] = 16.0
    fraction_bits: Annotated[int, Meta(ge=8, le=60, description="a whole number from 8 to 60")] = 30


class Dropout(Struct, frozen=True, kw_only=True):
    """One [[dropouts]]: who is lost in which round of training, and at which step of the protocol."""

    round: Annotated[
        Literal["every"] | int | list[int],
        Meta(description='a round of training, a list of rounds, or "every"'),
    ]
    site: Annotated[str | None, Meta(description="the name of a site")] = None
    rotate: Switch = False
    step: Annotated[
        Step,
        Meta(description='"advertise", "seal", "receipt", "upload", "confirm", "unmask" or "recover"'),
    ] = "upload"


class SimulationTable(Struct, frozen=True, kw_only=True):
    """Table [simulation]: what only one process that holds all rows can say."""

    compare_pooled: Switch = False
    compare_plain: Switch = False


class StudyFile(Struct, frozen=True, kw_only=True):
    """A whole study file, its values checked one by one and against each other."""

    name: PlainName
    data: Data
    sites: list[SiteEntry]
    policy: PolicyTable = PolicyTable()
    privacy: PrivacyTable | None = None
    model: ModelTable = LogisticFamily()
    training: TrainingTable = FedAvgTable()
    test: HeldOutTable | None = None
    modalities: list[ModalityTable] = []
    fusion: FusionTable = EarlyTable()
    harmonise: HarmoniseTable | None = None
    subgroups: list[SubgroupTable] = []
    dropouts: list[Dropout] = []
    simulation: SimulationTable = SimulationTable()
    description: DescriptionTable = DescriptionTable()

    @property
    def site_names(self) -> tuple[str, ...]:
        """The roster, sorted."""
        return tuple(sorted(site.name for site in self.sites))

    @property
    def special(self) -> Mapping[str, str]:
        """The columns that are never features, by the keys that name them."""
        special = {"data.id": self.data.id, **self.model.outcome.keys(self.data)}
        if self.data.site_column is not None:
            special["data.site_column"] = self.data.site_column
        return special

    @property
    def parting(self) -> tuple[str, ...]:
        """The columns of [[subgroups]] and [harmonise]: no features unless `data.features` lists them."""
        origins = () if self.harmonise is None else self.harmonise.columns
        return (*(table.column for table in self.subgroups), *origins)

    @property
    def bins(self) -> int | None:
        """Of the evaluation's histograms: 100, with noise 20, unless the file says; None without a test."""
        if self.test is None:
            return None
        return self.test.bins or (100 if self.privacy is None else 20)

    @property
    def draw(self) -> Literal["class", "patient"]:
        """How held-out patients are drawn: by class, with noise each patient by itself."""
        given = self.test.draw if self.test else None
        return given or ("class" if self.privacy is None else "patient")

    @property
    def repeats(self) -> int:
        """How many splits are trained and tested."""
        return self.test.repeats if self.test else 1

    def losses(self, round_number: int) -> dict[str, Step]:
        """Who is lost in this round of training (from 1 on): name -> the first message not sent.

        A rotating dropout takes the sites in the order of the file, one a round.
        """
        lost: dict[str, Step] = {}
        for dropout in self.dropouts:
            rounds = [dropout.round] if isinstance(dropout.round, int) else dropout.round
            if rounds != "every" and round_number not in rounds:
                continue
            if dropout.rotate:
                lost[self.sites[(round_number - 1) % len(self.sites)].name] = dropout.step
            elif dropout.site is not None:
                lost[dropout.site] = dropout.step
        return lost


def read_study(path: Path) -> StudyFile:
    """Read and check a study file. Raises `ConfigError` with everything that is wrong, a line each."""
    study, faults = examine_study(path)
    if study is None or faults:
        raise ConfigError("\n".join(faults))
    return study


def examine_study(path: Path) -> tuple[StudyFile | None, list[str]]:
    """The study, if its tables can be read at all, and its faults: empty if it may be used."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        return None, [f"{path}: cannot be read: {error.strerror}"]
    except UnicodeDecodeError:
        return None, [f"{path}: is not UTF-8 text"]
    except tomllib.TOMLDecodeError as error:
        return None, [f"{path}: is not TOML: {error}"]
    faults: list[str] = []
    checked = _table(raw, StudyFile, "", faults)
    if faults:
        return None, [f"{path}: {fault}" for fault in faults]
    study = msgspec.convert(checked, StudyFile)
    return study, [f"{path}: {fault}" for fault in _contradictions(study)]


def _table(
    raw: Mapping[str, Any], struct: type[Struct], at: str, faults: list[str], kin: Kin | None = None
) -> dict[str, Any]:
    """The table as it may be converted; each key is checked by itself, so one fault does not hide the next.

    kin  the other tables that could stand here, by their tag
    """
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    for key in raw.keys() - fields.keys() - {struct.__struct_config__.tag_field}:
        if homes := [tag for tag, other in (kin or {}).items() if key in other.__struct_fields__]:
            named = " or ".join(f'"{home}"' for home in homes)
            faults.append(f"{at + key!r} goes with {struct.__struct_config__.tag_field} = {named} only")
            continue
        near = get_close_matches(key, fields, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(fields)}"
        faults.append(f"unknown key {at + key!r}; {hint}")
    checked = dict(raw)
    for name, field in fields.items():
        if name not in raw:
            if field.required:
                faults.append(f"the key {at + name!r} is missing: {_allowed(field.type)}")
            continue
        value, (inner, listed) = raw[name], _structs_of(field.type)
        if not inner:
            _convert(value, field.type, at + name, faults)
        elif not listed:
            if isinstance(value, dict):
                checked[name] = _one_of(value, inner, field.default, f"{at}{name}.", faults)
            else:
                faults.append(f"{at + name!r} must be a table, [{at}{name}]")
        elif isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
            for number, entry in enumerate(value, start=1):
                _table(entry, inner[0], f"{at}{name}[{number}].", faults)
        else:
            faults.append(f"{at + name!r} must be a list of tables, [[{at}{name}]]")
    return checked


def _one_of(
    raw: Mapping[str, Any], structs: Sequence[type[Struct]], default: object, at: str, faults: list[str]
) -> dict[str, Any]:
    """The table, of the kind that its tag says, or without one of the kind of the default."""
    key = structs[0].__struct_config__.tag_field
    if key is None:
        return _table(raw, structs[0], at, faults)
    kinds = {str(struct.__struct_config__.tag): struct for struct in structs}
    tag = raw.get(key, type(default).__struct_config__.tag)  # type: ignore[attr-defined]
    if not isinstance(tag, str) or tag not in kinds:
        allowed = ", ".join(f'"{kind}"' for kind in kinds)
        faults.append(f"{at + key!r} is {tag!r}, allowed is {allowed}")
        return {}
    return {**_table(raw, kinds[tag], at, faults, kinds), key: tag}


def _structs_of(annotation: Any) -> tuple[list[type[Struct]], bool]:
    """The Structs that a field may hold, if it does, and whether it holds a list of them."""
    kind = inspect.type_info(annotation)
    kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    structs = [one.cls for one in kinds if isinstance(one, inspect.StructType)]
    if isinstance(kind, inspect.ListType) and isinstance(kind.item_type, inspect.StructType):
        return [kind.item_type.cls], True
    return structs, False


def _convert(value: Any, annotation: Any, key: str, faults: list[str]) -> None:
    try:
        msgspec.convert(value, annotation)
    except msgspec.ValidationError:
        faults.append(f"{key!r} is {value!r}, allowed is {_allowed(annotation)}")


def _allowed(annotation: Any) -> str:
    kind = inspect.type_info(annotation)
    if isinstance(kind, inspect.UnionType):
        kind = next(one for one in kind.types if not isinstance(one, inspect.NoneType))
    if isinstance(kind, inspect.Metadata) and kind.extra_json_schema:
        return str(kind.extra_json_schema.get("description", "another type"))
    if isinstance(kind, inspect.StructType):
        return "a table"
    if isinstance(kind, inspect.ListType):
        return "a list of tables"
    return "a name or number"


def _contradictions(study: StudyFile) -> list[str]:
    """Faults that only show when keys are seen together."""
    return [
        *_site_faults(study),
        *_column_faults(study),
        *modality_faults(study),
        *harmonise_faults(study),
        *training_faults(study),
        *_test_faults(study),
        *_dropout_faults(study),
        *privacy_faults(study),
        *description_faults(study),
    ]


def _site_faults(study: StudyFile) -> list[str]:
    data, faults = study.data, []
    names = [site.name for site in study.sites]
    if len(names) < 3:
        faults.append(f"'sites' has {len(names)} entries, a secure sum needs three or more")
    faults += [
        f"two sites have the name {name!r}" for name in sorted({n for n in names if names.count(n) > 1})
    ]
    by = [key for key in ("site_column", "site_pattern") if getattr(data, key) is not None]
    own = [site.name for site in study.sites if site.path is not None]
    if data.path is not None or by:
        if len(by) != 1:
            faults.append(
                "one file for all sites needs one of 'data.site_column' and 'data.site_pattern', "
                f"got {' and '.join(by) or 'neither'}"
            )
        if own:
            faults.append(f"sites with a path of their own, {', '.join(own)}, beside one file for all sites")
    elif without := [name for name in names if name not in own]:
        faults.append(f"no 'path' for the sites {', '.join(without)}, and no 'data.path' for all of them")
    if data.site_pattern is not None:
        try:
            re.compile(data.site_pattern)
        except re.error as error:
            faults.append(f"'data.site_pattern' is not a regular expression: {error}")
    return faults


def _column_faults(study: StudyFile) -> list[str]:
    data, faults = study.data, []
    special = study.special
    columns = list(special.values())
    for column in sorted({column for column in columns if columns.count(column) > 1}):
        keys = [key for key, value in special.items() if value == column]
        faults.append(f"{' and '.join(keys)} are one column, {column!r}")
    if isinstance(data.features, list):
        if not data.features:
            faults.append("'data.features' is empty")
        twice = sorted(name for name, times in Counter(data.features).items() if times > 1)
        faults += [f"'data.features' names {name!r} twice" for name in twice]
        for key, column in special.items():
            if column in data.features:
                faults.append(f"'data.features' holds {column!r}, which is the column of {key!r}")
        both = sorted(set(data.features) & set(data.exclude))
        faults += [f"{name!r} is in both 'data.features' and 'data.exclude'" for name in both]
    return faults + study.model.outcome.faults(data) + subgroup_faults(study, special)


def _test_faults(study: StudyFile) -> list[str]:
    if study.test is None:
        return []
    faults = []
    if (study.test.fraction is None) == (study.test.ids is None):
        faults.append("'test' needs one of 'test.fraction' and 'test.ids'")
    if study.test.ids is not None and study.test.repeats > 1:
        faults.append("'test.repeats' draws other splits, which 'test.ids' has not")
    return faults


def _dropout_faults(study: StudyFile) -> list[str]:
    faults = []
    for number, dropout in enumerate(study.dropouts, start=1):
        at = f"dropouts[{number}]"
        if (dropout.site is not None) == dropout.rotate:
            faults.append(f"'{at}' needs one of 'site' and 'rotate = true'")
        if dropout.site is not None and dropout.site not in study.site_names:
            near = get_close_matches(dropout.site, study.site_names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            faults.append(f"'{at}.site' is {dropout.site!r}, which is none of the sites{hint}")
        rounds = dropout.round if isinstance(dropout.round, list) else [dropout.round]
        last = study.training.rounds
        faults += [
            f"'{at}.round' is {one}, but training has rounds 1 to {last}"
            for one in rounds
            if isinstance(one, int) and not 1 <= one <= last
        ]
    return faults
