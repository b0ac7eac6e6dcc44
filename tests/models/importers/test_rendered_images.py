"""Images to compare on are the same everywhere, and look like photographs to a network."""

from __future__ import annotations

import numpy as np

from models.importers.rendered_images import render_images


def test_images_are_deterministic_and_differ() -> None:
    images = render_images(4, 48, 64)
    assert (images.shape, images.dtype) == ((4, 3, 48, 64), np.uint8)
    np.testing.assert_array_equal(images[:2], render_images(2, 48, 64))
    assert all(np.abs(images[0].astype(int) - other).mean() > 10 for other in images[1:])


def test_amplitudes_fall_with_frequency_as_those_of_photographs() -> None:
    gray = render_images(16, 128, 128).mean(1)
    spectrum = np.abs(np.fft.fft2(gray - gray.mean((1, 2), keepdims=True))).mean(0)
    frequencies = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)[None])
    bands = [(0.01, 0.03), (0.03, 0.1), (0.1, 0.3)]
    means = [spectrum[(frequencies > low) & (frequencies < high)].mean() for low, high in bands]
    slope = np.polyfit(np.log([0.02, 0.06, 0.2]), np.log(means), 1)[0]
    assert -1.8 < slope < -0.7


def test_channels_are_correlated_and_bright_and_dark_occur() -> None:
    images = render_images(16, 64, 64).astype(float)
    red, green = images[:, 0].ravel(), images[:, 1].ravel()
    assert 0.5 < np.corrcoef(red, green)[0, 1] < 0.99
    assert images.min() < 10
    assert images.max() > 245
