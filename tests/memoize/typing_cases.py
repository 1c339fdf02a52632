"""What type checkers must see in decorated functions; checked by mypy --strict and pyright, never run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, assert_type

from ebbcache import CacheInfo, LRUCache, cache, cached, cachedmethod, lru_cache
from ebbcache.memoize import BoundCached, CachedFunction, CachedMethod


@cached
def bare(a: int, b: str = "", *, c: bool = False) -> list[str]:
    return [b] * a


@cached(maxsize=10, maxbytes="1 MiB", ttl=60, policy="lfu", typed=True, name="n", sizeof=lambda k, v: 8)
def with_options(a: int) -> float:
    return a / 2


def last_digit(a: int) -> int:
    return a % 10


@cached(key=last_digit)
def with_key(a: int) -> int:
    return a


def functions() -> None:
    assert_type(bare(1, "x", c=True), list[str])
    assert_type(bare.cache_info(), CacheInfo)
    assert_type(bare.cache_info().hits, int)
    assert_type(bare.cache_contains(1, c=False), bool)
    assert_type(bare.cache_invalidate(1), bool)
    assert_type(bare.cache_parameters(), dict[str, Any])
    assert_type(bare.__wrapped__(1), list[str])
    assert_type(with_options(1), float)
    assert_type(with_key(1), int)
    bare.cache_clear()
    bare("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    bare.cache_invalidate("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    cached(policy="fifo")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    plain: Callable[[int], float] = with_options
    named: CachedFunction[[int], float] = with_options
    assert_type(plain(1), float)
    assert_type(named(1), float)
    direct = cached(str.upper)
    assert_type(direct("x"), str)


@cached
async def fetch(url: str) -> bytes:
    return url.encode()


async def coroutines() -> None:
    assert_type(await fetch("x"), bytes)
    assert_type(await Client().get("x"), bytes)
    assert_type(await Client().load("x"), bytes)


class Client:
    @cached
    def size(self, a: int, b: int = 0) -> int:
        return a + b

    @cached
    async def get(self, url: str) -> bytes:
        return url.encode()

    @lru_cache(maxsize=2)
    def last(self, a: int) -> str:
        return str(a)

    @staticmethod
    @cached
    def static(a: int) -> str:
        return str(a)

    @classmethod
    @cached
    def klass(cls, a: int) -> str:
        return str(a)

    @cachedmethod
    def area(self, digits: int = 2) -> float:
        return round(1.5, digits)

    @cachedmethod(maxsize=5, ttl=1.5)
    async def load(self, url: str) -> bytes:
        return url.encode()

    @property
    @cachedmethod
    def whole(self) -> int:
        return 1


class Derived(Client):
    @cachedmethod
    def area(self, digits: int = 2) -> float:
        return super().area(digits) * 2


def methods() -> None:
    client = Client()
    assert_type(client.size(1, b=2), int)
    assert_type(client.last(1), str)
    assert_type(Client.last(client, 1), str)
    assert_type(client.size.cache_info(), CacheInfo)
    assert_type(Client.size(client, 1), int)
    assert_type(Client.size.cache_invalidate(client, 1), bool)
    assert_type(Client.static(1), str)
    # mypy asks the __get__ of what is under @staticmethod, too, and takes an int for an instance.
    assert_type(client.static(1), str)  # type: ignore[call-arg]
    assert_type(Client.klass(1), str)
    assert_type(client.klass(1), str)
    assert_type(client.area(), float)
    assert_type(client.area(digits=1), float)
    assert_type(Client.area(client, 1), float)
    assert_type(Client.area.cache_invalidate(client, digits=1), bool)
    assert_type(Client.area.cache_contains(client), bool)
    Client.area.cache_clear(client)
    Client.area.cache_clear()
    client.area.cache_clear()
    assert_type(client.area.cache_info(), CacheInfo)
    assert_type(client.whole, int)
    assert_type(Derived().area(), float)
    client.size("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.area("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.area.cache_invalidate()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    method: CachedMethod[[int], float] = Client.area
    bound: BoundCached[[int], float] = client.area
    assert_type(method(client, 1), float)
    assert_type(bound(1), float)


@lru_cache
def lru_bare(a: int) -> str:
    return str(a)


@lru_cache(32, typed=True)
def lru_sized(a: int) -> str:
    return str(a)


@lru_cache(maxsize=None)
def lru_unbound(a: int) -> str:
    return str(a)


@cache
def unbound(a: int) -> str:
    return str(a)


def drop_ins() -> None:
    assert_type(lru_bare(1), str)
    assert_type(lru_sized(1), str)
    assert_type(lru_unbound(a=1), str)
    assert_type(unbound(1), str)
    assert_type(unbound.cache_info().currsize, int)
    unbound("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


results: dict[object, int] = {}


@cached(results)
def mapped(a: int) -> int:
    return a


@cached(LRUCache[object, int](maxsize=5), key=last_digit, lock=threading.Lock(), info=True)
def mapped_info(a: int) -> int:
    return a


@cached(cache=results, condition=threading.Condition())
def mapped_condition(a: int) -> int:
    return a


def mappings() -> None:
    assert_type(mapped(1), int)
    assert_type(mapped_info(1), int)
    assert_type(mapped_condition(1), int)
    assert_type(mapped_info.cache_info(), CacheInfo)
    mapped.cache_clear()
    mapped.cache.pop(mapped.cache_key(1), None)
    mapped.cache_info()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    mapped("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
