"""Rendering of a pack's images: batches of pixels that threads decode ahead, within bounded memory."""

from __future__ import annotations

import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from models.images.decode import decode, limit_pixels
from models.runtime.supervisor_callbacks import no_heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from concurrent.futures import Future

    from models.datasets.pack import Pack
    from models.images.views import Views

LOOKAHEAD = 3
"""Batches of images that are rendered ahead of the trunk: bounds memory, and keeps the trunk busy."""
LOOKAHEAD_BYTES = 256 << 20
"""Most bytes of images that are rendered ahead, where they are large."""


def render_images(
    pack: Pack,
    views: Views,
    images: np.ndarray,
    view: int,
    size: int,
    heartbeat: Callable[[], None] = no_heartbeat,
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """Render images in order, `size` at a time: yields them and their pixels (size, 3, H, W) uint8.

    Threads decode ahead: Pillow releases the interpreter's lock.
    """
    pixels, decoding = pack.pixels, pack.decoding

    def render(image: int) -> np.ndarray:
        with limit_pixels(int(pixels[image])):
            return views.render(decode(pack.read_file(image), decoding), pack.digests[image].tobytes(), view)

    shape = views.preprocessing.input_size
    most_ahead = max(1, min(LOOKAHEAD * size, LOOKAHEAD_BYTES // math.prod(shape)))
    waiting = iter(images)
    ahead: deque[Future[np.ndarray]] = deque()
    threads = ThreadPoolExecutor(thread_name_prefix="decode")
    try:
        ahead.extend(threads.submit(render, image) for image in islice(waiting, most_ahead))
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            rendered = np.empty((len(batch), *shape), np.uint8)
            for place in range(len(batch)):
                rendered[place] = ahead.popleft().result()
                ahead.extend(threads.submit(render, image) for image in islice(waiting, 1))
            heartbeat()
            yield batch, rendered
    finally:
        threads.shutdown(cancel_futures=True)
