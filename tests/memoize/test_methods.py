"""`cachedmethod`: one cache for a method, whose entries belong to instances and die with them."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import threading
import tracemalloc
import weakref

import pytest

import ebbcache
from ebbcache import cachedmethod
from ebbcache.engine import current_pass


class Plain:
    def __init__(self, value=0):
        self.value = value
        self.calls = []

    @cachedmethod
    def f(self, x, y=2, *, z=3):
        """Add up."""
        self.calls.append(x)
        return [self.value + x + y + z]


class Slotted:
    __slots__ = ("__weakref__", "calls")

    def __init__(self):
        self.calls = []

    @cachedmethod
    def f(self, x):
        self.calls.append(x)
        return [x]


class Hopeless:
    __slots__ = ()

    @cachedmethod
    def f(self, x):
        return [x]


class Number(int):
    """Takes attributes, but no weak references."""

    @cachedmethod
    def plus(self, x):
        return [int(self) + x]


@pytest.fixture(autouse=True)
def empty():
    yield
    for method in (Plain.f, Slotted.f, Number.plus):
        method.cache_clear()


def test_instances_are_told_apart_and_calls_are_not():
    a, b = Plain(10), Plain(20)
    assert a.f(1) == [16]
    assert b.f(1) == [26]
    assert a.f(1) is a.f(x=1, y=2) is a.f(1, 2, z=3) is Plain.f(a, 1)
    assert (a.calls, b.calls) == ([1], [1])
    assert Plain.f.cache_info() == (4, 2, None, 2)
    assert a.f.cache_info() == Plain.f.cache_info()


def test_equal_and_unhashable_instances():
    class Equal:
        __hash__ = None

        def __init__(self, value):
            self.value = value

        def __eq__(self, other):
            raise AssertionError("instances are not compared")

        @cachedmethod
        def f(self):
            return self.value

    a, b = Equal(1), Equal(2)
    assert [a.f(), b.f(), a.f(), b.f()] == [1, 2, 1, 2]
    assert Equal.f.cache_info()[:2] == (2, 2)


def test_entries_go_when_the_instance_dies():
    a, b = Plain(), Plain()
    for x in range(10):
        a.f(x)
    kept = b.f(1)
    assert len(Plain.f.cache) == 11
    del a
    assert len(Plain.f.cache) == 1
    assert b.f(1) is kept
    del b
    assert len(Plain.f.cache) == 0
    assert Plain.f.cache.nbytes == 0


def test_values_go_with_the_instance():
    class Value:
        pass

    class C:
        @cachedmethod
        def f(self):
            return Value()

    c = C()
    value = weakref.ref(c.f())
    assert value() is c.f()
    del c
    assert value() is None


def test_a_cycle_of_instances_dies_too():
    a, b = Plain(), Plain()
    a.other, b.other = b, a
    a.f(1), b.f(1)
    ref = weakref.ref(a)
    del a, b
    gc.collect()
    assert ref() is None
    assert len(Plain.f.cache) == 0


def test_an_instance_that_comes_back_from_the_dead():
    back = []

    class Phoenix:
        def __del__(self):
            back.append(self)

        @cachedmethod
        def f(self, x):
            return [x]

    phoenix = Phoenix()
    first = phoenix.f(1)
    del phoenix
    assert back[0].f(1) == first
    assert len(Phoenix.f.cache) == 1
    Phoenix.__del__ = lambda self: None
    back.clear()
    gc.collect()
    assert len(Phoenix.f.cache) == 0


def test_a_method_that_returns_self_keeps_nothing_alive():
    class C:
        @cachedmethod
        def me(self, x=1):
            return self

    c = C()
    assert c.me() is c
    assert c.me(1) is c
    assert C.me.cache_info()[:2] == (1, 1)
    ref = weakref.ref(c)
    del c
    assert ref() is None
    assert len(C.me.cache) == 0


def test_a_value_that_refers_to_its_instance_keeps_it_until_it_is_evicted():
    class C:
        @cachedmethod
        def pair(self):
            return (self, 1)

    c = C()
    c.pair()
    ref = weakref.ref(c)
    del c
    assert ref() is not None
    C.pair.cache.shrink(1)
    gc.collect()
    assert ref() is None
    assert len(C.pair.cache) == 0


def test_many_instances_one_after_another_on_the_same_addresses():
    class C:
        def __init__(self, value):
            self.value = value

        @cachedmethod
        def f(self):
            return self.value

    addresses = set()
    for value in range(2000):
        c = C(value)
        addresses.add(id(c))
        assert c.f() == value
    assert len(addresses) < 2000  # addresses were used again, or this tests nothing
    assert len(C.f.cache) == 1


class TestLayouts:
    def test_slots_with_weakref(self):
        a, b = Slotted(), Slotted()
        assert a.f(1) is a.f(x=1)
        assert b.f(1) is not a.f(1)
        del a
        assert len(Slotted.f.cache) == 1

    def test_slots_without_say_what_to_add(self):
        with pytest.raises(
            TypeError, match=r"Hopeless\.f .*'Hopeless'.*add '__weakref__' to the __slots__"
        ):
            Hopeless().f(1)
        assert len(Hopeless.f.cache) == 0

    def test_without_weak_references_but_with_attributes(self):
        a, b = Number(5), Number(5)
        assert a.plus(1) is a.plus(x=1)
        assert a.plus(1) is not b.plus(1)
        assert len(Number.plus.cache) == 2
        del a
        assert len(Number.plus.cache) == 1
        assert Number.plus.cache_contains(b, 1)
        assert Number.plus.cache_invalidate(b, 1)

    def test_slots_with_dict_alone(self):
        class C:
            __slots__ = ("__dict__",)

            @cachedmethod
            def f(self, x):
                return [x]

        c = C()
        assert c.f(1) is c.f(1)
        del c
        assert len(C.f.cache) == 0

    @pytest.mark.parametrize(
        "duplicate", [copy.copy, copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))]
    )
    @pytest.mark.parametrize("kind", [Number, Plain])
    def test_copies_are_instances_of_their_own(self, duplicate, kind):
        original = kind(5)
        method = kind.plus if kind is Number else kind.f
        first = method(original, 1)
        twin = duplicate(original)
        assert method(twin, 1) is not first
        assert method(twin, 1) is method(twin, 1)
        assert method(original, 1) is first
        assert len(method.cache) == 2
        del twin, original
        assert len(method.cache) == 0

    def test_classes_as_instances(self):
        class C:
            @classmethod
            @cachedmethod
            def f(cls, x):
                return [cls, x]

        class D(C):
            pass

        assert C.f(1) is C.f(1) is C().f(1)
        assert D.f(1) == [D, 1]

    def test_as_a_property(self):
        class C:
            calls = 0

            @property
            @cachedmethod
            def f(self):
                self.calls += 1
                return self.calls

        c, d = C(), C()
        assert [c.f, c.f, d.f] == [1, 1, 1]


class TestInheritance:
    def test_super(self):
        class Base:
            @cachedmethod
            def f(self, x):
                return ["base", x]

        class Derived(Base):
            @cachedmethod
            def f(self, x):
                return ["derived", *super().f(x)]

        d = Derived()
        assert d.f(1) == ["derived", "base", 1]
        assert d.f(1) is d.f(1)
        assert super(Derived, d).f(1) == ["base", 1]
        assert Base.f.cache_info()[:2] == (1, 1)
        assert Derived.f.cache_info()[:2] == (2, 1)

    def test_inherited(self):
        class Derived(Plain):
            pass

        d = Derived(100)
        assert d.f(1) == [106]
        assert Derived.f is Plain.f
        del d
        assert len(Plain.f.cache) == 0


class TestOptions:
    def test_key_and_sizeof_do_not_see_the_owner(self):
        seen = []

        class C:
            @cachedmethod(
                key=lambda self, x: x % 10, sizeof=lambda key, value: seen.append((key, value)) or 50
            )
            def f(self, x):
                return x

            @cachedmethod(sizeof=lambda key, value: seen.append((key, value)) or 50)
            def g(self, x, y=2):
                return x

            @cachedmethod(sizeof=lambda key, value: 1 / 0)
            def me(self):
                return self

        c = C()
        assert [c.f(1), c.f(11), c.f(2)] == [1, 1, 2]
        assert c.g(1) == 1
        assert c.me() is c
        assert seen == [(1, 1), (2, 2), ((1, 2), 1)]
        assert C.f.cache.nbytes == 100

    def test_typed(self):
        class C:
            @cachedmethod(typed=True)
            def f(self, x):
                return type(x)

        c = C()
        assert [c.f(1), c.f(1.0)] == [int, float]

    def test_maxsize_is_for_all_instances_together(self):
        class C:
            @cachedmethod(maxsize=2, policy="lru")
            def f(self, x):
                return x

        a, b = C(), C()
        a.f(1), a.f(2), b.f(1)
        assert [C.f.cache_contains(a, 1), C.f.cache_contains(a, 2), C.f.cache_contains(b, 1)] == [
            False,
            True,
            True,
        ]

        class Never:
            @cachedmethod(maxsize=0)
            def f(self, x):
                return x

        assert Never().f(1) == 1
        assert Never.f.cache_info() == (0, 1, 0, 0)

    def test_ttl(self):
        now = 0.0

        class C:
            @cachedmethod(ttl=10)
            def f(self):
                return now

        C.f.cache.timer = lambda: now
        c = C()
        assert c.f() == 0.0
        now = 10.0
        assert c.f() == 10.0
        now = 11.0
        assert c.f() == 10.0
        assert C.f.cache_info() == (1, 2, None, 1)

    def test_one_registration_however_many_instances(self):
        class C:
            @cachedmethod(name="of C")
            def f(self):
                return 1

        instances = [C() for _ in range(100)]
        assert {c.f() for c in instances} == {1}
        assert [cache.name for cache in ebbcache.status().shrinkers if cache.name == "of C"] == ["of C"]

    @pytest.mark.parametrize(
        ("decorate", "words"),
        [
            (lambda: cachedmethod(5), "functions, not 5"),
            (lambda: cachedmethod(abs), "functions, not <built-in"),
            (lambda: cachedmethod(staticmethod(lambda: 1)), "under @staticmethod"),
            (lambda: cachedmethod(lambda: 1), "no parameter for the instance"),
            (lambda: cachedmethod(lambda *args: 1), "no parameter for the instance"),
            (lambda: cachedmethod(maxsize="x"), "cachedmethod: maxsize .* 'x'"),
        ],
    )
    def test_mistakes(self, decorate, words):
        with pytest.raises(TypeError, match=words):
            decorate()

    def test_wrong_calls(self):
        plain = Plain()
        with pytest.raises(TypeError, match=r"Plain\.f\(\) missing 1 required positional argument: 'x'"):
            plain.f()
        with pytest.raises(
            TypeError, match=r"Plain\.f\(\) missing 2 required positional arguments: 'self' and 'x'"
        ):
            Plain.f()
        with pytest.raises(TypeError, match="unhashable"):
            plain.f([])
        assert len(Plain.f.cache) == 0


class TestAdministration:
    def test_looks_like_the_method(self):
        assert Plain.f.__doc__ == "Add up."
        assert Plain.f.__qualname__ == "Plain.f"
        assert str(inspect.signature(Plain.f)) == "(self, x, y=2, *, z=3)"
        assert str(inspect.signature(Plain().f)) == "(x, y=2, *, z=3)"
        assert pickle.loads(pickle.dumps(Plain.f)) is Plain.f

    def test_clear_one_or_all(self):
        a, b = Plain(), Plain()
        a.f(1), a.f(2), b.f(1)
        Plain.f.cache_clear(a)
        assert not Plain.f.cache_contains(a, 1)
        assert Plain.f.cache_contains(b, 1)
        assert Plain.f.cache_info().misses == 3
        a.f(1)
        Plain.f.cache_clear()
        assert Plain.f.cache_info() == (0, 0, None, 0)
        assert a.f(1) == [6]

    def test_invalidate(self):
        a, b = Plain(), Plain()
        a.f(1), b.f(1)
        assert Plain.f.cache_invalidate(a, x=1)
        assert not Plain.f.cache_invalidate(a, 1)
        assert not Plain.f.cache_contains(a, 1)
        assert Plain.f.cache_contains(b, 1)

    # With more entries to an owner its bytes drown in what tables and other threads allocate meanwhile.
    @pytest.mark.parametrize("entries", [1, 2])
    def test_bytes_include_what_an_owner_costs(self, entries):
        class C:
            @cachedmethod
            def f(self, x):
                return None

        @ebbcache.cached
        def g(x, y):
            return None

        def grown(calls):
            gc.collect()
            tracemalloc.start()
            try:
                calls()
                gc.collect()
                return tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()

        instances = [C() for _ in range(2000 // entries)]
        arguments = [str(x) for x in range(2000)]  # made before, so neither side allocates them
        real = grown(lambda: [c.f(x) for c in instances for x in arguments[:entries]])
        real -= grown(lambda: [g(x, None) for x in arguments])
        counted = C.f.cache.nbytes - g.cache.nbytes
        assert 0.5 * real < counted < 2 * real


class TestBookkeeping:
    """What the owners know is what the cache holds, however an entry comes and goes."""

    def check(self, method, instances):
        owners = method.cache.listener.__self__._by_id
        noted = [key for owner in owners.values() for key in owner.keys.values()]
        assert sorted(map(id, noted)) == sorted(map(id, method.cache))
        assert all(owner.keys for owner in owners.values()), "a record without entries"
        alive = {id(instance) for instance in instances}
        assert owners.keys() <= alive

    def test_eviction_replacement_refusal_and_clearing(self):
        class C:
            @cachedmethod(maxsize=5, policy="lru", maxbytes=20_000)
            def f(self, x):
                return bytes(x)

        instances = [C() for _ in range(4)]
        for _ in range(3):
            for i, instance in enumerate(instances):
                instance.f(i * 1000)
                instance.f(50_000)  # too big to be kept
                self.check(C.f, instances)
        key = next(iter(C.f.cache))
        C.f.cache[key[0], 1] = b"put in by hand"
        C.f.cache.pop((key[0], 1))
        self.check(C.f, instances)
        C.f.cache.shrink(1)
        self.check(C.f, instances)
        del instance, instances[-1]
        self.check(C.f, instances)
        C.f.cache_clear()
        self.check(C.f, instances)
        assert len(C.f.cache) == 0

    def test_an_owner_that_loses_its_last_entry_while_it_computes(self):
        class C:
            @cachedmethod
            def f(self, x):
                C.f.cache.clear()
                return [x]

        c = C()
        c.f(1)
        second = c.f(2)
        assert c.f(2) is second
        self.check(C.f, [c])
        del c
        self.check(C.f, [])

    @pytest.mark.parametrize("sizer", ["ebbcache", "pympler"])
    def test_one_entry_does_not_weigh_all_the_others(self, sizer):
        if sizer == "pympler":
            pytest.importorskip("pympler")

        class C:
            @cachedmethod
            def f(self, x):
                return None

        c = C()
        ebbcache.sizing.use(sizer)
        try:
            for x in range(200):
                c.f(x)
        finally:
            ebbcache.sizing.use("ebbcache")
        assert C.f.cache.nbytes < 200 * 1000

    def test_two_threads_that_compute_the_same(self):
        together = threading.Barrier(2, timeout=30)

        class C:
            @cachedmethod
            def f(self, x):
                together.wait()
                return [x]

        c = C()
        threads = [threading.Thread(target=c.f, args=(1,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        self.check(C.f, [c])
        del threads, thread, c
        assert len(C.f.cache) == 0

    def test_an_argument_whose_hash_fails_later(self):
        class Moody:
            fails = False

            def __hash__(self):
                if self.fails:
                    raise ZeroDivisionError
                return 1

        class C:
            @cachedmethod
            def f(self, x):
                return [x]

        c, moody = C(), Moody()
        c.f(moody), c.f(1)
        moody.fails = True
        del c
        assert len(C.f.cache) == 1
        C.f.cache.shrink(1)
        self.check(C.f, [])

    def test_threads_that_make_and_drop_instances(self):
        class C:
            def __init__(self, value):
                self.value = value

            @cachedmethod(maxsize=20)
            def f(self, x):
                return self.value, x

        wrong = []

        def work(seed):
            for i in range(300):
                c = C((seed, i))
                for x in range(3):
                    wrong.extend(answer for answer in (c.f(x), c.f(x)) if answer != ((seed, i), x))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not wrong
        gc.collect()
        self.check(C.f, [])
        assert len(C.f.cache) == 0

    def test_an_instance_that_dies_while_its_class_is_shrunk(self):
        assert current_pass() is None

        class C:
            def __init__(self):
                self.child = None

            @cachedmethod
            def f(self, x):
                return x

        class Holding:
            def __init__(self, instance):
                self.instance = instance

        class Maker:
            @cachedmethod
            def make(self, x):
                child = C()
                child.f(1)
                return Holding(child)

        maker = Maker()
        for x in range(10):
            maker.make(x)
        assert len(C.f.cache) == 10
        Maker.make.cache.shrink(1 << 30, hard=True)
        assert len(C.f.cache) == 0
        self.check(C.f, [])
