"""The demo's work is real, differs from document to document, and is the same for the same number."""

from __future__ import annotations

import zlib
from itertools import islice

import pytest

from ebbcache.demo.workload import Library, zipf


@pytest.fixture(scope="module")
def library() -> Library:
    return Library(500, seed=7)


def test_the_same_number_gives_the_same_document(library: Library) -> None:
    assert library.make(3) == Library(500, seed=7).make(3)


def test_numbers_and_seeds_give_different_documents(library: Library) -> None:
    assert library.make(3).html != library.make(4).html
    assert library.make(3).html != Library(500, seed=8).make(3).html


def test_a_document_is_what_it_says(library: Library) -> None:
    document = library.make(11)
    assert zlib.decompress(document.packed).decode() == document.html
    assert document.title in document.html
    words = document.html.split()
    assert document.terms
    assert all(0 < count <= words.count(word) for word, count in document.terms.items())


def test_sizes_spread_from_one_to_three_hundred_kilobytes(library: Library) -> None:
    sizes = [len(library.make(number).html) for number in range(200)]
    assert max(sizes) <= 300_000
    assert max(sizes) > 10 * min(sizes)


def test_a_number_outside_the_library_is_refused(library: Library) -> None:
    with pytest.raises(ValueError, match="from 0 to 499, got 500"):
        library.make(500)


def test_requests_repeat_with_their_seed_and_follow_zipf() -> None:
    requests = list(islice(zipf(1_000, 1, 1.0), 20_000))
    assert requests == list(islice(zipf(1_000, 1, 1.0), 20_000))
    assert requests != list(islice(zipf(1_000, 2, 1.0), 20_000))
    assert set(requests) <= set(range(1_000))
    # Number 0 should be asked for twice as often as number 1, ten times as often as number 9.
    assert 1.7 < requests.count(0) / requests.count(1) < 2.3
    assert 7 < requests.count(0) / requests.count(9) < 14
