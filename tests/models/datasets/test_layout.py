"""Labels of an archive: tables of labels first, then class folders, then other tables."""

from __future__ import annotations

from pathlib import PurePosixPath as Path

import pytest

from models.datasets.errors import DatasetRejected
from models.datasets.layout import is_table, read_layout
from models.datasets.table_reader import Annotation, Layout
from models.runtime.supervisor_callbacks import no_heartbeat

NAMES = [f"img/{name}{number}.png" for name in "ab" for number in range(6)]
ROWS = "".join(f"{name},{name[4]}\n" for name in NAMES)
TABLE = "file,label\n" + ROWS


def read(tables: dict[str, str], *names: str) -> Layout:
    """Read the labels of images that tables or folders give."""
    paths = [Path(name) for name in names or NAMES]
    return read_layout(paths, paths, {Path(name): text.encode() for name, text in tables.items()}, no_heartbeat)


def refused(tables: dict[str, str], *names: str) -> DatasetRejected:
    """Why these labels are refused."""
    with pytest.raises(DatasetRejected) as caught:
        read(tables, *names)
    return caught.value


def labels(found: Layout) -> dict[str, tuple[str, ...]]:
    """The labels of each file."""
    return {str(path): annotation.labels for path, annotation in found.annotations.items()}


def splits(found: Layout) -> dict[str, str]:
    """The split of each file."""
    return {str(path): annotation.split for path, annotation in found.annotations.items()}


def skipped(found: Layout) -> dict[str, str]:
    """The code of each row or table that is not used."""
    return {one.file: one.code for one in found.skipped}


EXPECTED = {name: (name[4],) for name in NAMES}


@pytest.mark.parametrize(
    "name", ["labels.csv", "Labels.TSV", "x/metadata.jsonl", "train/_classes.csv", "train.csv", "val_annotations.txt"]
)
def test_tables_are_known_by_their_names(name: str) -> None:
    assert is_table(Path(name))


@pytest.mark.parametrize("name", ["sample_submission.csv", "README.txt", "labels.json", "a.png", "classes.txt"])
def test_other_files_are_no_tables(name: str) -> None:
    assert not is_table(Path(name))


@pytest.mark.parametrize("name", ["labels.csv", "metadata.csv", "annotations.csv", "data/my table.csv"])
def test_a_table_of_any_name_gives_labels_where_folders_give_none(name: str) -> None:
    found = read({name: TABLE})
    assert labels(found) == EXPECTED
    assert found.skipped == []
    assert found.has_table
    assert found.notes == [f"labels are those of {name} (files are the column file, labels label)"]


def test_hugging_faces_metadata_stands_beside_its_files() -> None:
    found = read({"img/metadata.csv": "file_name,label\n" + ROWS.replace("img/", "")})
    assert labels(found) == EXPECTED
    lines = "".join(f'{{"file_name": "{name[4:]}", "label": "{name[4]}"}}\n' for name in NAMES)
    assert labels(read({"img/metadata.jsonl": lines})) == EXPECTED


def test_each_split_may_have_a_table_of_its_own() -> None:
    names = [f"{split}/{name}{n}.jpg" for split in ("train", "valid", "test") for name in ("cat", "dog") for n in "12"]
    tables = {
        f"{split}/_classes.csv": "filename, cat, dog\n"
        + "".join(
            f"{name.split('/')[1]}, {int('cat' in name)}, {int('dog' in name)}\n"
            for name in names
            if name.startswith(split)
        )
        for split in ("train", "valid", "test")
    }
    found = read(tables, *names)
    assert labels(found) == {name: (name.split("/")[1][:3],) for name in names}
    assert set(splits(found).values()) == {"train", "validation", "test"}
    assert splits(found)["valid/cat1.jpg"] == "validation"


def test_tables_named_for_splits_give_them() -> None:
    tables = {
        "train.csv": "id,label\n" + ROWS.replace("img/", "").replace(".png", ""),
        "test_labels.csv": "id,label\nz,a\n",
    }
    found = read(tables, *NAMES, "img/z.png")
    assert splits(found) == {**dict.fromkeys(NAMES, "train"), "img/z.png": "test"}


def test_a_table_of_a_split_names_files_of_its_folder() -> None:
    names = [f"{split}/{name}{n}.png" for split in ("train", "test") for name in "ab" for n in range(3)]
    rows = "".join(f"{name}{n}.png,{name}\n" for name in "ab" for n in range(3))
    found = read({"train.csv": "file,label\n" + rows, "test.csv": "file,label\n" + rows}, *names)
    assert splits(found) == {name: name.split("/")[0] for name in names}
    assert refused({"test.csv": "file,label\n" + rows}, *[name for name in names if "train" in name])


def test_a_column_that_is_not_called_label_does_not_come_before_folders() -> None:
    names = [f"{name}/{number}.png" for name in "ab" for number in range(3)]
    found = read({"metadata.csv": "file_name,width\n" + "".join(f"{name},30\n" for name in names)}, *names)
    assert labels(found) == {name: (name[0],) for name in names}
    assert skipped(found) == {"metadata.csv": "table_not_used"}
    flat = read({"metadata.csv": "file_name,width\n" + "".join(f"{name},{n % 2}\n" for n, name in enumerate(NAMES))})
    assert labels(flat)["img/a1.png"] == ("1",)


@pytest.mark.parametrize("name", ["labels.xlsx", "annotations.json", "labels/a0.txt"])
def test_labels_in_other_formats_are_named_where_there_are_no_others(name: str) -> None:
    paths = [Path(name) for name in NAMES]
    with pytest.raises(DatasetRejected, match=f"such as {name}, are not read"):
        read_layout([*paths, Path(name)], paths, {}, no_heartbeat)


def test_splits_are_those_of_the_folders_if_the_table_gives_none() -> None:
    names = [name.replace("img", "train" if "0" in name else "val") for name in NAMES]
    rows = "".join(f"{name},{name[-6]}\n" for name in names)
    found = read({"labels.csv": "file,label\n" + rows}, *names)
    assert splits(found) == {name: "train" if name.startswith("train") else "validation" for name in names}
    assert "splits are those of the folders: train, validation" in found.notes
    given = read({"labels.csv": "file,label,split\n" + rows.replace("\n", ",test\n")}, *names)
    assert set(splits(given).values()) == {"test"}


def test_a_table_of_labels_comes_before_folders() -> None:
    names = [f"{name}/{number}.png" for name in "ab" for number in range(3)]
    found = read({"labels.csv": "file,label\n" + "".join(f"{name},x{name[0]}\n" for name in names)}, *names)
    assert labels(found) == {name: (f"x{name[0]}",) for name in names}
    other = read({"statistics.csv": "file,label\n" + "".join(f"{name},x\n" for name in names)}, *names)
    assert labels(other) == {name: (name[0],) for name in names}
    assert skipped(other) == {"statistics.csv": "table_not_used"}


def test_a_table_of_class_names_is_no_table_of_files() -> None:
    names = [f"{name}/{number}.png" for name in "01" for number in range(3)]
    found = read({"labels.csv": "ClassId,Name\n0,Speed limit\n1,No passing\n"}, *names)
    assert labels(found) == {name: (name[0],) for name in names}
    assert skipped(found) == {"labels.csv": "table_not_used"}
    assert "its columns are ClassId, Name" in found.skipped[0].message


def test_a_flat_split_has_the_labels_of_the_table_in_it() -> None:
    train = [f"train/{name}/images/{number}.jpg" for name in ("n01", "n02") for number in range(4)]
    val = [f"val/images/{number}.jpg" for number in range(4)]
    rows = "".join(f"{number}.jpg\tn0{1 + number % 2}\t0\t0\t62\t62\n" for number in range(4))
    found = read({"val/val_annotations.txt": rows}, *train, *val)
    assert {name: found.annotations[Path(name)] for name in val} == {
        name: Annotation((f"n0{1 + number % 2}",), "validation") for number, name in enumerate(val)
    }
    assert found.annotations[Path(train[0])] == Annotation(("n01",), "train")
    assert found.skipped == []


def test_rows_without_file_or_label_are_skipped() -> None:
    found = read({"labels.csv": TABLE.replace("img/a0.png,a", "img/a0.png,").replace("img/b1.png,b", ",b")})
    assert skipped(found) == {"img/a0.png": "no_label", "labels.csv, line 9": "no_file"}
    assert not any(one.is_damage for one in found.skipped)
    assert len(found.annotations) == 10


def test_images_without_a_label_among_images_with_several_have_none_of_the_classes() -> None:
    found = read({"labels.csv": TABLE.replace("img/a0.png,a", "img/a0.png,").replace("img/b1.png,b", "img/b1.png,a|b")})
    assert found.annotations[Path("img/a0.png")].labels == ()
    assert found.skipped == []


@pytest.mark.parametrize(("column", "separator"), [("label", ";"), ("label", ","), ("labels", ", "), ("tags", " ")])
def test_cells_that_seem_to_have_several_labels_are_refused(column: str, separator: str) -> None:
    several = [separator.join(two) for two in (("sky", "sea"), ("sky", "sand"), ("sea", "sand"))]
    rows = [f'{name},"{several[number % 3]}"' for number, name in enumerate(NAMES)]
    error = refused({"labels.csv": "\n".join([f"file,{column}", *rows])})
    assert error.code == "labels_unreadable"
    assert "is one label or several" in str(error)
    assert "as in sand|sea" in str(error)


@pytest.mark.parametrize("column", ["label", "species"])
def test_a_label_with_a_comma_or_space_is_one(column: str) -> None:
    shared = ["maize, sweet", "maize", "golden retriever", "labrador retriever"]
    rows = [f'{name},"{shared[number % 4]}"' for number, name in enumerate(NAMES)]
    found = read({"labels.csv": "\n".join([f"file,{column}", *rows])})
    assert {label for labels in labels(found).values() for label in labels} == set(shared)
    assert "'maize, sweet' counts as one label, as several are separated by |" in found.notes


def test_classes_of_tables_that_are_written_alike_are_noted() -> None:
    found = read({"labels.csv": TABLE.replace("a0.png,a", "a0.png,A")})
    assert "the classes A, a differ in case, spaces or decimals alone" in found.notes


def test_a_column_that_should_name_files_is_refused_with_the_nearest() -> None:
    error = refused({"train.csv": "id,label\nx0,a\nx1,b\n"})
    assert "no column names files of the archive" in str(error)
    assert "Line 2 lists 'x0'; the nearest file is img/" in str(error)


def test_names_that_several_files_have_are_refused_with_them() -> None:
    files = ("img/1.jpg", "img/1.png", "img/2.jpg", "img/2.png")
    error = refused({"train.csv": "id,label\n1,a\n2,b\n"}, *files)
    assert "Line 2 lists '1'; several files are called so: img/1.jpg, img/1.png. Write each with" in str(error)


def test_the_same_row_twice_is_one() -> None:
    assert labels(read({"labels.csv": TABLE + "img/a0.png,a\n./img/a0.png, a\n"})) == EXPECTED


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("img/a0.png,striped", "Line 14 of labels.csv gives img/a0.png striped, but line 2 gives a."),
        ("img/a0.png,striped", "written as a|striped"),
        ("img/a0.png,", "gives img/a0.png no label, but line 2 gives a"),
    ],
)
def test_rows_that_contradict_each_other_are_refused(row: str, says: str) -> None:
    assert says in str(refused({"labels.csv": f"{TABLE}{row}\n"}))


def test_a_few_files_that_are_missing_are_reported_as_damage() -> None:
    found = read({"labels.csv": TABLE + "img/gone.png,a\n"})
    assert [(one.file, one.code, one.is_damage) for one in found.skipped] == [("img/gone.png", "missing_file", True)]
    assert "Line 14 of labels.csv" in found.skipped[0].message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("img/", ""),
        ("img/", "C:\\Users\\me\\img\\"),
        (".png", ""),
        ("img", "IMG"),
        (".png", ".PNG"),
        ("img/", "x/img/"),
    ],
)
def test_names_that_are_matched_by_their_ends_are_noted(old: str, new: str) -> None:
    found = read({"labels.csv": TABLE.replace(old, new)})
    assert labels(found) == EXPECTED
    example = NAMES[0].replace(old, new)
    assert f"12 names in tables are no exact paths, and were matched by their ends: {example} is img/a0.png" in (
        found.notes
    )


def test_a_table_of_other_files_is_refused_with_the_nearest_name() -> None:
    error = refused({"labels.csv": TABLE.replace("img/a", "img/photo").replace("img/b", "img/foto")})
    assert error.code == "labels_unreadable"
    assert "0% are in the archive. Line 2 lists 'img/photo0.png'; the nearest file is img/" in str(error)


def test_a_table_of_mostly_other_files_is_refused_as_it_is_read() -> None:
    many = TABLE + "".join(f"{number}.png,a\n" for number in range(2000))
    error = refused({"labels.csv": many})
    assert error.code == "labels_without_files"
    assert "1001 files or more that the archive does not have. Line 14 lists 0.png" in str(error)


def test_a_table_without_the_needed_columns_is_named() -> None:
    error = refused({"labels.csv": "file,width,height\nimg/a0.png,3,4\n"})
    assert error.code == "labels_unreadable"
    assert "labels.csv gives no labels: it is unclear which has labels; its columns are file, width, height" in str(
        error
    )
    assert "statistics.csv gives no labels: no column names files" in str(refused({"statistics.csv": "a,b\n1,2\n"}))


def test_a_table_that_is_too_long_for_the_files_is_refused() -> None:
    assert refused({"labels.csv": TABLE + "\n" * (2 << 20)}).code == "labels_too_large"


def test_a_template_of_competitions_gives_no_labels() -> None:
    assert not is_table(Path("sampleSubmission.csv"))
