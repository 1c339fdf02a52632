"""`cached(mapping, ...)` does what the installed cachetools does: one script run on both, side by side."""

from __future__ import annotations

import copy
import pickle
import re
import threading
import weakref
from collections.abc import MutableMapping

import cachetools
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ebbcache

CACHED = {"cachetools": cachetools.cached, "ebbcache": ebbcache.cached}


class Recording(MutableMapping):
    """A mapping that writes down what it is asked for."""

    def __init__(self, inner, log):
        self.inner = inner
        self.log = log

    def __getitem__(self, key):
        self.log.append(("get", len(key)))
        return self.inner[key]

    def __setitem__(self, key, value):
        self.log.append(("set", len(key), value))
        self.inner[key] = value

    def __delitem__(self, key):
        del self.inner[key]

    def __len__(self):
        return len(self.inner)

    def __iter__(self):
        return iter(self.inner)

    def setdefault(self, key, default=None):
        self.log.append(("setdefault", len(key), default))
        return self.inner.setdefault(key, default)

    def clear(self):
        self.log.append(("clear",))
        self.inner.clear()


class RecordingCondition:
    """A lock and condition that writes down how it is used."""

    def __init__(self, name, log):
        self.name = name
        self.log = log
        self.condition = threading.Condition()

    def __enter__(self):
        self.log.append((self.name, "enter"))
        return self.condition.__enter__()

    def __exit__(self, *details):
        self.log.append((self.name, "exit"))
        return self.condition.__exit__(*details)

    def wait(self, timeout=None):
        self.log.append((self.name, "wait"))
        return self.condition.wait(timeout)

    def notify_all(self):
        self.log.append((self.name, "notify_all"))


mappings = st.sampled_from(
    [
        dict,
        lambda: cachetools.LRUCache(maxsize=2),
        lambda: cachetools.LRUCache(maxsize=5, getsizeof=lambda value: value),
        lambda: cachetools.LFUCache(maxsize=0),
        lambda: cachetools.FIFOCache(maxsize=3),
        lambda: ebbcache.LRUCache(maxsize=2),
        lambda: ebbcache.LRUCache(maxsize=5, getsizeof=lambda value: value),
        lambda: ebbcache.LRUCache(),
    ]
)
steps = st.one_of(
    st.tuples(
        st.just("call"),
        st.lists(st.integers(0, 3), max_size=2),
        st.dictionaries(st.sampled_from("ab"), st.integers(0, 3)),
    ),
    st.tuples(st.just("clear"), st.none(), st.none()),
    st.tuples(st.just("info"), st.none(), st.none()),
    st.tuples(st.just("forget"), st.integers(0, 3), st.none()),
)


def replay(cached, make, guards, info, by_position, script):
    """Carry a script out on one implementation; answer all that can be seen of it."""
    log = []
    mapping = Recording(make(), log)
    lock = RecordingCondition("lock", log) if "lock" in guards else None
    condition = RecordingCondition("condition", log) if "condition" in guards else None
    key = cachetools.keys.hashkey

    def func(*args, **kwargs):
        log.append(("called", args, kwargs))
        if args[:1] == (3,):
            raise LookupError(args)
        return sum(args) + sum(kwargs.values())

    if by_position:
        f = cached(mapping, key, lock, condition, info)(func)
    else:
        f = cached(cache=mapping, lock=lock, condition=condition, info=info)(func)
    for what, a, b in script:
        try:
            if what == "call":
                log.append(("answer", f(*a, **b)))
            elif what == "clear":
                f.cache_clear()
            elif what == "info":
                log.append(("info", *f.cache_info()))
            else:
                log.append(("forgot", f.cache.pop(f.cache_key(a), None)))
        except (LookupError, AttributeError, TypeError) as error:
            log.append(type(error))
    assert f.__wrapped__ is func
    assert f.cache is mapping
    log.append((f.cache_lock is lock, f.cache_lock is condition, f.cache_condition is condition))
    log.append((len(mapping), sorted(mapping.values())))
    return log


@given(
    mappings,
    st.sets(st.sampled_from(["lock", "condition"])),
    st.booleans(),
    st.booleans(),
    st.lists(steps, max_size=12),
)
def test_every_step_is_that_of_cachetools(make, guards, info, by_position, script):
    ours, theirs = (replay(cached, make, guards, info, by_position, script) for cached in CACHED.values())
    assert ours == theirs


@pytest.fixture(params=CACHED.values(), ids=CACHED.keys())
def cached_by(request):
    """Run the test on cachetools too: what is asserted of us is true of it."""
    return request.param


def test_none_is_a_value(cached_by):
    calls = []
    f = cached_by({})(calls.append)
    assert f(1) is None
    assert f(1) is None
    assert calls == [1]


def test_a_weak_mapping(cached_by):
    class Value:
        pass

    f = cached_by(weakref.WeakValueDictionary())(lambda x: Value())
    value = f(1)
    assert f(1) is value
    ref = weakref.ref(value)
    del value
    assert ref() is None
    assert f(1) is not None


def test_an_expiring_mapping(cached_by):
    now = 0
    calls = []
    f = cached_by(cachetools.TTLCache(10, ttl=5, timer=lambda: now), info=True)(
        lambda x: calls.append(x) or x
    )
    assert [f(1), f(1)] == [1, 1]
    now = 5
    assert f(1) == 1
    assert calls == [1, 1]
    assert f.cache_info() == (1, 2, 10, 1)


def test_a_mapping_that_makes_what_is_missing(cached_by):
    class Making(dict):
        def __missing__(self, key):
            return "made"

    f = cached_by(Making())(lambda x: "called")
    assert f(1) == "made"


def test_shared_by_two_functions(cached_by):
    numbers = {}
    double = cached_by(numbers, key=lambda x: ("double", x))(lambda x: 2 * x)
    triple = cached_by(numbers, key=lambda x: ("triple", x))(lambda x: 3 * x)
    assert (double(2), triple(2), double(2)) == (4, 6, 4)
    assert numbers == {("double", 2): 4, ("triple", 2): 6}


def test_a_key_function_that_fails(cached_by):
    f = cached_by({}, key=lambda x: x.missing)(lambda x: x)
    with pytest.raises(AttributeError):
        f(1)


def test_unhashable(cached_by):
    with pytest.raises(TypeError):
        cached_by({})(lambda x: x)([])


def test_on_methods(cached_by):
    class C:
        @cached_by({}, key=lambda self, x: x)
        def f(self, x):
            return [x]

    assert C().f(1) is C().f(1)
    assert C.f.__name__ == "f"


@cachetools.cached({})
def theirs_by_name(x):
    return x


@ebbcache.cached({})
def ours_by_name(x):
    return x


@pytest.mark.parametrize("func", [theirs_by_name, ours_by_name])
def test_pickles_and_copies_by_name(func):
    assert pickle.loads(pickle.dumps(func)) is func
    assert copy.copy(func) is copy.deepcopy(func) is func


def test_a_condition_lets_one_compute_and_the_others_wait(cached_by):
    calls = []
    waiting = threading.Barrier(3, timeout=30)
    released = threading.Event()
    condition = threading.Condition()

    @cached_by({}, condition=condition, info=True)
    def f(x):
        calls.append(x)
        assert released.wait(30)
        return [x]

    answers = []

    def caller():
        waiting.wait()
        answers.append(f(1))

    threads = [threading.Thread(target=caller) for _ in range(3)]
    for thread in threads:
        thread.start()
    released.set()
    for thread in threads:
        thread.join(30)
    assert calls == [1]
    assert answers[0] is answers[1] is answers[2]
    assert f.cache_info() == (2, 1, None, 1)


def test_a_condition_wakes_the_others_after_a_failure(cached_by):
    calls = []
    first_runs, second_waits = threading.Event(), threading.Event()

    class Watched(threading.Condition):
        def wait(self, timeout=None):
            second_waits.set()
            return super().wait(timeout)

    @cached_by({}, condition=Watched())
    def f(x):
        calls.append(x)
        if len(calls) == 1:
            first_runs.set()
            assert second_waits.wait(30)
            raise LookupError
        return x

    failures = []

    def first():
        try:
            f(1)
        except LookupError as error:
            failures.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert first_runs.wait(30)
    assert f(1) == 1
    thread.join(30)
    assert len(failures) == 1
    assert calls == [1, 1]


def test_a_lock_is_free_during_the_call_and_the_first_answer_stays(cached_by):
    together = threading.Barrier(2, timeout=30)
    answers = []

    @cached_by({}, lock=threading.Lock())
    def f(x):
        together.wait()
        return object()

    threads = [threading.Thread(target=lambda: answers.append(f(1))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers[0] is answers[1]


class TestMistakes:
    @pytest.mark.parametrize(
        "option",
        [{"maxsize": 1}, {"maxbytes": 1}, {"ttl": 1}, {"policy": "lru"}, {"typed": True}, {"name": "n"}],
    )
    def test_options_for_a_cache_of_ours(self, option):
        with pytest.raises(TypeError, match=next(iter(option))):
            ebbcache.cached({}, **option)

    def test_a_key_that_cannot_be_called(self):
        with pytest.raises(TypeError, match="key"):
            ebbcache.cached({}, key=5)

    @pytest.mark.parametrize("thing", [5, "text", [], ()])
    def test_neither_function_nor_mapping(self, thing):
        with pytest.raises(TypeError, match=re.escape(repr(thing))):
            ebbcache.cached(thing)
