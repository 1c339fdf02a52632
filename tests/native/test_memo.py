"""The decorators' native callable from the inside: keywords' plans, references, memory, interpreters.

What it answers is tested with the decorators, on both implementations (`tests/memoize`).
"""

from __future__ import annotations

import gc
import importlib
import itertools
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from native_operations import allocations

import ebbcache
from ebbcache import store
from ebbcache.memoize import cached, cachedmethod, lru_cache

native = pytest.importorskip("ebbcache.store._store", reason="the native store was not built")
if store.IMPLEMENTATION != "native":
    pytest.skip("the pure store does the work", allow_module_level=True)


def named(a: Any = 0, b: Any = 1, *, c: Any = 2, d: Any = 3, e: Any = 4) -> Any:
    if a == "raises":
        raise LookupError
    return a, b, c, d, e


class Owner:
    @cachedmethod
    def plain(self, x: Any, y: Any = 2) -> Any:
        return self if x == "itself" else [x]

    @cachedmethod(typed=True)
    def typed(self, x: Any, y: Any = 2) -> Any:
        return [x]

    @cachedmethod(key=lambda self, x, y=2: (x, y))
    def keyed(self, x: Any, y: Any = 2) -> Any:
        return [x]


def fresh() -> dict[str, Callable[..., Any]]:
    """Every way in which a call becomes a key, all with an empty cache."""
    for method in (Owner.plain, Owner.typed, Owner.keyed):
        method.cache_clear()
    owner = Owner()
    return {
        "bound": cached(named),
        "one": cached(lambda a: [a]),
        "nothing": cached(lambda: [0]),
        "many": cached(lambda *args: list(args)),
        "typed": cached(typed=True)(named),
        "made": cached(key=lambda *args, **kwargs: (args, tuple(kwargs.values())))(named),
        "mortal": cached(ttl=3600.0)(named),
        "limited": cached(maxsize=2)(named),
        "written": lru_cache(named),
        "written typed": lru_cache(typed=True)(named),
        "method": owner.plain,
        "method typed": owner.typed,
        "method keyed": owner.keyed,
    }


NAMES = list(fresh())


def is_native(f: Any) -> bool:
    return isinstance(getattr(f, "__func__", f), native.Memo)


@pytest.mark.parametrize("name", NAMES)
def test_all_of_these_are_native(name):
    assert is_native(fresh()[name])


def test_names_are_equal_without_being_the_same():
    f = cached(named)
    expected = f(1, 2, c=3, d=4, e=5)
    for order in itertools.permutations("abcde"):
        # Neither the tuple of names nor the names themselves are those of the function.
        names = {"".join([*name, ""]): "abcde".index(name) + 1 for name in order}
        assert f(**names) is expected
        assert f(**names) is expected
        rest = {name: value for name, value in names.items() if name not in "ab"}
        assert f(1, 2, **rest) is expected
    assert f.cache_info()[1:] == (1, None, 1)
    with pytest.raises(TypeError, match="multiple values"):
        f(1, a=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'f'"):
        f(1, f=1)

    class Name(str):
        pass

    assert f(**{Name("a"): 1, "b": 2, "c": 3, "d": 4, "e": 5}) is expected


def test_ever_new_tuples_of_names_take_no_memory():
    f = cached(named)

    def call() -> None:
        for order in orders:
            f(**dict.fromkeys(order, 1))
        with pytest.raises(TypeError):
            f(**{f"unknown {next(numbers)}": 1})

    orders = list(itertools.permutations("abcde"))
    numbers = itertools.count()
    for _ in range(3):
        call()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(50):
        call()
    gc.collect()
    assert sys.getallocatedblocks() - before < 500
    assert f.cache_info().currsize == 1


@pytest.mark.parametrize("name", NAMES)
def test_ten_thousand_calls_of_each_kind_leave_no_reference(name):
    f = fresh()[name]
    held = [object(), object(), (1.5,), "text"]

    class Awkward:
        def __hash__(self):
            raise ArithmeticError

    calls: list[tuple[Any, ...]] = [(held[0],), (held[0], held[1]), (held[2],), (held[3],), ()]
    wrong: list[tuple[Any, ...]] = [([],), (Awkward(),), ("raises",), (1, 2, 3, 4)]

    def once() -> None:
        for args in calls + wrong:
            try:
                f(*args)
                f(*args)
                f(*args, b=held[1])
            except (TypeError, ArithmeticError, LookupError):
                pass
        f.cache_clear()

    for _ in range(10):
        once()
    gc.collect()
    counts = [sys.getrefcount(each) for each in (*held, f, Owner, named, Awkward)]
    growths = []
    for _ in range(4):  # the interpreter may keep some blocks for later, though not each time
        blocks = sys.getallocatedblocks()
        for _ in range(2_500 // len(calls)):
            once()
        gc.collect()
        growths.append(sys.getallocatedblocks() - blocks)
    assert [sys.getrefcount(each) for each in (*held, f, Owner, named, Awkward)] == counts
    assert min(growths) < 250  # a leak of one each time is 500


@pytest.mark.parametrize("name", NAMES)
def test_any_allocation_of_a_call_may_fail(name, monkeypatch):
    testcapi = allocations()
    monkeypatch.setattr("ebbcache.governor.watch_expiry", lambda cache: None)
    f = fresh()[name]
    args: tuple[Any, ...] = () if name == "nothing" else (2.5,)
    more = {} if name in ("nothing", "one", "many") else {"y" if "method" in name else "b": (1, "x")}
    expected = f(*args, **more)
    for failing in range(60):
        for keep in (False, True):  # a miss, a hit
            if not keep:
                f.cache.clear()
            testcapi.set_nomemory(failing, failing + 1)
            try:
                f(*args, **more)
            except MemoryError:
                pass
            finally:
                testcapi.remove_mem_hooks()
            f.cache._check()
            assert f(*args, **more) == expected


def test_the_class_of_an_argument_may_change_while_it_is_hashed():
    class Chameleon:
        def __hash__(self):
            self.__class__ = type("Other", (Chameleon,), {"__hash__": lambda self: 1})
            gc.collect()
            return 1

        __eq__ = object.__eq__

    for f in (cached(typed=True)(named), lru_cache(typed=True)(named)):
        for _ in range(3):
            argument = Chameleon()
            assert f(argument)[0] is f(argument)[0] is argument


def test_instances_at_same_addresses_are_told_apart():
    seen = set()
    for n in range(1000):
        owner = Owner()
        seen.add(id(owner))
        value = owner.plain(n % 2)
        assert owner.plain(n % 2) is value
        assert owner.plain("itself") is owner
        assert owner.plain("itself") is owner
        del owner
        assert not Owner.plain.cache_info().currsize
    assert len(seen) < 1000, "no address was used twice, so nothing was tested"


def test_eight_threads_hit_and_miss_together():
    f = cached(maxsize=50)(lambda x, y=0: (x, y))
    start = threading.Barrier(8)
    wrong: list[Any] = []

    def work(seed: int) -> None:
        start.wait(60)
        for n in range(4000):
            x = (n * 7 + seed) % 60
            if f(x, y=1) != (x, 1) or f(x) != (x, 0):
                wrong.append(x)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert not wrong
    info = f.cache_info()
    assert info.hits + info.misses == 8 * 4000 * 2
    assert info.currsize <= 50
    f.cache._check()


ALONE = """
import sys, types
for name, path in (("ebbcache", {source!r}), ("ebbcache.store", {source!r} + "/store")):
    module = types.ModuleType(name)
    module.__path__ = [path]
    sys.modules[name] = module
from ebbcache.store import _store
assert id(_store.Core) != {core}
class Store(_store.Core):
    policy = "lru"
    dated = 0
    def _insert(self, key, h, value, ttl, cost):
        self._put(key, h, value, 100)
store = Store()
calls = []
def function(x, y=1):
    calls.append(x)
    return [x]
def keep(key, h, value, began):
    store._put(key, h, value, 100)
shape = {{"parameters": ("x", "y"), "positional": 2, "defaults": (1,)}}
f = _store.Memo(function, store, keep, lambda: 0.0, function, **shape)
for n in range(2000):
    assert f(n) is f(n, y=1) is f(x=n)
assert calls == list(range(2000)) and store.hits == 4000
store._check()
class Thing:
    pass
things = [Thing() for n in range(10)]
assert len({{hash(_store.Instance(thing)) for thing in things}}) == 10
"""


def test_each_interpreter_has_its_own():
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            interpreters: Any = importlib.import_module(name)
        except ImportError:
            continue
        break
    else:
        pytest.skip("this Python offers no interpreters to Python code")
    text = ALONE.format(source=ebbcache.__path__[0], core=id(native.Core))
    run = getattr(interpreters, "exec", interpreters.run_string)
    problems: list[Any] = []

    def work() -> None:
        interpreter = interpreters.create()
        try:
            problem = run(interpreter, text)
            if problem is not None:
                problems.append(problem)
        except Exception as error:
            problems.append(error)
        finally:
            interpreters.destroy(interpreter)

    for _ in range(3):
        work()
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not problems
