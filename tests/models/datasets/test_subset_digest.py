"""Digest of a part of a dataset: order and numbers of classes do not count, images and labels do."""

from __future__ import annotations

import numpy as np

from models.datasets.subset_digest import compute_digest

DIGESTS = [bytes([number]) * 32 for number in range(3)]


def test_order_and_unused_classes_do_not_count() -> None:
    one = compute_digest(DIGESTS, np.array([0, 1, 1]), ["cat", "dog"])
    assert one == compute_digest(DIGESTS[::-1], np.array([2, 2, 1]), ["ant", "cat", "dog"])


def test_images_and_labels_do() -> None:
    one = compute_digest(DIGESTS, np.array([0, 1, 1]), ["cat", "dog"])
    assert one != compute_digest(DIGESTS, np.array([0, 1, 0]), ["cat", "dog"])
    assert one != compute_digest(DIGESTS[:2], np.array([0, 1]), ["cat", "dog"])
    assert one != compute_digest([*DIGESTS[:2], b"x" * 32], np.array([0, 1, 1]), ["cat", "dog"])


def test_several_labels_count_in_any_order() -> None:
    one = compute_digest(DIGESTS[:2], np.array([[1, 1], [0, 0]], np.float32), ["cat", "dog"])
    assert one == compute_digest(DIGESTS[:2], np.array([[1, 1], [0, 0]], np.float32), ["dog", "cat"])
    assert one != compute_digest(DIGESTS[:2], np.array([[1, 0], [0, 0]], np.float32), ["cat", "dog"])
