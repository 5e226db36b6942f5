# SPDX-License-Identifier: Apache-2.0

"""Phantoms: a lesion has the shape and texture that it is said to have, and scanners change its features."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("radiomics", reason="needs the extra radiomics")

from scans import write
from sordino.errors import ConfigError, InvalidArgument
from sordino.radiomics import write_phantoms
from sordino.radiomics.lesion import SCANNERS, TUMOUR, Lesion, Scanner, body, scanned
from sordino.radiomics.settings import read_settings
from sordino.radiomics.worker import Measurement

ROUND = Lesion(radius=8.0, elongation=1.0, spiculation=0.0, correlation=2.0, amplitude=60.0)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_phantoms(tmp_path / name, sites=3, patients=1, size=48, seed=seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert len(files(tmp_path / "a")) == 3 * 3 + 3
    scan = tmp_path / "c" / "site1" / "images" / "site1-001.nii.gz"
    assert scan.read_bytes() != (tmp_path / "a" / scan.relative_to(tmp_path / "c")).read_bytes()


def test_a_patient_is_the_same_in_a_larger_cohort(tmp_path):
    write_phantoms(tmp_path / "few", sites=3, patients=1, size=48)
    write_phantoms(tmp_path / "more", sites=4, patients=2, size=48)
    few, more = files(tmp_path / "few"), files(tmp_path / "more")
    scans = [path for path in few if path.suffix == ".gz"]
    assert len(scans) == 6
    assert all(few[path] == more[path] for path in scans)


@pytest.mark.parametrize("elongation", [0.6, 1.0])
def test_a_lesion_has_the_volume_and_the_axes_that_are_said(elongation):
    _, mask = body(replace(ROUND, elongation=elongation), 56, np.random.default_rng(1))
    assert mask.sum() == pytest.approx(4 / 3 * np.pi * 8.0**3, rel=0.02)
    spread = np.sqrt(np.linalg.eigvalsh(np.cov(np.argwhere(mask).T)))
    assert spread[:2] / spread[2] == pytest.approx([elongation] * 2, rel=0.05)


def test_spiculation_waves_the_surface():
    def roughness(spiculation):
        _, mask = body(replace(ROUND, spiculation=spiculation), 56, np.random.default_rng(1))
        places = np.argwhere(mask)
        return np.linalg.norm(places - places.mean(axis=0), axis=1).max()

    assert roughness(0.0) == pytest.approx(8.0, abs=1.0)
    assert roughness(0.15) > 9.5


@pytest.mark.parametrize("correlation", [1.0, 3.0])
def test_texture_has_the_amplitude_and_the_correlation_length_that_are_said(correlation):
    lesion = replace(ROUND, radius=14.0, correlation=correlation)
    pairs, values = [], []
    for seed in range(6):
        density, mask = body(lesion, 56, np.random.default_rng(seed))
        inside = mask[:, :, 2:] & mask[:, :, :-2]
        pairs.append((density[:, :, 2:][inside] - TUMOUR) * (density[:, :, :-2][inside] - TUMOUR))
        values.append(density[mask])
    values = np.concatenate(values)
    assert values.std() == pytest.approx(60.0)
    # Smoothed white noise is correlated by exp(-d^2 / (4 sigma^2)) over a distance d, here 2 mm.
    expected = np.exp(-(2.0**2) / (4 * correlation**2))
    assert np.concatenate(pairs).mean() / values.var() == pytest.approx(expected, abs=0.08)


def test_each_scanner_effect_moves_texture_in_its_own_direction(tmp_path):
    rng = np.random.default_rng(3)
    density, mask = body(ROUND, 48, rng)
    settings = read_settings({
        "setting": {"binWidth": 25, "resampledPixelSpacing": [2, 2, 2], "resegmentRange": [-300, 400]},
        "featureClass": {"glcm": ["Contrast"]},
    })  # fmt: skip
    plain = Scanner(slice=1, kernel=0.0, noise=5.0)
    contrast = {}
    for name, scanner in {
        "plain": plain,
        "noisy": replace(plain, noise=50.0),
        "smooth": replace(plain, kernel=1.5),
        "sharp": replace(plain, kernel=-1.0),
        "thick": replace(plain, slice=3),
    }.items():
        image, drawn = scanned(density, mask, scanner, np.random.default_rng(4))
        assert image.shape == (48 // scanner.slice, 48, 48)
        spacing = (1.0, 1.0, scanner.slice)
        paths = [
            write(tmp_path / f"{name}-{kind}.nii.gz", array, spacing=spacing)
            for kind, array in (("image", image), ("mask", drawn))
        ]
        answer = Measurement(settings).measure(paths[0], {"": paths[1]}, None)
        contrast[name] = float(answer["rows"][0][2]["original_glcm_Contrast"])
    assert contrast["smooth"] < 0.8 * contrast["plain"]
    assert contrast["thick"] < 0.9 * contrast["plain"]
    assert contrast["sharp"] > 1.2 * contrast["plain"]
    assert contrast["noisy"] > 1.2 * contrast["plain"]


def test_outcomes_follow_the_law(tmp_path, monkeypatch):
    # The law needs no voxels.
    monkeypatch.setattr(
        "sordino.radiomics.phantom._write_volume",
        lambda path, *_: path.parent.mkdir(parents=True, exist_ok=True),
    )
    monkeypatch.setattr(
        "sordino.radiomics.phantom.body", lambda *_: (np.zeros((3, 1, 1)), np.zeros((3, 1, 1), bool))
    )
    found = write_phantoms(tmp_path / "law", sites=5, patients=400, size=48)
    with (tmp_path / "law" / "truth.csv").open() as file:
        truth = {row["patient"]: row for row in csv.DictReader(file)}
    clinical = []
    for folder in found.sites.values():
        with (folder / "clinical.csv").open() as file:
            clinical += csv.DictReader(file)
    eta = np.array([float(truth[row["patient"]]["eta"]) for row in clinical])
    place = {
        name: np.array(
            [2 * (float(truth[row["patient"]][name]) - low) / (high - low) - 1 for row in clinical]
        )
        for name, low, high in (("radius", 5, 10), ("amplitude", 20, 120), ("spiculation", 0, 0.15))
    }
    age = np.array([2 * (int(row["age"]) - 45) / 35 - 1 for row in clinical])
    law = 3 * place["radius"] + 2.4 * place["amplitude"] + 1.2 * place["spiculation"] + 0.6 * age
    np.testing.assert_allclose(eta, law, atol=0.02)
    outcome = np.array([int(row["outcome"]) for row in clinical])
    chance = 1 / (1 + np.exp(-eta))
    # Score test of slope and intercept, at four standard deviations.
    for weight in (np.ones_like(eta), eta):
        off = (weight * (outcome - chance)).sum()
        assert abs(off) < 4 * np.sqrt((weight**2 * chance * (1 - chance)).sum())
    # Events less the hazard that was passed: a martingale with the variance of the latter.
    days = np.array([int(row["days"]) for row in clinical])
    event = np.array([int(row["event"]) for row in clinical])
    passed = days * np.exp(eta / 2) / 900
    for weight in (np.ones_like(eta), eta):
        assert abs((weight * (event - passed)).sum()) < 4 * np.sqrt((weight**2 * passed).sum())
    assert 0.2 < 1 - event.mean() < 0.6


def test_scanners_differ_from_site_to_site_and_come_again(tmp_path):
    write_phantoms(tmp_path / "a", sites=6, patients=1, size=48)
    with (tmp_path / "a" / "truth.csv").open() as file:
        slices = [int(row["slice"]) for row in csv.DictReader(file)]
    assert slices == [scanner.slice for scanner in (*SCANNERS, SCANNERS[0])]


@pytest.mark.parametrize(("options", "told"), [
    ({"sites": 2}, "sites: 2 is too small; at least 3"),
    ({"patients": 0}, "patients: 0 is too small"),
    ({"size": 20}, "size: 20 is too small; at least 48"),
    ({"seed": -1}, "seed: -1 is not"),
])  # fmt: skip
def test_numbers_that_make_no_cohort_are_refused(tmp_path, options, told):
    with pytest.raises(InvalidArgument, match=told):
        write_phantoms(tmp_path / "a", **options)
    assert not (tmp_path / "a").exists()


def test_a_folder_with_anything_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        write_phantoms(tmp_path)
    with pytest.raises(ConfigError, match="cannot be written to"):
        write_phantoms(tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
