# SPDX-License-Identifier: Apache-2.0

"""Scans that cannot be used: each is told as a reason, with what is wrong, where and by how much."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("radiomics", reason="needs the extra radiomics")

from scans import SMALL, ball, write, write_series
from sordino.errors import ConfigError
from sordino.radiomics import scans as names
from sordino.radiomics import worker
from sordino.radiomics.scans import find_scans
from sordino.radiomics.settings import read_settings
from sordino.radiomics.worker import Measurement


@pytest.fixture(scope="module")
def measurement():
    return Measurement(read_settings(SMALL))


@pytest.fixture
def files(tmp_path):
    """An image, and its mask by the name of no lesion."""
    values, mask = ball()
    return write(tmp_path / "image.nii.gz", values), {"": write(tmp_path / "mask.nii.gz", mask)}


def reasons(answer):
    assert answer["rows"] == []
    return [reason for _, reason in answer["failures"]]


def only(answer):
    (reason,) = reasons(answer)
    return reason


def lesions(answer):
    assert answer["failures"] == []
    return [(lesion, alone) for lesion, alone, _ in answer["rows"]]


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "nhdr"])
def test_every_kind_of_file_is_read_to_the_same_features(measurement, files, tmp_path, suffix):
    values, mask = ball()
    image = write(tmp_path / suffix / f"image.{suffix}", values)
    drawn = write(tmp_path / suffix / f"mask.{suffix}", mask)
    answer = measurement.measure(image, {"": drawn}, None)
    assert lesions(answer) == [("1", True)]
    assert answer["rows"] == measurement.measure(*files, None)["rows"]


def test_a_dicom_series_is_read_in_the_order_of_space(measurement, tmp_path):
    values, mask = ball()
    values = np.round(values)
    series = write_series(tmp_path / "P1" / "study", values[::-1], spacing=-2.0, start=30.0)
    drawn = write(tmp_path / "mask.nii.gz", mask)
    image = write(tmp_path / "image.nrrd", values.astype(np.int16))
    (series / "notes.txt").write_text("no slice")
    answer = measurement.measure(tmp_path / "P1", {"": drawn}, None)
    assert lesions(answer) == [("1", True)]
    assert answer["rows"] == measurement.measure(image, {"": drawn}, None)["rows"]


def test_voxels_of_a_detached_header_are_part_of_the_digest(measurement, tmp_path, files):
    values, _ = ball()
    image = write(tmp_path / "image.nhdr", values)
    before = measurement.measure(image, files[1], None)["scan"]
    assert measurement.measure(image, files[1], before) == {"scan": before}
    write(image, values + 1)
    assert measurement.measure(image, files[1], before)["scan"] != before


@pytest.mark.parametrize(("grid", "told"), [
    ({"spacing": (1.0, 1.0, 2.5)}, r"spacing by 0.5 mm \(1 x 1 x 2 and 1 x 1 x 2.5\)"),
    ({"origin": (0.0, 12.5, 0.0)}, r"origin by 12.5 mm \(0 x 0 x 0 and 0 x 12.5 x 0\)"),
])  # fmt: skip
def test_a_mask_on_another_grid_is_told_with_the_difference(measurement, files, tmp_path, grid, told):
    drawn = write(tmp_path / "other.nii.gz", ball()[1], **grid)
    assert re.search(
        f"image and mask differ in {told}", only(measurement.measure(files[0], {"": drawn}, None))
    )


def test_a_mask_of_another_size_or_direction_is_told(measurement, files, tmp_path):
    import SimpleITK as sitk

    drawn = write(tmp_path / "cut.nii.gz", ball()[1][1:])
    assert "differ in size: 16 x 16 x 16 and 16 x 16 x 15" in only(
        measurement.measure(files[0], {"": drawn}, None)
    )
    turned = sitk.ReadImage(str(files[1][""]))
    turned.SetDirection((0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    sitk.WriteImage(turned, str(tmp_path / "turned.nrrd"))
    assert "differ in direction by 1" in only(
        measurement.measure(files[0], {"": tmp_path / "turned.nrrd"}, None)
    )


def test_a_wider_tolerance_or_a_mask_to_be_corrected_is_a_setting(tmp_path, files):
    drawn = {"": write(tmp_path / "off.nii.gz", ball()[1], origin=(0.05, 0.0, 0.0))}
    assert "origin" in only(Measurement(read_settings(SMALL)).measure(files[0], drawn, None))
    for setting in ({"geometryTolerance": 0.1}, {"correctMask": True}):
        settings = read_settings(SMALL | {"setting": setting})
        assert lesions(Measurement(settings).measure(files[0], drawn, None)) == [("1", True)]
    # ITK's tolerance is one for the whole process.
    Measurement(read_settings(SMALL | {"setting": {"geometryTolerance": 1e-6}}))


def test_masks_that_mark_nothing_or_nonsense_are_told(measurement, files, tmp_path):
    _, mask = ball()
    one = np.zeros_like(mask)
    one[8, 8, 8] = 1
    for name, values, told in (
        ("empty", mask * 0, "the mask is empty"),
        ("part", mask * np.float32(0.5), "whole numbers from 0 on; this one has 0.5"),
        ("below", -mask.astype(np.int16), "whole numbers from 0 on; this one has -1"),
        ("flat", mask[8], "has 2 dimensions; a volume has 3"),
        ("one", one, "only contains 1 segmented voxel"),
    ):
        drawn = write(
            tmp_path / f"{name}.nrrd",
            values,
            **({"spacing": (1, 1), "origin": (0, 0)} if name == "flat" else {}),
        )
        assert told in only(measurement.measure(files[0], {"": drawn}, None))


def test_a_lesion_in_one_slice_has_features(measurement, files, tmp_path):
    _, mask = ball()
    mask[np.arange(16) != 8] = 0
    answer = measurement.measure(files[0], {"": write(tmp_path / "slice.nrrd", mask)}, None)
    assert lesions(answer) == [("1", True)]


def test_a_voxel_that_is_no_number_is_told_with_its_place(measurement, files, tmp_path):
    values, _ = ball()
    values[3, 2, 1], values[9, 9, 9] = np.nan, np.inf
    image = write(tmp_path / "holes.nrrd", values)
    told = only(measurement.measure(image, files[1], None))
    assert told == "holes.nrrd: 2 voxels are NaN or infinite, the first at (1, 2, 3)"


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd"])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_file_is_never_half_read(measurement, files, tmp_path, suffix, part):
    image = write(tmp_path / f"cut.{suffix}", ball()[0])
    whole = image.read_bytes()
    image.write_bytes(whole[: int(part * len(whole))])
    assert only(measurement.measure(image, files[1], None)).startswith(f"cut.{suffix}: cannot be read")


def test_a_file_that_is_gone_is_tried_again(measurement, files, tmp_path):
    answer = measurement.measure(tmp_path / "gone.nii", files[1], None)
    assert "gone.nii: cannot be read: No such file" in only(answer)
    assert answer["scan"] == ""


def test_each_label_and_each_mask_file_is_a_lesion(measurement, files, tmp_path):
    _, mask = ball()
    mask[:, :, 8:] *= 2
    both = write(tmp_path / "both.nrrd", mask)
    assert lesions(measurement.measure(files[0], {"": both}, None)) == [("1", False), ("2", False)]
    answer = measurement.measure(files[0], {"left": files[1][""], "right": both}, None)
    assert lesions(answer) == [("left", False), ("right-1", False), ("right-2", False)]


def test_one_bad_lesion_leaves_the_others(measurement, files, tmp_path):
    empty = write(tmp_path / "empty.nrrd", ball()[1] * 0)
    answer = measurement.measure(files[0], {"bad": empty, "good": files[1][""]}, None)
    assert [lesion for lesion, _, _ in answer["rows"]] == ["good"]
    assert [lesion for lesion, _ in answer["failures"]] == ["bad"]


def test_a_label_that_is_asked_for_and_absent_is_told(files):
    chosen = Measurement(read_settings(SMALL | {"setting": {"label": 3}}))
    assert only(chosen.measure(*files, None)) == "mask.nii.gz: label 3 is absent; the mask has [1]"


def test_slices_that_leave_a_gap_or_cannot_be_read_are_told(measurement, files, tmp_path):
    values = np.round(ball()[0])
    gap = write_series(tmp_path / "gap", values)
    (gap / "1.2.826.0.1.1-007.dcm").unlink()
    told = only(measurement.measure(gap, files[1], None))
    assert (
        "one may be missing: 1.2.826.0.1.1-006.dcm and 1.2.826.0.1.1-008.dcm are 5 mm apart, others 2.5 mm"
        in told
    )
    bad = write_series(tmp_path / "bad", values)
    (bad / "1.2.826.0.1.1-003.dcm").write_bytes(b"\0" * 400)
    told = only(measurement.measure(bad, files[1], None))
    assert told == "bad: 1.2.826.0.1.1-003.dcm cannot be read as a DICOM slice"
    cut = write_series(tmp_path / "cut", values)
    last = cut / "1.2.826.0.1.1-015.dcm"
    last.write_bytes(last.read_bytes()[:-300])
    assert only(measurement.measure(cut, files[1], None)).startswith("cut: ")


def test_more_than_one_series_or_none_is_refused_with_their_names(measurement, files, tmp_path):
    folder = write_series(tmp_path / "two", np.round(ball()[0]))
    write_series(folder, np.round(ball()[0][:4]), series="1.2.826.0.1.2", start=100.0)
    told = only(measurement.measure(folder, files[1], None))
    assert "2 DICOM series" in told
    assert "1.2.826.0.1.1 (CT, 16 files), 1.2.826.0.1.2 (CT, 4 files)" in told
    (tmp_path / "none").mkdir()
    assert "neither a volume nor a DICOM series" in only(
        measurement.measure(tmp_path / "none", files[1], None)
    )


@pytest.mark.parametrize(("value", "told"), [
    (1 + 2j, "is a complex number, as with NumPy 2.5"),
    (np.complex128(1), "is a complex number"),
    (np.array(np.nan), "is nan for this lesion"),
    (float("inf"), "is inf for this lesion"),
])  # fmt: skip
def test_no_feature_is_complex_or_not_finite(value, told):
    with pytest.raises(ConfigError, match=f"shape_Flatness {told}"):
        worker._number("shape_Flatness", value)


def test_what_the_default_settings_give_is_real(files):
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    found = RadiomicsFeatureExtractor.execute(
        Measurement(read_settings())._extractor, str(files[0]), str(files[1][""])
    )
    assert len(found) == 107
    assert not any(np.iscomplexobj(value) for value in found.values())


def touch(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


def test_masks_go_to_the_patient_whose_name_is_longest(tmp_path):
    touch(
        tmp_path, "images/A.nii.gz", "images/A_1.nrrd", "images/B/scan.nii", "images/C/0001.dcm",
        "images/.hidden.nii", "images/notes.txt", "masks/A.nrrd", "masks/A_1.nrrd", "masks/A_1_left_lung.nii",
        "masks/B/liver.nii.gz", "masks/B/B_node.nii.gz", "masks/C/C.nii.gz",
    )  # fmt: skip
    found, failures = find_scans(tmp_path / "images", tmp_path / "masks")
    assert failures == []
    assert {scan.patient: [*scan.masks] for scan in found} == {
        "A": [""],
        "A_1": ["", "left_lung"],
        "B": ["liver", "node"],
        "C": [""],
    }
    assert {scan.patient: scan.image.name for scan in found}["C"] == "C"
    assert {scan.patient: scan.image.name for scan in found}["B"] == "scan.nii"


def test_what_has_no_partner_or_two_is_a_failure(tmp_path):
    touch(
        tmp_path, "images/alone.nii", "images/twice.nii", "images/twice.nrrd", "images/many.nii",
        "images/good.nii", "masks/twice.nii", "masks/many_a.nii", "masks/many_a.nrrd", "masks/good.nii",
        "masks/nobody.nii",
    )  # fmt: skip
    found, failures = find_scans(tmp_path / "images", tmp_path / "masks")
    assert [scan.patient for scan in found] == ["good"]
    assert {failure.patient: failure.reason for failure in failures} == {
        "alone": "no mask: alone.nii.gz, alone_LESION.nii.gz or a folder alone",
        "twice": "2 images: twice.nii, twice.nrrd",
        "many": "two masks for 'a'",
        "nobody": "no image for the mask nobody.nii",
    }


def test_folders_without_scans_are_refused(tmp_path):
    touch(tmp_path, "images/notes.txt", "masks/A.nii", "scans/A.nii")
    for images, masks, told in (
        ("images", "masks", "no image in it"),
        ("scans", "scans", "images and masks are told apart by their folders"),
        ("none", "masks", "cannot be read: No such file"),
    ):
        with pytest.raises(ConfigError, match=told):
            find_scans(tmp_path / images, tmp_path / masks)
    assert names.SUFFIXES[0] == ".nii.gz"
