"""Names of splits, as public datasets spell them."""

from __future__ import annotations

import unicodedata

import pytest

from models.datasets.split_names import describe_splits, parse_split, parse_splits


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (
            "train Train TRAIN training trainset training_set train-set TrainSet train_images imagesTr imgs_train",
            "train",
        ),
        ("my_train_data 01_train train2017 train_val trainval", "train"),
        ("val valid Validation val2017 validation-set dev devset eval eval_final_v2 imagesVal", "validation"),
        ("test Testing test-set TestSet test1 testimages PublicTest PrivateTest holdout hold-out imagesTs", "test"),
    ],
)
def test_splits_are_known_in_any_spelling(names: str, split: str) -> None:
    assert {name: parse_split(name) for name in names.split()} == dict.fromkeys(names.split(), split)


@pytest.mark.parametrize(
    "names",
    [
        ("Trainingsdaten", "Validierung", "Testdaten"),
        ("Trainingsbilder", "Validierungsbilder", "Testbilder"),
        ("entrainement", "validation", "test"),
        ("jeu d'entraînement", "jeu de validation", "jeu de test"),
        ("entrenamiento", "validación", "prueba"),
        ("treino", "validação", "teste"),
        ("addestramento", "validazione", "prova"),
        ("зорові дані_train", "зорові дані_val", "зорові дані_test"),
        ("обучающая выборка", "валидационная_выборка", "Тестовая выборка"),
        ("训练集", "验证集", "测试集"),
        ("訓練數據", "驗證數據", "測試數據"),
        ("学習用データ", "検証用データ", "テスト用データ"),
        ("학습데이터", "검증데이터", "테스트 데이터"),
        ("Eğitim", "Doğrulama", "Test"),
    ],
)
def test_splits_are_known_in_other_languages(names: tuple[str, str, str]) -> None:
    expected = dict(zip(names, ("train", "validation", "test"), strict=True))
    assert parse_splits(names) == expected
    decomposed = [unicodedata.normalize("NFD", name) for name in names]
    assert list(parse_splits(decomposed).values()) == list(expected.values())


def test_words_of_other_languages_that_only_begin_so_are_no_splits() -> None:
    names = "testigo provare validierer 训练师 测试纸 тестостерон prueba_de_vida_test_de 学習者"
    assert [name for name in names.split() if parse_split(name)] == []


def test_other_words_are_no_splits() -> None:
    names = "cat trains contest latest valve train_station bullet_train test_tube train_test images 训练train 1 devil"
    assert [name for name in names.split() if parse_split(name)] == []


def test_folders_that_share_their_other_words_are_splits() -> None:
    assert parse_splits(["seg_train", "seg_test", "seg_pred"]) == {"seg_train": "train", "seg_test": "test"}
    assert parse_splits(["train", "test", "test-multiple_fruits"]) == {"train": "train", "test": "test"}
    assert parse_splits(["bullet_train", "steam_train", "bus"]) == {}


def test_splits_are_described_with_what_they_stand_for() -> None:
    assert describe_splits({"Train": "train", "dev": "validation"}) == "Train, dev (validation)"
