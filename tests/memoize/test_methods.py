"""`cachedmethod`: one cache for a method, whose entries belong to instances and die with them."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
from instances import Hopeless, Number, Plain, Slotted

from ebbcache import cachedmethod


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
