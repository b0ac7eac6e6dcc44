"""Tables of labels of many tools: columns are recognized, and rows that do not fit are refused by line."""

from __future__ import annotations

from pathlib import PurePosixPath as Path

import pytest

from models.datasets.errors import DatasetRejected
from models.datasets.label_table import LabelTable, NoLabelTable

FILES = {f"{name}{number}.png" for name in "ab" for number in range(4)}
LISTED = sorted(FILES)


def is_file(name: str) -> bool:
    """Tell whether the archive has the file, with a suffix or without."""
    return name in FILES or f"{name}.png" in FILES


def read(content: str, name: str = "labels.csv", classes: frozenset[str] = frozenset()) -> dict[str, tuple[str, ...]]:
    """Read the labels of each file."""
    return {row.file: row.labels for row in LabelTable(Path(name), content.encode(), is_file, classes).read()}


def table(header: str, row: str) -> str:
    """A table of all files: {file}, {name} a or b, {number} and its place {n}."""
    rows = (row.format(file=file, name=file[0], number=file[1], n=n) for n, file in enumerate(LISTED))
    return "\n".join([header, *rows])


EXPECTED = {file: (file[0],) for file in LISTED}


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("file,label", "{file},{name}"),
        ("file_name,label", "{file},{name}"),
        ("label,image", "{name},{file}"),
        ("Image Path,Class Name", "{file},{name}"),
        (",file,label", "{n},{file},{name}"),
        ("Unnamed: 0,filename,species", "{n},{file},{name}"),
        ("index,img,target", "{n},{file},{name}"),
        ("id,label,label_number", "{file},{name},{number}"),
        ("fotografia,art", "{file},{name}"),
        ("file,width,height,label", "{file},10,20,{name}"),
        ("name,class,class_id", "{file},{name},0"),
        ("file,label,is_blurry,is_dark", "{file},{name},0,1"),
        ("Image Index,Finding Labels,Patient ID,Age", "{file},{name},{n},30"),
        ("lesion_id,image_id,dx,dx_type", "L{number},{file},{name},histo"),
        ("image,id,choice,annotator", "{file},{n},{name},2"),
        ("file|label", "{file}|{name}"),
        ("file label", "{file} {name}"),
    ],
)
def test_columns_are_recognized(header: str, row: str) -> None:
    assert read(table(header, row)) == EXPECTED


def test_labels_that_are_called_like_files_are_labels() -> None:
    found = LabelTable(Path("labels.csv"), b"file,label\nx.png,a0\ny.png,b0\n", is_file)
    assert (found.matched, [row.labels for row in found.read()]) == (0.0, [("a0",), ("b0",)])


def test_a_table_without_header_may_name_files_without_suffix() -> None:
    assert read("a0,cat\nb1,dog\n") == {"a0": ("cat",), "b1": ("dog",)}
    numbered = LabelTable(Path("train.csv"), b"1,0\n2,1\n3,1\n", {"1", "2", "3"}.__contains__)
    assert [(row.file, row.labels) for row in numbered.read()] == [("1", ("0",)), ("2", ("1",)), ("3", ("1",))]
    assert read("id,label\na0,cat\n") == {"a0": ("cat",)}


def test_a_table_without_header_may_give_splits_in_any_column() -> None:
    rows = LabelTable(Path("import.csv"), b"TRAINING,a0.png,cat\nTEST,b0.png,dog\n", is_file).read()
    assert [(row.file, row.labels, row.split) for row in rows] == [
        ("a0.png", ("cat",), "train"),
        ("b0.png", ("dog",), "test"),
    ]


@pytest.mark.parametrize(("column", "split"), [("is_valid", "validation"), ("isTest", "test")])
def test_a_flag_may_give_the_split(column: str, split: str) -> None:
    rows = LabelTable(Path("labels.csv"), f"name,label,{column}\na0.png,a,False\nb0.png,b,True\n".encode(), is_file)
    assert [row.split for row in rows.read()] == ["train", split]
    with pytest.raises(DatasetRejected, match="in a column of flags; use 0 or 1"):
        read("name,label,is_valid\n" + "a0.png,a,0\n" * 300 + "a1.png,a,maybe\n")


def test_columns_that_are_not_used_are_said() -> None:
    found = LabelTable(Path("labels.csv"), b"id,file,label,fold\n1,a0.png,a,3\n", is_file)
    assert found.description == "files are the column file, labels label; not used: id, fold"


def test_labels_may_be_lists() -> None:
    assert read("""file,labels\na0.png,"['a', 'b']"\na1.png,"[""a, b""]"\nb0.png,[]\nb1.png,[x]\n""") == {
        "a0.png": ("a", "b"),
        "a1.png": ("a, b",),
        "b0.png": (),
        "b1.png": ("[x]",),
    }


def test_minus_one_stands_for_no_unless_beside_zero() -> None:
    assert read("image_id,a,b\na0,1,-1\na1,-1,-1\nb0,-1,1\n") == {"a0": ("a",), "a1": (), "b0": ("b",)}
    with pytest.raises(NoLabelTable, match="unclear which has labels"):
        read("image_id,a,b\na0,1,-1\na1,0,0\nb0,0,1\n")


@pytest.mark.parametrize("error", ["#N/A", "#REF!", "#VALUE!"])
def test_errors_of_excel_are_no_labels(error: str) -> None:
    assert read(f"file,label\na0.png,a\nb0.png,{error}\n") == {"a0.png": ("a",), "b0.png": ()}


def test_files_without_suffix_are_recognized() -> None:
    assert read("image_id,label\na0,cat\nb1,dog\n") == {"a0": ("cat",), "b1": ("dog",)}


def test_columns_of_flags_are_classes() -> None:
    one_hot = "filename, a, b\n" + "".join(f"{file}, {int(file[0] == 'a')}, {int(file[0] == 'b')}\n" for file in LISTED)
    assert read(one_hot) == read(one_hot, "train/_classes.csv") == EXPECTED
    several = "file,split,a,b,c\na0.png,train,1,1,0\na1.png,test,0,0,0\nb0.png,train,False,,True\n"
    assert read(several) == {"a0.png": ("a", "b"), "a1.png": (), "b0.png": ("c",)}


def test_a_single_column_of_roboflow_is_a_class() -> None:
    assert read("filename, cat\na0.png, 1\nb0.png, 0\n", "_classes.csv") == {"a0.png": ("cat",), "b0.png": ()}


def test_several_labels_are_separated_by_bars() -> None:
    assert read("file,label\na0.png,dog| cat|dog|\nb0.png,\n") == {"a0.png": ("cat", "dog"), "b0.png": ()}
    assert read("file,label\na0.png,NaN\nb0.png,null\na1.png,none\n")["a1.png"] == ("none",)
    assert read("file,label\na0.png,NaN\nb0.png,cat\n")["a0.png"] == ()


@pytest.mark.parametrize(
    ("column", "values", "splits"),
    [
        ("split", ("train", "VAL", "dev", ""), ["train", "validation", "validation", ""]),
        ("Usage", ("Training", "PublicTest", "PrivateTest", "Training"), ["train", "test", "test", "train"]),
        ("set", ("train", "valid", "test", "holdout"), ["train", "validation", "test", "test"]),
        ("set", ("1", "2", "train", "test"), ["", "", "", ""]),
    ],
)
def test_splits(column: str, values: tuple[str, ...], splits: list[str]) -> None:
    rows = "".join(f"{file},{file[0]},{value}\n" for file, value in zip(LISTED, values, strict=False))
    found = LabelTable(Path("labels.csv"), f"file,label,{column}\n{rows}".encode(), is_file)
    assert [row.split for row in found.read()] == splits


def test_a_table_without_a_header_is_recognized_by_its_files() -> None:
    assert read("a0.png,cat\nb0.png,dog\n") == {"a0.png": ("cat",), "b0.png": ("dog",)}
    boxes = "a0.png\tcat\t0\t62\nb0.png\tdog\t1\t62\n"
    assert read(boxes, "val_annotations.txt", frozenset({"cat", "dog"})) == {"a0.png": ("cat",), "b0.png": ("dog",)}
    with pytest.raises(NoLabelTable, match="no line of names of columns, and 4 columns"):
        read(boxes)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "ClassId,Name\n0,Speed limit\n1,No passing\n",
            "no column names files of the archive; its columns are ClassId",
        ),
        ("file,width,height\na0.png,3,4\n", "it is unclear which has labels; its columns are file, width, height"),
        ("file,age,cat,dog\na0.png,33,1,0\n", "it is unclear which has labels"),
        ("file\na0.png\n", "no column has labels"),
        ("", "it is empty"),
        ("filename, cat, dog\n", "it has no row below the names of its columns"),
    ],
)
def test_other_tables_give_no_labels_and_say_what_is_needed(content: str, says: str) -> None:
    with pytest.raises(NoLabelTable, match=says):
        read(content)


def test_the_share_of_files_that_are_there_is_known() -> None:
    found = LabelTable(Path("labels.csv"), b"file,label\na0.png,a\nx.png,b\ny.png,b\nb1.png,b\n", is_file)
    assert (found.matched, found.example) == (0.5, (3, "x.png"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("file,label\na0.png,maize, sweet\n", "Line 2 of labels.csv has 3 cells, but the header has 2"),
        ("file,label\na0.png,a\n\nb0.png,b,,c\n", "Line 4 of labels.csv has 4 cells"),
        ("file,label,split\na0.png,a,later\n", "the split 'later'; use train, validation or test"),
        ("file,label\na0.png,c\x00t\n", "Line 2 of labels.csv has a control character"),
        ('file,label\na0.png,"cat\nb0.png",dog\n', "Line 2"),
        ("file,label\na0.png," + "c" * 256, "a label of 256 bytes; 255 are allowed"),
        ("file,label\na0.png," + "|".join(map(str, range(1001))), "has 1001 labels"),
        (f"file,cat,{'d' * 256}\na0.png,0,1\n", "a name of a class of more than 255 bytes"),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_line(content: str, says: str) -> None:
    with pytest.raises(DatasetRejected, match=says):
        read(content)


def test_a_later_flag_that_is_none_is_refused_by_line() -> None:
    rows = "".join(f"a{n % 4}.png,0,1\n" for n in range(300))
    with pytest.raises(DatasetRejected, match=r"Line 302 of labels.csv has '3' in the column of a class"):
        read(f"file,cat,dog\n{rows}a0.png,0,3\n")


def test_cells_that_are_missing_at_the_end_are_empty() -> None:
    assert read("file,label,split\na0.png,a\nb0.png,b,\n,,\n") == {"a0.png": ("a",), "b0.png": ("b",)}
