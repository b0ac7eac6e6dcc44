"""A cache that keeps its bound of bytes."""

from __future__ import annotations

from service.byte_cache import ByteCache


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    cache: ByteCache[str] = ByteCache(30)
    for key in "abc":
        cache.remember(key, key.upper(), 10)
    assert cache.recall("a") == "A"
    cache.remember("d", "D", 10)
    assert [cache.recall(key) for key in "abcd"] == ["A", None, "C", "D"]
    assert cache.bytes == 30


def test_a_larger_value_takes_the_place_of_several() -> None:
    cache: ByteCache[str] = ByteCache(30)
    for key in "abc":
        cache.remember(key, key.upper(), 10)
    cache.remember("a", "AA", 15)
    assert ([cache.recall(key) for key in "abc"], cache.bytes) == (["AA", None, "C"], 25)


def test_one_above_the_bound_is_kept_alone_until_the_next() -> None:
    cache: ByteCache[str] = ByteCache(30)
    cache.remember("a", "A", 10)
    cache.remember("large", "L", 100)
    assert (cache.recall("a"), cache.recall("large"), cache.bytes) == (None, "L", 100)
    cache.remember("b", "B", 10)
    assert (cache.recall("large"), cache.recall("b"), cache.bytes) == (None, "B", 10)


def test_what_is_forgotten_takes_no_bytes() -> None:
    cache: ByteCache[str] = ByteCache(30)
    cache.remember("a", "A", 10)
    for _ in range(2):
        cache.forget("a")
    assert (cache.recall("a"), cache.bytes) == (None, 0)
