# SPDX-License-Identifier: Apache-2.0

"""Whatever a study or data file holds, it is refused by a ConfigError or read: never another exception."""

from __future__ import annotations

from contextlib import suppress
from typing import get_args

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hospitals import write_study
from sordino.errors import ConfigError
from sordino.federated.study import file
from sordino.federated.study.model_file import read_model
from sordino.federated.study.prepared import examine
from sordino.federated.study.table import read_table

ANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

TABLES = [
    file.Data,
    file.SiteEntry,
    *get_args(file.ModelTable),
    *get_args(file.TrainingTable),
    file.HeldOutTable,
    file.PolicyTable,
    file.SubgroupTable,
    file.ModalityTable,
    file.Dropout,
    file.SimulationTable,
]
CSV = st.text(alphabet='ab0.,;"\n\r\x00é -e', max_size=60)
VALUES = st.recursive(
    st.sampled_from(["1", "-1", "0.5", "nan", "1e400", '"x"', '""', "true", "1979-05-27", "''' '''"]),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
    max_leaves=4,
)
KEYS = st.sampled_from(
    sorted(
        {field.name for table in (file.StudyFile, *TABLES) for field in msgspec.structs.fields(table)}
        | {"type", "algorithm"}
    )
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"))


@ANY
@example([("features", "[]")], 0)
@example([("features", "[]")], 1)
@given(st.lists(st.tuples(KEYS, VALUES), max_size=3), st.integers(0, 12))
def test_any_value_of_any_key(study, pairs, place):
    lines = (study.parent / "study.toml").read_text().splitlines()
    heads = [number for number, line in enumerate(lines) if line.startswith("[")]
    at = heads[place % len(heads)] + 1
    keys = {key for key, _ in pairs}
    end = next((head for head in heads if head >= at), len(lines))
    kept = [line for line in lines[at:end] if line.split(" ")[0] not in keys]
    changed = [*lines[:at], *kept, *(f"{key} = {value}" for key, value in dict(pairs).items()), *lines[end:]]
    path = study.with_name("changed.toml")
    path.write_text("\n".join(changed), encoding="utf-8")
    prepared, findings = examine(path)
    assert (prepared is None) == bool(findings.faults)


@ANY
@given(st.binary(max_size=80))
def test_any_bytes_as_a_study(study, content):
    path = study.with_name("bytes.toml")
    path.write_bytes(content)
    prepared, findings = examine(path)
    assert prepared is None
    assert findings.faults


@ANY
@given(st.one_of(st.binary(max_size=60), CSV.map(str.encode)), st.sampled_from(["x.csv", "x.csv.gz"]))
def test_any_bytes_as_a_table(study, content, name):
    path = study.with_name(name)
    path.write_bytes(content)
    with suppress(ConfigError):
        table = read_table(path)
        faults: list[str] = []
        assert table.numbers(table.header, faults).shape == (len(table.rows), len(table.header))


@ANY
@given(CSV)
def test_any_text_after_the_header(study, content):
    path = study.with_name("north.csv")
    whole = path.read_bytes()
    try:
        path.write_bytes(whole.splitlines(keepends=True)[0] + content.encode())
        prepared, findings = examine(study)
        assert (prepared is None) == bool(findings.faults)
    finally:
        path.write_bytes(whole)


@ANY
@given(st.one_of(st.binary(max_size=60), st.just(b'{"format":"sordino-model"}'), st.just(b"[" * 5000)))
def test_any_bytes_as_a_model(study, content):
    path = study.with_name("model.json")
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        read_model(path)
