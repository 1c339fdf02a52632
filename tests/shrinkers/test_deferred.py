"""Soft requests become a debt that is paid once, from the program's own loop."""

from __future__ import annotations

import gc
import threading

import pytest

from ebbcache.deferred import deferred
from ebbcache.engine import reclaim
from ebbcache.shrinkers import NonsenseError, register_shrinker, registered


class Book:
    """Frees what it is asked for, as long as it holds something, and remembers the calls."""

    def __init__(self, held=1000):
        self.held = held
        self.calls = []

    def free(self, target, hard):
        self.calls.append((target, hard))
        freed = min(target, self.held)
        self.held -= freed
        return freed

    def size(self):
        return self.held


def test_soft_requests_add_up_and_are_paid_at_once():
    book = Book()
    debt = deferred(book.free)
    assert debt.pending == 0
    assert debt.pay() == 0
    assert [debt(100, False), debt(50, False)] == [0, 0]
    assert debt.pending == 150
    assert book.calls == []
    assert debt.pay() == 150
    assert debt.pending == 0
    assert book.calls == [(150, False)]


def test_a_part_can_be_paid():
    book = Book()
    debt = deferred(book.free)
    debt(3000, False)
    assert debt.pay(100) == 100
    assert debt.pending == 2900
    assert debt.pay("1 kB") == 900  # all that was left: the rest of this part is forgiven
    assert debt.pending == 1900
    assert debt.pay(0) == 0
    assert debt.pending == 1900


def test_a_hard_request_runs_at_once_and_counts_against_the_debt():
    book = Book()
    debt = deferred(book.free)
    debt(300, False)
    assert debt(200, True) == 200
    assert book.calls == [(200, True)]
    assert debt.pending == 100
    debt(500, True)
    assert debt.pending == 0


def test_a_debt_does_not_exceed_what_is_held():
    book = Book(held=500)
    debt = deferred(book.free, size=book.size)
    for _ in range(10):
        debt(200, False)
    assert debt.pending == 500


def test_an_exception_leaves_the_debt():
    def free(target, hard):
        raise exc

    debt = deferred(free)
    debt(100, False)
    for exc in (ValueError("not now"), KeyboardInterrupt()):
        with pytest.raises(type(exc)):
            debt.pay()
        assert debt.pending == 100
    with pytest.raises(KeyboardInterrupt):
        debt(50, True)
    assert debt.pending == 100


def test_an_answer_of_nonsense_is_an_error_of_the_program():
    debt = deferred(lambda target, hard: None)
    debt(100, False)
    with pytest.raises(NonsenseError):
        debt.pay()
    assert debt.pending == 100


def test_two_threads_never_pay_the_same_debt():
    paid = []

    def free(target, hard):
        paid.append(target)
        return target

    debt = deferred(free)

    def work():
        for _ in range(500):
            debt(3, False)
            debt.pay(2)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    debt.pay()
    assert sum(paid) == 4 * 500 * 3
    assert debt.pending == 0


def test_paying_may_ask_again():
    def free(target, hard):
        if target > 10:
            debt(5, False)
        return target

    debt = deferred(free)
    debt(100, False)
    assert debt.pay() == 100
    assert debt.pending == 5


def test_as_a_registered_shrinker():
    book = Book()
    debt = deferred(book.free, size=book.size)
    handle = register_shrinker("book", debt, size=book.size)
    assert reclaim(400).freed == 0
    assert debt.pending == 400
    assert debt.pay() == 400
    hard = reclaim(100, hard=True)
    assert (hard.freed, hard.by[0].name) == (100, "book")
    assert handle.record.answered == 100


def test_the_owner_of_a_deferred_method_is_held_weakly():
    book = Book()
    debt = deferred(book.free)
    other = deferred(Book().free)
    handle = register_shrinker("book", debt)
    kept = register_shrinker("kept", lambda target, hard: 0)
    assert other.pay() == 0
    del book
    assert registered() == (kept,)
    assert not handle.registered
    assert (debt(10, True), debt(10, False), debt.pay()) == (0, 0, 0)
    assert debt.pending == 0


def test_a_deferred_is_no_garbage_cycle():
    gc.collect()
    gc.disable()
    try:
        debt = deferred(lambda target, hard: 0)
        del debt
        book = Book()
        debt = deferred(book.free)
        del debt, book
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_bad_input_is_refused():
    with pytest.raises(TypeError, match="func must be callable"):
        deferred(3)
    with pytest.raises(TypeError, match="size must be callable"):
        deferred(lambda target, hard: 0, size=3)
    debt = deferred(lambda target, hard: target)
    debt(10, False)
    for limit, error in ((-1, ValueError), (1.5, TypeError), (True, TypeError), ("lots", ValueError)):
        with pytest.raises(error, match="limit"):
            debt.pay(limit)
    assert debt.pending == 10
    assert "10 B pending" in repr(debt)
