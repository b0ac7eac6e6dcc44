"""Recognize the names that people give to the splits of a dataset: train, valid, test_set, val2017, Testdaten."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TRAIN, VALIDATION, TEST = "train", "validation", "test"
WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "validate", "validating", "vali"), VALIDATION),
    **dict.fromkeys(("dev", "devel", "development", "eval", "evaluation"), VALIDATION),
    **dict.fromkeys(("test", "tests", "testing", "tst", "holdout", "heldout"), TEST),
}
"""Words for the splits. `dev` and `eval` count as validation, `holdout` as test."""
OTHER_LANGUAGES = {
    TRAIN: "trainings trainieren entrainement apprentissage entrenamiento treino treinamento addestramento allenamento "
    "trainen treningowy treningowe treningowa trening traning træning trenovaci egitim pelatihan latih antrenare "
    "обучение обучающая обучающий обучающие тренировка тренировочная тренировочный тренировочные навчання εκπαιδευση "
    "训练 訓練 学習 トレーニング 학습 훈련 트레이닝 تدريب التدريب آموزش אימון",
    VALIDATION: "validierung validierungs validacion validacao validazione validatie valideren walidacja walidacyjny "
    "walidacyjne walidacyjna validering validace validacni dogrulama validasi validare валидация валидационная "
    "валидационный валидационные валідація επικυρωση 验证 驗證 検証 バリデーション 검증 تحقق التحقق ולידציה",
    TEST: "testen prueba pruebas teste testes prova testowy testowe testowa testovaci pengujian uji тест тестовая "
    "тестовый тестовые тестирование тестування τεστ δοκιμη 测试 測試 テスト 테스트 اختبار الاختبار آزمون מבחן",
}
"""Words of other languages, separated by spaces."""
FILLERS = {
    "set", "sets", "data", "dataset", "datasets", "image", "images", "img", "imgs", "photo", "photos", "pic", "pics",
    "split", "splits", "subset", "part", "partition", "folder", "dir", "files", "file", "label", "labels", "labeled",
    "labelled", "annotation", "annotations", "classes", "metadata", "meta", "info", "csv", "list", "final", "full",
    "all", "new", "my", "the", "public", "private", "jpg", "jpeg", "png", "raw", "crop", "cropped", "resized", "small",
    "large", "big", "mini", "tiny", "v", "px", "x", "k", "fold", "out", "and", "batch",
    "daten", "datensatz", "satz", "bilder", "menge", "jeu", "ensemble", "donnees", "de", "d", "du", "des", "datos",
    "conjunto", "imagenes", "dados", "imagens", "base", "dati", "immagini", "zbior", "dane", "zdjecia",
    "выборка", "набор", "данные", "данных", "изображения", "集", "数据", "數據", "数据集", "數據集", "样本", "图片",
    "图像", "用", "データ", "データセット", "セット", "画像", "데이터", "데이터셋", "셋", "세트", "이미지", "용",
}  # fmt: skip
"""Words that change nothing beside the word of a split."""
SHORT = {"imagestr": TRAIN, "imagests": TEST, "imagesval": VALIDATION}
"""Names of the Medical Segmentation Decathlon."""
_RUN = re.compile(r"[^\W\d_]+")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def parse_split(name: str) -> str | None:
    """Parse a name as that of a split: None if it has other words, or words of several splits."""
    split, others = _parse(name)
    return None if others else split


def parse_splits(names: Iterable[str]) -> dict[str, str]:
    """Parse the names of folders beside each other: `seg_train` and `seg_test` share their other words."""
    parsed = {name: _parse(name) for name in names}
    alike: dict[tuple[str, ...], set[str]] = {}
    for split, others in parsed.values():
        if split is not None:
            alike.setdefault(others, set()).add(split)
    return {
        name: split
        for name, (split, others) in parsed.items()
        if split is not None and (not others or len(alike[others]) > 1)
    }


def describe_splits(splits: Mapping[str, str]) -> str:
    """Describe which names stand for which splits, for a report."""
    return ", ".join(name if name.lower() == split else f"{name} ({split})" for name, split in sorted(splits.items()))


def _fold(text: str) -> str:
    """Take the accents off a text, and full width, so that words are found however they are written."""
    parts = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", re.sub(r"[\u0300-\u036f]", "", parts))


KNOWN = WORDS | {_fold(word): split for split, words in OTHER_LANGUAGES.items() for word in words.split()}
KNOWN_FILLERS = frozenset(map(_fold, FILLERS))


@lru_cache(maxsize=4096)
def _parse(name: str) -> tuple[str | None, tuple[str, ...]]:
    """Parse a name into its split and its other words."""
    words = [word for run in _RUN.findall(_fold(name)) for word in _split_run(run)]
    if "".join(words) in SHORT:
        return SHORT["".join(words)], ()
    if words[:2] in (["hold", "out"], ["held", "out"]):
        words = ["holdout", *words[2:]]
    found, others = set(), []
    for word in words:
        split = _parse_word(word)
        if split is not None:
            found.add(split)
        elif word not in KNOWN_FILLERS:
            others.append(word)
    if found == {TRAIN, VALIDATION}:
        found = {TRAIN}  # train_val: all that is not for the test
    return (found.pop() if len(found) == 1 else None), tuple(others)


def _split_run(run: str) -> list[str]:
    """Split letters without a space into words, where capitals tell: `TrainSet`."""
    return [word.lower() for word in _WORD.findall(run)] if run.isascii() else [run.lower()]


def _parse_word(word: str) -> str | None:
    """Parse a word, also one joined with a filler: `trainset`, `testimages`, `imgtrain`."""
    if word in KNOWN:
        return KNOWN[word]
    for known, split in KNOWN.items():
        if (word.startswith(known) and _is_filler(word[len(known) :])) or (
            word.endswith(known) and _is_filler(word[: -len(known)])
        ):
            return split
    return None


def _is_filler(word: str) -> bool:
    """Tell whether a word is one or two fillers: 学習用データ."""
    return word in KNOWN_FILLERS or (
        not word.isascii()
        and any(word.startswith(filler) and word[len(filler) :] in KNOWN_FILLERS for filler in KNOWN_FILLERS)
    )
