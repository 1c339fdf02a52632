"""What the owners of entries know, however entries and instances come and go."""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import threading

import pytest

import ebbcache
from ebbcache import cachedmethod
from ebbcache.engine import current_pass


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

    @pytest.mark.parametrize("policy", ["density", "lru", "lfu"])
    @pytest.mark.parametrize("copy", [copy.copy, copy.deepcopy, pickle.dumps, lambda cache: cache | {}])
    def test_copies_are_refused(self, policy, copy):
        """What a copy gave up would be forgotten here, and stay when its instance dies."""

        class C:
            @cachedmethod(policy=policy)
            def f(self, x):
                return x

        c = C()
        c.f(1)
        with pytest.raises(TypeError, match=r"entries of .*C\.f belong to instances"):
            copy(C.f.cache)
        self.check(C.f, [c])

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
        remembered = sys.version_info >= (3, 14)  # a tuple's hash is: that of its items is not asked again
        assert len(C.f.cache) == (0 if remembered else 1)
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
