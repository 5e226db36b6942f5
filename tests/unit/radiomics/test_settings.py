# SPDX-License-Identifier: Apache-2.0

"""Settings: one hash for what means the same, another for what does not, and faults with their place."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from sordino.errors import ConfigError
from sordino.radiomics import settings as module
from sordino.radiomics import settings_hash, settings_of
from sordino.radiomics.settings import DEFAULT, read_settings

pytest.importorskip("radiomics", reason="needs the extra radiomics")

PLAIN = {
    "setting": {"binWidth": 25.0, "resampledPixelSpacing": [2.0, 2.0, 2.0]},
    "imageType": {"Original": {}, "LoG": {"sigma": [3.0]}},
    "featureClass": {"shape": [], "firstorder": ["Mean", "Energy"]},
}
SAME = {
    "featureClass": {"firstorder": ["Energy", "Mean"], "shape": None},
    "imageType": {"LoG": {"sigma": [3]}, "Original": None},
    "setting": {
        "resampledPixelSpacing": [2, 2, 2],
        "binWidth": 25,
        "normalize": False,
        "additionalInfo": True,
    },
}


def test_the_order_of_keys_a_whole_number_and_a_default_written_out_make_no_difference():
    assert settings_hash(PLAIN) == settings_hash(SAME)
    assert len(settings_hash(PLAIN)) == 64


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("setting", "binWidth", 10.0),
        ("setting", "binCount", 32),
        ("setting", "resampledPixelSpacing", [2.0, 2.0, 1.0]),
        ("setting", "label", 2),
        ("imageType", "LoG", {"sigma": [2.0]}),
        ("featureClass", "shape", ["Sphericity"]),
        ("featureClass", "glcm", []),
    ],
)
def test_what_moves_a_value_or_a_column_moves_the_hash(table, key, value):
    assert settings_hash(PLAIN | {table: PLAIN[table] | {key: value}}) != settings_hash(PLAIN)


@pytest.mark.parametrize(("package", "release", "moves"), [
    ("PyRadiomics", "3.2.0", True), ("SimpleITK", "2.4.1", True), ("NumPy", "1.26.0", False),
])  # fmt: skip
def test_the_hash_covers_the_software_that_defines_values(monkeypatch, package, release, moves):
    before, installed = settings_hash(PLAIN), module.versions()
    monkeypatch.setattr(module, "versions", lambda: installed | {package: release})
    assert (settings_hash(PLAIN) != before) is moves


def test_a_file_means_the_same_in_each_of_its_languages(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(PLAIN))
    (tmp_path / "a.yaml").write_text(
        "setting:\n  binWidth: 25\n  resampledPixelSpacing: [2, 2, 2]\n"
        "imageType:\n  Original: {}\n  LoG:\n    sigma: [3.0]\n"
        "featureClass:\n  shape:\n  firstorder: [Mean, Energy]\n"
    )
    (tmp_path / "a.toml").write_text(
        "[setting]\nbinWidth = 25\nresampledPixelSpacing = [2, 2, 2]\n[imageType]\nOriginal = {}\n"
        'LoG = {sigma = [3.0]}\n[featureClass]\nshape = []\nfirstorder = ["Mean", "Energy"]\n'
    )
    assert {settings_hash(path) for path in tmp_path.iterdir()} == {settings_hash(PLAIN)}


def test_without_settings_the_default_for_ct_is_meant(tmp_path):
    (tmp_path / "ct.toml").write_text(DEFAULT)
    assert settings_hash() == settings_hash(tmp_path / "ct.toml")
    assert "shape2D" not in read_settings({})["featureClass"]
    guide = Path(__file__).parents[3] / "docs" / "radiomics.md"
    assert f"```toml\n{DEFAULT}```" in guide.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"settings": {}}, "settings: unknown name 'settings'; did you mean 'setting'?"),
        ({"setting": {"binwidth": 25}}, "setting: unknown name 'binwidth'; did you mean 'binWidth'?"),
        ({"imageType": {"Wavelets": {}}}, "imageType: unknown name 'Wavelets'; did you mean 'Wavelet'?"),
        ({"imageType": {"LoG": {"sigmas": [1]}}}, "LoG: unknown name 'sigmas'; did you mean 'sigma'?"),
        ({"featureClass": {"first": []}}, "featureClass: unknown name 'first'; did you mean 'firstorder'?"),
        (
            {"featureClass": {"shape": ["Volume"]}},
            "featureClass: shape: unknown name 'Volume'; did you mean 'MeshVolume'?",
        ),
        ({"featureClass": {"qqq": []}}, "featureClass: unknown name 'qqq'; there are firstorder, glcm"),
        ({"setting": {"binWidth": "wide"}}, "'wide' is not of type 'float'"),
        ({"setting": {"binWidth": 0}}, "binWidth"),
        ({"setting": {"interpolator": "sitkCubic"}}, "sitkCubic"),
        ({"setting": [1]}, "setting: must be a table"),
        ({"featureClass": {"shape": "Sphericity"}}, "shape: must be a list of features"),
        ({"voxelSetting": {"kernelRadius": 2}}, "maps of voxels are not extracted"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_meant_is_refused_with_its_place(settings, told, capfd):
    with pytest.raises(ConfigError) as caught:
        settings_hash(settings)
    assert told in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "text", "told"), [
    ("a.toml", "setting = [", "a.toml: "),
    ("a.yaml", "setting: {binWidth: 25", "a.yaml: line 1: "),
    ("a.yaml", "- 1", "a.yaml: must be a table"),
    ("none.toml", None, "none.toml: cannot be read: No such file"),
])  # fmt: skip
def test_a_settings_file_that_cannot_be_read_is_named(tmp_path, name, text, told):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        settings_hash(tmp_path / name)
    assert told in str(caught.value)


def test_the_hash_is_read_back_from_a_table(tmp_path):
    (tmp_path / "a.csv").write_text("id,settings,original_shape_Sphericity\na,abc,1.0\nb,abc,0.5\n")
    assert settings_of(tmp_path / "a.csv") == "abc"


@pytest.mark.parametrize(("text", "told"), [
    ("id,age\na,3\n", "has no column 'settings'"),
    ("id,settings\n", "has no row"),
    ("id,settings\na,\n", "has no row that says"),
    ("id,settings\na,abc\nb,abd\n", r"different settings: abc \(row 2\), abd \(row 3\)"),
    ("id,settings\na,abc\nb,\n", r"different settings: none \(row 3\), abc \(row 2\)"),
])  # fmt: skip
def test_a_table_that_was_not_extracted_in_one_way_is_refused(tmp_path, text, told):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ConfigError, match=told):
        settings_of(tmp_path / "a.csv")


def test_importing_the_package_loads_no_pyradiomics():
    script = "import sys, sordino.radiomics as ours; ours.settings_of; print('radiomics' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    def absent(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(module, "version", absent)
    with pytest.raises(ConfigError, match=r"is not installed: pip install 'sordino\[radiomics\]'"):
        settings_hash()
