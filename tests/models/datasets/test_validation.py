"""Validation: every fault of a file has its code, and only too many faults reject a dataset."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.datasets import contents
from models.datasets.archives import Limits
from models.datasets.errors import DatasetRejected
from models.datasets.pack import FLAGS, Pack, write_index
from models.datasets.splits import split
from models.datasets.validation import ValidatedDataset, validate
from models.images import decode
from tests.support.archives import zip_of
from tests.support.images import encoded, noise, png, write_tar, write_zip

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath

GOOD = {
    f"{name}/{number}.png": png(10 * place + number) for place, name in enumerate(("cat", "dog")) for number in range(6)
}


def checked(tmp_path: Path, files: dict[str, bytes], *, is_labelled: bool = True) -> tuple[ValidatedDataset, Pack]:
    """The verdict on an archive of these files, and its pack."""
    archive = write_zip(tmp_path / "a.zip", files)
    with archive.open("rb") as file, (tmp_path / "pack").open("wb") as pack:
        validated = validate(file, pack, Limits(1 << 30, 10_000), is_labelled=is_labelled)
    with (tmp_path / "index").open("wb") as index:
        write_index(index, validated.entries, validated.decoding)
    return validated, Pack(tmp_path / "pack", tmp_path / "index")


def rejected(tmp_path: Path, files: dict[str, bytes]) -> DatasetRejected:
    """Why an archive of these files is rejected."""
    with pytest.raises(DatasetRejected) as caught:
        checked(tmp_path, files)
    return caught.value


def codes(validated: ValidatedDataset) -> dict[str, str]:
    """The code of each file that was skipped."""
    return {entry["file"]: entry["code"] for entry in validated.report["skipped"]}


def test_a_good_archive_is_packed_byte_for_byte(tmp_path: Path) -> None:
    validated, pack = checked(tmp_path, GOOD)
    assert validated.classes == [{"name": "cat", "count": 6}, {"name": "dog", "count": 6}]
    assert validated.task == "single_label"
    assert validated.report["counts"] == {}
    assert {pack.names[place]: pack.read_file(place) for place in range(len(pack))} == GOOD
    for place, name in enumerate(pack.names):
        assert pack.digests[place].tobytes() == decode.check(GOOD[name]).digest
        assert pack.labels[place] == (0 if name.startswith("cat") else 1)
    np.testing.assert_array_equal(pack.splits, 0)


def test_every_fault_of_a_file_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    good = {
        f"{name}/{number}.png": png(100 * place + number) for place, name in enumerate("ab") for number in range(20)
    }
    faults = {
        "a/empty.png": (b"", "empty_file"),
        "a/cut.png": (png(1)[:300], "truncated"),
        "a/tiny.png": (encoded(noise(1, 4, 4)), "too_small"),
        "b/notes.txt": (b"buy milk", "not_an_image"),
        "b/again.png": (good["b/3.png"], "duplicate"),
        "stray.png": (png(999), "no_class"),
    }
    both = {"a/both.png": png(5000), "b/both.png": png(5000)}
    files = {**good, **both, **{name: data for name, (data, _) in faults.items()}, "README.md": b"hello"}
    validated, _ = checked(tmp_path, files)
    expected = {name: code for name, (_, code) in faults.items()} | dict.fromkeys(both, "label_conflict")
    assert codes(validated) == expected | {"README.md": "not_an_image"}
    assert len(validated.entries) == 40
    assert validated.report["files"] == 49
    assert validated.report["accepted"] == 40


def test_one_image_in_another_file_is_a_copy(tmp_path: Path) -> None:
    image = noise(77)
    files = {**GOOD, "cat/as.png": encoded(image), "cat/as.bmp": encoded(image, "BMP")}
    validated, _ = checked(tmp_path, files)
    assert codes(validated) == {"cat/as.bmp": "duplicate"}


def test_copies_in_several_splits_stay_where_they_are_tested(tmp_path: Path) -> None:
    copies = {f"{part}/{name}": data for part in ("train", "test") for name, data in GOOD.items()}
    own = {f"train/{name}/own{n}.png": png(1000 + 10 * len(name) + n) for name in ("cat", "doggy") for n in range(2)}
    own = {name.replace("doggy", "dog"): data for name, data in own.items()}
    validated, _ = checked(tmp_path, copies | own)
    assert {entry.name: entry.split for entry in validated.entries} == {
        **{f"test/{name}": "test" for name in GOOD},
        **dict.fromkeys(own, "train"),
    }
    assert validated.report["counts"] == {"duplicate": 12}


@pytest.mark.parametrize(
    ("names", "code", "says"),
    [
        (("test/cat", "test/cat", "test/dog", "test/dog", "train/cat"), "nothing_to_train_on", "of dog"),
        (("train/cat", "train/cat", "train/cat", "val/dog", "val/dog"), "nothing_to_train_on", "of dog"),
        (("train/cat", "test/cat", "train/dog", "test/dog"), "nothing_to_validate_on", "cat, dog"),
    ],
)
def test_given_splits_that_cannot_be_trained_on_are_rejected(
    tmp_path: Path, names: tuple[str, ...], code: str, says: str
) -> None:
    error = rejected(tmp_path, {f"{name}/{number}.png": png(number) for number, name in enumerate(names)})
    assert error.code == code
    assert says in str(error)


def test_copies_that_leave_nothing_to_train_on_are_rejected(tmp_path: Path) -> None:
    files = {f"{part}/{name}": data for part in ("train", "test") for name, data in GOOD.items()}
    assert rejected(tmp_path, files).code == "nothing_to_train_on"


def test_folders_without_images_are_no_classes(tmp_path: Path) -> None:
    others = {f"scripts/{number}.py": b"print()" for number in range(10)}
    others |= {"scripts/__init__.py": b"", "docs/readme.md": b"hello"}
    validated, _ = checked(tmp_path, {**GOOD, **others})
    assert [entry["name"] for entry in validated.classes] == ["cat", "dog"]
    assert codes(validated) == dict.fromkeys(others, "not_an_image") | {"scripts/__init__.py": "empty_file"}


def test_what_a_table_lists_is_meant_to_be_a_image(tmp_path: Path) -> None:
    rows = "".join(f"{number}.png,{'cat' if number % 2 else 'dog'}\n" for number in range(8))
    files = {f"{number}.png": png(number) for number in range(8)} | {"owl.dat": b"no"}
    error = rejected(tmp_path, {**files, "labels.csv": f"file,label\n{rows}owl.dat,owl\n".encode()})
    assert (error.code, "owl has 0" in str(error)) == ("class_too_small", True)


@pytest.mark.parametrize(
    ("files", "code", "says"),
    [
        ({"cat/1.png": png(1), "cat/2.png": png(2)}, "too_few_classes", "at least two classes"),
        ({**GOOD, "owl/1.png": png(50)}, "class_too_small", "owl has 1"),
        ({**GOOD, **{f"owl/{n}.png": b"no" for n in range(2)}}, "class_too_small", "owl has 0"),
        ({**GOOD, **{f"dog/x{n}.png": b"no" for n in range(4)}}, "too_many_bad_files", "4 of 16 files"),
        ({"a/1.txt": b"x", "b/2.txt": b"y"}, "no_images", "JPEG or PNG"),
        (
            {f"{name}/{n}.png": encoded(noise(n, 7, 7)) for name in "ab" for n in range(3)} | {"README.md": b"hello"},
            "no_images",
            "None of the archive's 6 images can be used (6 too_small). First: a/0.png: 7x7 pixels; at least 8",
        ),
        ({f"{n}.png": png(n) for n in range(4)}, "no_class_folders", "labels.csv that begins with file,label"),
        ({"README.md": b"hello", "photos.zip": b"PK"}, "archive_nested", "other archives in it: photos.zip. Send one"),
        (
            {**{f"{n}.png": png(n) for n in range(3)}, "labels.csv": b"file,label\n0.png,x|y\n1.png,x|y\n2.png,z|w\n"},
            "too_many_classes",
            "4 classes for 3 images",
        ),
    ],
)
def test_too_little_is_rejected_with_what_to_do(tmp_path: Path, files: dict[str, bytes], code: str, says: str) -> None:
    error = rejected(tmp_path, files)
    assert error.code == code
    assert says in str(error)


def test_labels_from_a_table(tmp_path: Path) -> None:
    rows = "".join(f"{number}.png,{'cat' if number % 2 else 'dog'}\n" for number in range(8))
    files = {f"{number}.png": png(number) for number in range(9)}
    validated, _ = checked(tmp_path, {**files, "labels.csv": f"file,label\n{rows}gone.png,cat\n".encode()})
    assert validated.classes == [{"name": "cat", "count": 4}, {"name": "dog", "count": 4}]
    assert codes(validated) == {"8.png": "no_class", "gone.png": "missing_file"}


def test_images_without_a_class_are_reported_whatever_their_share(tmp_path: Path) -> None:
    unlabelled = {f"test/{number}.png": png(1000 + number) for number in range(50)}
    broken = {f"test/x{number}.png": b"no" for number in range(20)}
    files = {f"{part}/{name}": data for part, name, data in (("train", *item) for item in GOOD.items())}
    val = {name.replace("train", "val"): png(500 + n) for n, name in enumerate(files)}
    validated, pack = checked(tmp_path, {**files, **val, **unlabelled, **broken})
    assert [entry["name"] for entry in validated.classes] == ["cat", "dog"]
    assert codes(validated) == dict.fromkeys(unlabelled, "no_class") | dict.fromkeys(broken, "not_an_image")
    assert len(pack) == 24
    assert validated.report["layout"] == (
        "Splits are the folders test, train, val (validation); classes are the folders below train/: cat, dog; the "
        "images of test/ have no class folders and are not used"
    )


def test_files_of_systems_are_counted_and_listed_last(tmp_path: Path) -> None:
    junk = {"cat/@eaDir/1.png/SYNOPHOTO_THUMB_M.png": png(900), "$RECYCLE.BIN/x.png": png(901), ".DS_Store": b"x"}
    validated, _ = checked(tmp_path, {**junk, **GOOD, "notes.txt": b"x", "cat/old.zip": b"PK"})
    assert validated.report["counts"] == {"not_an_image": 1, "archive_nested": 1, "system_file": 3}
    assert [entry["file"] for entry in validated.report["skipped"]] == ["notes.txt", "cat/old.zip", *junk]
    assert len(validated.entries) == 12


def test_the_same_entry_twice_is_one_and_two_files_of_a_name_are_refused(tmp_path: Path) -> None:
    def archive(*entries: tuple[str, bytes]) -> io.BytesIO:
        return io.BytesIO(zip_of(*GOOD.items(), *entries))

    with pytest.warns(UserWarning, match="Duplicate name"):
        same = archive(("cat/0.png", GOOD["cat/0.png"]))
    validated = validate(same, io.BytesIO(), Limits(1 << 30, 100))
    assert codes(validated) == {"cat/0.png": "duplicate"}
    for name in ("./cat/0.png", "cat\\0.png"):
        with pytest.raises(DatasetRejected, match=r"Two files are named cat/0\.png"):
            validate(archive((name, png(99))), io.BytesIO(), Limits(1 << 30, 100))


def test_unlabelled_images_are_one_split(tmp_path: Path) -> None:
    files = {**GOOD, "flat.png": png(300), "again.png": png(300), "labels.csv": b"file,label\n", "broken.png": b"no"}
    validated, pack = checked(tmp_path, files, is_labelled=False)
    assert (validated.task, validated.classes, len(pack)) == (None, [], 13)
    assert {entry.split for entry in validated.entries} == {"unlabelled"}
    assert codes(validated) == {
        "again.png": "duplicate",
        "broken.png": "not_an_image",
        "labels.csv": "table_not_used",
    }
    assert not pack.is_multi_label
    assert pack.encode_targets(3).sum() == 0


def test_a_multi_label_dataset_has_images_of_no_class(tmp_path: Path) -> None:
    rows = [f"{number}.png,{('', 'cat', 'dog', 'cat|dog')[number % 4]}\n" for number in range(16)]
    files = {f"{number}.png": png(number) for number in range(16)}
    validated, pack = checked(tmp_path, {**files, "labels.csv": f"file,label\n{''.join(rows)}".encode()})
    assert (validated.task, len(validated.entries), codes(validated)) == ("multi_label", 16, {})
    expected = {f"{number}.png": [float(number % 4 in (1, 3)), float(number % 4 > 1)] for number in range(16)}
    assert dict(zip(pack.names, pack.encode_targets(2).tolist(), strict=True)) == expected
    parts = split(pack.digests.tolist(), pack.encode_targets(2), pack.splits, 0.25, 0.25)
    for part in (parts.validation, parts.test):
        assert any(not pack.encode_targets(2)[image].any() for image in part), "each split has images of no class"


def test_files_of_the_same_bytes_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    decode_file = contents._decode_file

    def count(path: PurePosixPath, data: bytes) -> contents.File:
        decoded.append(path)
        return decode_file(path, data)

    monkeypatch.setattr(contents, "_decode_file", count)
    validated, _ = checked(tmp_path, {**GOOD, **{f"cat/copy{number}.png": GOOD["cat/0.png"] for number in range(60)}})
    assert len(decoded) == 12
    assert validated.report["counts"] == {"duplicate": 60}


def test_the_processor_time_of_a_validation_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "FREE_SECONDS", -1.0)
    monkeypatch.setattr(contents, "SECONDS_PER_BYTE", 0.0)
    error = rejected(tmp_path, GOOD)
    assert (error.code, "Send smaller images" in str(error)) == ("validation_too_slow", True)


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_table_as_spreadsheets_write_it(tmp_path: Path, delimiter: str) -> None:
    names = [f"cats, 2024/{number}; old.png" for number in range(6)]
    rows = [
        ["file", "label", "split"],
        *([name, "cat" if place % 2 else "dog, wolf", ""] for place, name in enumerate(names)),
    ]
    content = "".join(delimiter.join(f'"{value}"' for value in row) + "\r\n" for row in rows)
    files = {name: png(number) for number, name in enumerate(names)}
    validated, _ = checked(tmp_path, {**files, "labels.csv": b"\xef\xbb\xbf" + content.encode()})
    assert validated.classes == [{"name": "cat", "count": 3}, {"name": "dog, wolf", "count": 3}]
    assert validated.report["counts"] == {}


def test_several_labels_make_another_task(tmp_path: Path) -> None:
    rows = "".join(f"{number}.png,{'cat' if number % 2 else 'cat|dog'}\n" for number in range(8))
    files = {f"{number}.png": png(number) for number in range(8)}
    validated, _ = checked(tmp_path, {**files, "labels.csv": f"file,label\n{rows}".encode()})
    assert validated.task == "multi_label"
    assert validated.classes == [{"name": "cat", "count": 8}, {"name": "dog", "count": 4}]


def test_the_digest_is_that_of_images_and_labels_alone(tmp_path: Path) -> None:
    plain, _ = checked(tmp_path, GOOD)
    reordered, _ = checked(tmp_path, dict(reversed(GOOD.items())))
    renamed, _ = checked(tmp_path, {f"top/{name}": data for name, data in GOOD.items()})
    relabelled, _ = checked(tmp_path, {name.replace("dog", "wolf"): data for name, data in GOOD.items()})
    assert plain.digest == reordered.digest == renamed.digest != relabelled.digest


def test_a_tar_gives_the_same_as_a_zip(tmp_path: Path) -> None:
    plain, _ = checked(tmp_path, GOOD)
    with write_tar(tmp_path / "a.tar", GOOD).open("rb") as file:
        assert validate(file, io.BytesIO(), Limits(1 << 30, 100)).digest == plain.digest


def test_real_photographs(material: Path, tmp_path: Path) -> None:
    """The household waste of the material holds three pairs of identical images under two labels."""
    with (material / "datasets/trashnet6/trashnet6.zip").open("rb") as file, (tmp_path / "pack").open("wb") as pack:
        validated = validate(file, pack, Limits(1 << 30, 10_000))
    assert validated.report["counts"] == {"label_conflict": 6}
    assert len(validated.entries) == 2521


def test_the_index_has_flags_bit_by_bit(tmp_path: Path) -> None:
    grey = encoded(noise(50).convert("L"))
    checked(tmp_path, {**GOOD, "cat/grey.png": grey, "cat/same.png": grey, "dog/clear.png": encoded(noise(51), "WEBP")})
    content = (tmp_path / "index").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    flags = dict(zip(header["names"], base64.b64decode(header["flags"]), strict=True))
    assert flags["cat/grey.png"] == 1 << FLAGS.index("grayscale") | 1 << FLAGS.index("copies")
    assert flags["cat/0.png"] == flags["dog/clear.png"] == 0
