# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from hospitals import write_study
from sordino.cli.init import TEMPLATE
from sordino.errors import ConfigError
from sordino.federated.study import file
from sordino.federated.study.file import StudyFile, examine_study, read_study
from sordino.federated.study.privacy_table import PrivacyTable

REFERENCE = Path(__file__).parents[4] / "docs" / "study.md"


def faults_of(folder: Path, **changes: str) -> str:
    """What is wrong with a study that was changed; nothing else is wrong with it."""
    _, faults = examine_study(write_study(folder, **changes))
    assert faults
    return "\n".join(faults)


def test_study_without_faults_is_read(tmp_path):
    study = read_study(write_study(tmp_path))
    assert study.site_names == ("east", "north", "south", "west")
    assert study.training.rounds == 4
    assert study.data.classes == (0, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training": "ruonds = 4"}, "unknown key 'training.ruonds'; did you mean 'rounds'?"),
        ({"policy": 'across_round = "freeze"'}, "'policy.across_round'; did you mean 'across_rounds'?"),
        ({"more": "[modle]"}, "unknown key 'modle'; did you mean 'model'?"),
        (
            {"more": "[[dropouts]]\nround = 1\nsite = 'east'\nstpe = 'upload'"},
            "'dropouts[1].stpe'; did you mean 'step'?",
        ),
        ({"data": "zzz = 1"}, "unknown key 'data.zzz'; allowed are id, target"),
    ],
)
def test_unknown_key_is_named_with_the_nearest_valid_one(tmp_path, changes, said):
    assert said in faults_of(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"policy": ""}, 'the key \'policy.across_rounds\' is missing: "freeze" or "accept"'),
        ({"policy": 'across_rounds = "ignore"'}, "'policy.across_rounds' is 'ignore', allowed is"),
        ({"training": "rounds = 0"}, "'training.rounds' is 0, allowed is a whole number from 1"),
        ({"training": "rounds = 2.5"}, "'training.rounds' is 2.5"),
        ({"training": "rounds = true"}, "'training.rounds' is True"),
        (
            {"training": 'learning_rate = "fast"'},
            "'training.learning_rate' is 'fast', allowed is \"auto\" or",
        ),
        ({"training": "learning_rate = nan"}, "'training.learning_rate' is nan"),
        ({"training": "momentum = 1.0"}, "'training.momentum' is 1.0"),
        ({"training": "deadline = 0"}, "'training.deadline' is 0"),
        ({"training": 'algorithm = "sgd"'}, "'training.algorithm' is 'sgd', allowed is \"fedavg\""),
        ({"training": "proximal = 1.0"}, "'training.proximal' goes with algorithm = \"fedprox\" only"),
        (
            {"training": "algorithm = 'scaffold'\nmomentum = 0.5"},
            '\'training.momentum\' goes with algorithm = "fedavg" or "fedprox" only',
        ),
        ({"training": "epochs = 2\nlocal_steps = 2"}, "both say how long a site trains"),
        ({"training": "patience = 2"}, "needs 'training.validation'"),
        (
            {"training": "sites_fraction = 0.8", "policy": "across_rounds = 'freeze'"},
            "'training.sites_fraction' has other sites in each round",
        ),
        ({"more": "[model]\nl2 = -1"}, "'model.l2' is -1, allowed is a number from 0 on"),
        ({"more": "[model]\nl2 = inf"}, "'model.l2' is inf"),
        ({"more": '[model]\ntype = "forest"'}, "'model.type' is 'forest', allowed is \"logistic\""),
        ({"more": "[model]\ntype = 3"}, "'model.type' is 3, allowed is"),
        ({"more": "[model]\ntype = 'linear'", "data": "classes = [1, 2]"}, "here the target is a number"),
        ({"more": "dropouts = 3"}, "policy.dropouts"),
        ({"data": "classes = [0, 1, 2]"}, "'data.classes' is [0, 1, 2], allowed is two labels"),
        ({"data": "classes = ['a', 'a']"}, "names one label twice"),
        ({"data": "classes = [1, '1.0']"}, "names one label twice: 1 and '1.0'"),
        ({"data": "features = []"}, "'data.features' is empty"),
        ({"data": "features = ['a', 'a']"}, "names 'a' twice"),
        ({"data": "features = ['target']"}, "which is the column of 'data.target'"),
        ({"data": "features = ['a']\nexclude = ['a']"}, "'a' is in both"),
        ({"data": "id = 'target'"}, "data.id and data.target are one column"),
        (
            {"data": "path = 'all.csv'"},
            "needs one of 'data.site_column' and 'data.site_pattern', got neither",
        ),
        ({"data": "path = 'a.csv'\nsite_pattern = '('"}, "is not a regular expression"),
        ({"data": "path = 'a.csv'\nsite_column = 'h'"}, "sites with a path of their own"),
        ({"test": ""}, "needs one of 'test.fraction' and 'test.ids'"),
        ({"test": "fraction = 0.2\nids = ['a']"}, "needs one of 'test.fraction' and 'test.ids'"),
        ({"test": "ids = ['a']\nrepeats = 2"}, "'test.repeats'"),
        ({"test": "fraction = 1.0"}, "'test.fraction' is 1.0, allowed is a number above 0 and below 1"),
        ({"more": "[[dropouts]]\nround = 1"}, "'dropouts[1]' needs one of 'site' and 'rotate = true'"),
        ({"more": "[[dropouts]]\nround = 1\nsite = 'eats'"}, "none of the sites; did you mean 'east'?"),
        ({"more": "[[dropouts]]\nround = 9\nrotate = true"}, "but training has rounds 1 to 4"),
        ({"more": "[[dropouts]]\nround = 1\nrotate = true\nstep = 'late'"}, "'dropouts[1].step' is 'late'"),
        ({"more": "[[sites]]\nname = 'east'\npath = 'e.csv'"}, "two sites have the name 'east'"),
        ({"more": "[[sites]]\nname = 'a b'\npath = 'e.csv'"}, "'sites[5].name' is 'a b'"),
        ({"more": "[[sites]]\nname = 'far'"}, "no 'path' for the sites far"),
        ({"names": ("a", "b")}, "'sites' has 2 entries"),
        ({"more": "[[subgroups]]\ncolumn = 'sex'"}, "'subgroups[1]' needs one of 'levels' and 'edges'"),
        ({"more": "[[subgroups]]\ncolumn = 'target'\nlevels = [1]"}, "is the column of 'data.target'"),
        ({"more": "[[subgroups]]\ncolumn = 'sex'\nlevels = ['f', 'f']"}, "must name labels, each once"),
        ({"more": "[[subgroups]]\ncolumn = 'sex'\nlevels = ['other']"}, "each once and none 'other'"),
        ({"more": "[[subgroups]]\ncolumn = 'age'\nedges = [70, 50]"}, "must hold rising numbers"),
        (
            {"more": "[[subgroups]]\ncolumn = 'a'\nedges = [1]\n[[subgroups]]\ncolumn = 'a'\nedges = [2]"},
            "'subgroups[2].column' is 'a', which is parted already",
        ),
    ],
)
def test_what_a_value_may_be_is_said(tmp_path, changes, said):
    assert said in faults_of(tmp_path, **changes)


def test_all_faults_are_told_at_once_and_with_the_file(tmp_path):
    path = write_study(tmp_path, training="ruonds = 4\nseed = -1", policy='across_rounds = "no"')
    with pytest.raises(ConfigError) as caught:
        read_study(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{path}: ") for line in lines)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name = ", "is not TOML"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"", "the key 'name' is missing"),
        (b"sites = 3", "'sites' must be a list of tables, [[sites]]"),
        (b"data = 3", "'data' must be a table, [data]"),
        (b"[sites]\nname = 'a'", "'sites' must be a list of tables"),
    ],
)
def test_file_that_is_no_study_is_refused(tmp_path, content, said):
    path = tmp_path / "study.toml"
    path.write_bytes(content)
    _, faults = examine_study(path)
    assert said in "\n".join(faults)


def test_file_that_cannot_be_read_is_refused(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_study(path)


def test_rotating_dropout_takes_the_sites_in_turn(tmp_path):
    study = read_study(
        write_study(tmp_path, more="[[dropouts]]\nround = 'every'\nrotate = true\nstep = 'confirm'")
    )
    lost = [study.losses(number) for number in range(1, 6)]
    assert lost == [{name: "confirm"} for name in ("east", "north", "south", "west", "east")]


def test_dropouts_of_one_round_add_up(tmp_path):
    more = (
        "[[dropouts]]\nround = [1, 3]\nsite = 'east'\n[[dropouts]]\nround = 3\nsite = 'west'\nstep = 'unmask'"
    )
    study = read_study(write_study(tmp_path, more=more))
    assert study.losses(1) == {"east": "upload"}
    assert study.losses(2) == {}
    assert study.losses(3) == {"east": "upload", "west": "unmask"}


def tables() -> dict[str, dict[str, object]]:
    """Every table of a study file, by the key under which it stands: its keys and their defaults."""
    kinds = {
        "": StudyFile,
        "data": file.Data,
        "sites": file.SiteEntry,
        "model": file.ModelTable,
        "training": file.TrainingTable,
        "test": file.HeldOutTable,
        "modalities": file.ModalityTable,
        "fusion": file.FusionTable,
        "harmonise": file.HarmoniseTable,
        "subgroups": file.SubgroupTable,
        "policy": file.PolicyTable,
        "privacy": PrivacyTable,
        "dropouts": file.Dropout,
        "simulation": file.SimulationTable,
        "description": file.DescriptionTable,
    }
    found: dict[str, dict[str, object]] = {}
    for key, kind in kinds.items():
        for struct in get_args(kind) or (kind,):
            config = struct.__struct_config__
            tag = {config.tag_field: config.tag} if config.tag_field else {}
            own = tag | {one.name: one.default for one in msgspec.structs.fields(struct)}
            found[key] = own | found.get(key, {})
    return found


def test_reference_has_every_key_and_no_other():
    text = REFERENCE.read_text(encoding="utf-8")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    found = {}
    for section in sections:
        heading = re.match(r"`\[*([a-z]*)\]*`|Top", section)
        if heading:
            found[heading.group(1) or ""] = set(
                re.findall(r"^\| `([a-z0-9_]+)`", section, flags=re.MULTILINE)
            )
    assert found == {key: set(table) for key, table in tables().items()}


def test_template_shows_every_key_with_its_default():
    at, shown = "", {}
    for line in TEMPLATE.splitlines():
        text = line.removeprefix("# ")
        if heading := re.fullmatch(r"\[+([a-z]+)\]+", text):
            at = heading.group(1)
        elif pair := re.match(r"([a-z0-9_]+) = (\S+|\"[^\"]*\"|\[[^\]]*\]|\{[^}]*\})\s*(#|$)", text):
            value = msgspec.toml.decode(f"v = {pair.group(2)}")["v"]
            shown.setdefault(at, {})[pair.group(1)] = (value, line.startswith("#"))
    for at, defaults in tables().items():
        named = {name for name in defaults if name not in tables()} - {
            "ids",
            "rotate",
            "edges",
        }  # in a remark beside another
        assert set(shown[at]) == named, at
        for name, (value, commented) in shown[at].items():
            default = defaults[name]
            if commented and default not in (None, msgspec.NODEFAULT, False, "") and name != "consistency":
                plain = list(default) if isinstance(default, tuple) else default
                assert value == plain, (at, name)


def test_byte_order_mark_of_an_editor_is_no_fault(tmp_path):
    path = write_study(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_study(path).name == "tested"
