"""Content-Encoding: decoded whatever the size of the chunks, in blocks of bounded size."""

from __future__ import annotations

import gzip
import zlib

import pytest
from starlette.exceptions import HTTPException

from service.content_encoding import BLOCK, Inflater, decode_all

DATA = bytes(range(256)) * 40


@pytest.mark.parametrize(
    "compressed", [gzip.compress(DATA, mtime=0), zlib.compress(DATA), gzip.compress(DATA[:100], mtime=0) * 3]
)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_gzip_and_zlib_are_decoded_chunk_by_chunk(compressed: bytes, size: int) -> None:
    inflater = Inflater()
    chunks = [compressed[start : start + size] for start in range(0, len(compressed), size)]
    decoded = b"".join(block for chunk in chunks for block in inflater.feed(chunk))
    inflater.finish()
    assert decoded in (DATA, DATA[:100] * 3)


def test_no_block_is_larger_than_the_limit() -> None:
    blocks = list(Inflater().feed(gzip.compress(bytes(5 * BLOCK), mtime=0)))
    assert max(map(len, blocks)) <= BLOCK
    assert sum(map(len, blocks)) == 5 * BLOCK


@pytest.mark.parametrize("encoding", [{}, {"content-encoding": "identity"}])
def test_a_plain_body_stays_as_it_is(encoding: dict[str, str]) -> None:
    assert decode_all(encoding, DATA, 10) == DATA


def test_damage_after_a_member_is_found() -> None:
    with pytest.raises(HTTPException, match="damaged"):
        decode_all({"content-encoding": "gzip"}, gzip.compress(DATA, mtime=0) + b"junk", 1 << 20)
