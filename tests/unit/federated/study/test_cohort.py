# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import gzip

import numpy as np
import pytest

from hospitals import hospitals, write_csv, write_study
from sordino.errors import ConfigError
from sordino.federated.study.cohort import read_cohort
from sordino.federated.study.file import read_study
from sordino.federated.study.prepared import examine, prepare

HEADER = ["id", "feature 0", "feature 1", "feature 2", "target"]


def rows(count=6, name="p"):
    return [[f"{name}{number}", 0.5 * number, 1.0, -2.0, number % 2] for number in range(count)]


def faults_of(folder, *, header=HEADER, content=None, raw=None, **changes):
    """What is wrong with a study whose site 'north' has this file; nothing else is wrong with it."""
    path = write_study(folder, **changes)
    if raw is not None:
        (folder / "north.csv").write_bytes(raw)
    else:
        write_csv(folder / "north.csv", header, rows() if content is None else content)
    prepared, findings = examine(path)
    assert prepared is None
    return "\n".join(findings.faults)


def test_rows_are_read_as_they_stand(tmp_path):
    path = write_study(tmp_path)
    cohort = read_cohort(read_study(path), tmp_path)
    for name, site in hospitals().items():
        np.testing.assert_array_equal(cohort.sites[name].features, site.features)
        np.testing.assert_array_equal(cohort.sites[name].target, site.target)
    assert cohort.schema.features == ("feature 0", "feature 1", "feature 2")
    assert set(cohort.schemas.values()) == {cohort.schema.digest}


def test_missing_column_is_named(tmp_path):
    said = faults_of(tmp_path, header=["id", "feature 0", "Feature 1", "feature 2", "target"])
    assert "north.csv: no column 'feature 1'; did you mean 'Feature 1'?" in said


def test_column_that_others_do_not_have_is_named(tmp_path):
    said = faults_of(tmp_path, header=[*HEADER, "age"], content=[[*row, 1] for row in rows()])
    assert "north.csv: column 'age' is not in the other files" in said


def test_missing_id_and_target_columns_are_named(tmp_path):
    said = faults_of(tmp_path, header=["patient", "feature 0", "feature 1", "feature 2", "outcome"])
    assert "no column 'id'" in said
    assert "no column 'target'" in said


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("high", "line 4, column 'feature 1': 'high' is not a number"),
        ("1_000", "'1_000' is not a number"),
        ("inf", "'inf' is not a number"),
        ("1e200", "'1e200' is not a number"),
        ("", "line 4, column 'feature 1': the value is missing"),
        (" NA ", "the value is missing"),
        ("nan", "the value is missing"),
        ("1,5", "'1,5' is not a number"),
    ],
)
def test_cell_that_is_no_number_is_named_by_line_and_column(tmp_path, cell, said):
    content = rows()
    content[2][2] = cell
    assert said in faults_of(tmp_path, content=content)


def test_many_bad_cells_are_counted(tmp_path):
    content = [[name, "a", "b", "c", target] for name, _, _, _, target in rows()]
    assert "13 more cells are missing or not numbers" in faults_of(tmp_path, content=content)


def test_duplicate_ids_are_named_with_their_lines(tmp_path):
    content = rows()
    content[4][0] = content[1][0]
    assert "the id 'p1' occurs more than once: lines 3, 6" in faults_of(tmp_path, content=content)


def test_a_single_missing_id_is_told(tmp_path):
    content = rows()
    content[1][0] = ""
    assert "the id is missing: lines 3" in faults_of(tmp_path, content=content)


def test_missing_ids_are_told(tmp_path):
    content = rows()
    content[1][0] = content[2][0] = " "
    assert "the id is missing: lines 3, 4" in faults_of(tmp_path, content=content)


def test_target_of_neither_class_is_named_by_line(tmp_path):
    content = rows()
    content[3][4] = "2"
    said = faults_of(tmp_path, content=content)
    assert "line 5, target 'target': '2' is neither '0' nor '1', the 'data.classes'" in said


def test_missing_target_is_named_by_line(tmp_path):
    content = rows()
    content[3][4] = ""
    assert "line 5, target 'target': the value is missing" in faults_of(tmp_path, content=content)


def test_one_class_overall_is_refused(tmp_path):
    path = write_study(tmp_path)
    for name in hospitals():
        write_csv(tmp_path / f"{name}.csv", HEADER, [[*row[:4], 1] for row in rows(name=name)])
    _, findings = examine(path)
    assert findings.faults == ("the target 'target' has one class only, 1",)


def test_one_class_at_a_site_is_a_warning(tmp_path):
    path = write_study(tmp_path)
    write_csv(tmp_path / "north.csv", HEADER, [[*row[:4], 1] for row in rows()])
    prepared, findings = examine(path)
    assert prepared is not None
    assert "site 'north' has patients of one class only" in findings.warnings


def test_one_id_at_two_sites_is_a_warning(tmp_path):
    path = write_study(tmp_path)
    for name in ("north", "south"):
        write_csv(tmp_path / f"{name}.csv", HEADER, rows(6))
    prepared, findings = examine(path)
    assert prepared is not None
    assert any("6 ids occur at more than one site, such as 'p0'" in warning for warning in findings.warnings)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is empty"),
        (b"id,feature 0,feature 1,feature 2,target\n", "has a header but no rows"),
        (b"id;a;b\n1;2;3\n", "columns are separated by ';'"),
        (b"id,a,a\n1,2,3\n", "two columns are called 'a'"),
        (b"id,,a\n1,2,3\n", "column 2 has no name"),
        (b"id,a\n1,2,3\n", "line 2 has 3 cells, the header has 2"),
        (b'id,a\n1,"2\n', "north.csv: line"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
        (b"\x00\x00,\x00\n1,2\n", "north.csv"),
    ],
)
def test_file_that_is_no_table_is_refused(tmp_path, raw, said):
    assert said in faults_of(tmp_path, raw=raw)


def test_missing_file_is_named_with_its_site(tmp_path):
    path = write_study(tmp_path)
    (tmp_path / "north.csv").unlink()
    with pytest.raises(ConfigError, match=r"site 'north'.*north.csv: cannot be read: No such file"):
        prepare(path)


@pytest.mark.parametrize(
    "content", [b"not gzip", gzip.compress(b"id,a\n1,2\n", mtime=0)[:-9], b"\x1f\x8b\x08\x00"]
)
def test_broken_gzip_file_is_refused(tmp_path, content):
    path = write_study(tmp_path)
    (tmp_path / "north.csv.gz").write_bytes(content)
    path.write_text(path.read_text().replace("north.csv", "north.csv.gz"))
    _, findings = examine(path)
    assert "is not a whole gzip file" in findings.faults[0]


def test_compressed_file_and_byte_order_mark_and_blank_lines_are_read(tmp_path):
    path = write_study(tmp_path)
    plain = prepare(path).cohort
    raw = (tmp_path / "north.csv").read_bytes()
    (tmp_path / "north.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + raw + b"\r\n"))
    path.write_text(path.read_text().replace("north.csv", "north.csv.gz"))
    zipped = prepare(path).cohort
    np.testing.assert_array_equal(zipped.sites["north"].features, plain.sites["north"].features)


def test_columns_may_stand_in_another_order_at_a_site(tmp_path):
    path = write_study(tmp_path)
    before = prepare(path).cohort
    header = ["target", "feature 2", "id", "feature 0", "feature 1"]
    site = hospitals()["north"]
    content = [
        [int(target), features[2], f"n{number}", features[0], features[1]]
        for number, (features, target) in enumerate(zip(site.features, site.target, strict=True))
    ]
    write_csv(tmp_path / "north.csv", header, content)
    after = prepare(path).cohort
    np.testing.assert_array_equal(after.sites["north"].features, before.sites["north"].features)
    assert after.schema.digest == before.schema.digest


def test_features_may_be_chosen_and_columns_left_out(tmp_path):
    chosen = prepare(write_study(tmp_path, data='features = ["feature 2", "feature 0"]')).cohort
    assert chosen.schema.features == ("feature 2", "feature 0")
    rest = prepare(write_study(tmp_path, data='exclude = ["feature 1"]')).cohort
    assert rest.schema.features == ("feature 0", "feature 2")
    assert chosen.schema.digest != rest.schema.digest
    assert "no column is left as a feature" in faults_of(
        tmp_path, data='exclude = ["feature 0", "feature 1", "feature 2"]'
    )


def test_labels_may_be_texts_and_numbers_may_be_written_otherwise(tmp_path):
    path = write_study(tmp_path, data='classes = ["no", 1]')
    for name in hospitals():
        content = [[*row[:4], "1.0" if row[4] else "no"] for row in rows(name=name)]
        write_csv(tmp_path / f"{name}.csv", HEADER, content)
    np.testing.assert_array_equal(prepare(path).cohort.sites["east"].target, [0, 1, 0, 1, 0, 1])


def one_file(folder, data, names):
    """A study whose sites share one file."""
    path = write_study(folder)
    sites = "\n".join(f'[[sites]]\nname = "{name}"' for name in names)
    path.write_text(
        f'name = "one"\n[data]\ntarget = "target"\npath = "all.csv"\n{data}\n{sites}\n'
        '[policy]\nacross_rounds = "freeze"\n'
    )
    return path


def test_one_file_is_split_by_a_column(tmp_path):
    header = ["id", "clinic", "a", "target"]
    content = [[f"p{number}", "xyz"[number % 3], number, number % 2] for number in range(12)]
    write_csv(tmp_path / "all.csv", header, content)
    cohort = prepare(one_file(tmp_path, 'site_column = "clinic"', "xyz")).cohort
    assert cohort.sites["y"].ids == ("p1", "p4", "p7", "p10")
    assert cohort.schema.features == ("a",)


@pytest.mark.parametrize("pattern", ["^[A-Z]+", "^([A-Z]+)[0-9]"])
def test_one_file_is_split_by_a_pattern_in_the_id(tmp_path, pattern):
    content = [[f"{'XYZ'[number % 3]}{number}", number, number % 2] for number in range(12)]
    write_csv(tmp_path / "all.csv", ["id", "a", "target"], content)
    cohort = prepare(one_file(tmp_path, f"site_pattern = '{pattern}'", "XYZ")).cohort
    assert cohort.sites["Z"].ids == ("Z2", "Z5", "Z8", "Z11")


def test_rows_of_no_site_and_sites_without_rows_are_told(tmp_path):
    content = [[f"p{number}", "xyw"[number % 3], number, number % 2] for number in range(12)]
    write_csv(tmp_path / "all.csv", ["id", "clinic", "a", "target"], content)
    _, findings = examine(one_file(tmp_path, 'site_column = "clinic"', "xyz"))
    said = "\n".join(findings.faults)
    assert "4 rows belong to 'w', which is none of the sites" in said
    assert "no rows for site 'z'" in said


def test_data_path_replaces_that_of_the_study(tmp_path):
    path = write_study(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in hospitals():
        (tmp_path / f"{name}.csv").rename(elsewhere / f"{name}.csv")
    assert prepare(path, elsewhere).cohort.sites.keys() == hospitals().keys()
    with pytest.raises(ConfigError):
        prepare(path)


def test_test_ids_that_nobody_has_or_that_leave_nobody_are_told(tmp_path):
    everyone = [f"north-{number}" for number in range(27)]
    path = write_study(tmp_path, test=f"ids = {['none', *everyone]}")
    _, findings = examine(path)
    said = "\n".join(findings.faults)
    assert "'test.ids' names 'none', which no site has" in said
    assert "leaves site 'north' without a patient to train on" in said


def test_more_rows_than_the_public_bound_are_refused(tmp_path):
    path = write_study(tmp_path, policy='across_rounds = "accept"\nmax_patients = 30')
    _, findings = examine(path)
    assert len(findings.faults) == 2
    assert "more than policy.max_patients = 30 rows" in findings.faults[0]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'id,feature 0,target\na,1,0\nb,"1,1\nc,1,0\n', "line 3: a quote is opened and not closed"),
        (b"id,feature 0,target\na,1,5,0\n", "line 2 has 4 cells, the header has 3; a comma inside a cell"),
        (b"id,feature 0,target\na,0\n", "line 2 has 2 cells, the header has 3"),
    ],
)
def test_row_of_the_wrong_form_is_named_by_line_with_its_likely_cause(tmp_path, raw, said):
    assert said in faults_of(tmp_path, raw=raw)


def test_class_may_be_called_nan(tmp_path):
    path = write_study(tmp_path, data='classes = ["nan", 1]')
    for name in hospitals():
        table = (tmp_path / f"{name}.csv").read_text().replace(",0\n", ",nan\n")
        (tmp_path / f"{name}.csv").write_text(table)
    cohort = read_cohort(read_study(path), tmp_path)
    np.testing.assert_array_equal(cohort.sites["north"].target, hospitals()["north"].target)


def test_excluded_column_that_no_site_has_is_told(tmp_path):
    path = write_study(tmp_path, data='exclude = ["feature 2", "featrue 1"]')
    prepared, findings = examine(path)
    assert prepared is None
    assert findings.faults == ("'data.exclude' names 'featrue 1', a column that no site has",)
