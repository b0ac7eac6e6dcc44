"""Inputs of commands: what cannot be sent is refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from graft import inputs
from graft.backbone_report import format_preprocessing
from graft.errors import InputUnusable
from graft.upload_source import UploadSource


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("mean=0.4,0.5,0.6,std=0.2,0.3,0.4", {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}),
        ("mean=0 std=1/256; channel_order=bgr", {"mean": [0] * 3, "std": [1 / 256] * 3, "channel_order": "bgr"}),
        ("input_size=224,crop_pct=0.9", {"input_size": [3, 224, 224], "crop_pct": 0.9}),
        ("input_size=192x256", {"input_size": [3, 192, 256]}),
        ("input_size=3,192,256,interpolation=bicubic", {"input_size": [3, 192, 256], "interpolation": "bicubic"}),
        ('{"mean": [0, 0, 0]}', {"mean": [0, 0, 0]}),
        ("from_samples", "from_samples"),
    ],
)
def test_preprocessing_is_read(text: str, facts: object) -> None:
    assert inputs.parse_preprocessing(text) == facts


def test_a_proposal_can_be_sent_as_it_is_shown() -> None:
    facts = {"mean": [0.485, 0.456, 0.406], "std": None, "input_size": [3, 224, 224], "channel_order": "rgb"}
    shown = format_preprocessing(facts)
    assert inputs.parse_preprocessing(shown) == {name: value for name, value in facts.items() if value is not None}


@pytest.mark.parametrize("text", ["0.5,0.5,0.5", "mean=a", "mean=1/0", "mean", "{", "0.5 mean=1"])
def test_malformed_preprocessing_is_refused(text: str) -> None:
    with pytest.raises(InputUnusable, match="preprocessing"):
        inputs.parse_preprocessing(text)


def test_labels_are_lines_or_json(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    for text in ("cat\r\nBlüte\r\n\r\n", '\ufeff["cat", "Blüte"]'):
        path.write_bytes(text.encode())
        assert inputs.read_labels(path) == ["cat", "Blüte"]
    for bad in (b"\xff", b"[1"):
        path.write_bytes(bad)
        with pytest.raises(InputUnusable, match="cannot be read"):
            inputs.read_labels(path)
    with pytest.raises(InputUnusable, match="cannot be read"):
        inputs.read_labels(tmp_path / "none")


def test_a_network_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputUnusable, match="There is no"):
        inputs.find_network(tmp_path / "net.onnx")
    with pytest.raises(InputUnusable, match="holds no files"):
        inputs.find_network(tmp_path)


def test_images_are_a_dataset_by_its_id_or_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert inputs.parse_images("ds_1") == "ds_1"
    (tmp_path / "ds_1" / "cat").mkdir(parents=True)
    with pytest.raises(InputUnusable, match="holds no files"):
        inputs.parse_images("ds_1")
    for name in ("2.png", "1.png", ".DS_Store"):
        (tmp_path / "ds_1" / "cat" / name).write_bytes(b"12")
    source = inputs.parse_images("ds_1")
    assert isinstance(source, UploadSource)
    assert ([str(file) for file in source.files], source.size) == (["ds_1/cat/1.png", "ds_1/cat/2.png"], 4)
    assert inputs.find_images([Path("ds_1")]) == list(source.files)
    with pytest.raises(InputUnusable, match="There is no photos"):
        inputs.parse_images("photos")
