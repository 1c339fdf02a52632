"""How a call becomes a key: the interpreter binds the arguments, not we.

A wrapper that takes ``*args, **kwargs`` must work out by itself that ``f(1)``, ``f(x=1)`` and ``f(1, y=<its
default>)`` mean the same; ``inspect.Signature.bind`` does that in microseconds, ten times what a hit costs.
So the wrapper is compiled with the very parameters of the function it wraps, the way
``collections.namedtuple`` and ``dataclasses`` compile their methods. CPython then binds every form of a
call in C, fills in the defaults, and refuses a wrong call with the function's own message.

The pure store's look-up is part of that text as well (`Call.look_up`), for a call of Python costs as much
as all the rest.

Bound: a hit makes one tuple (none for a function of one parameter) and one call: `hash`, or the native
store's `get`. Keys are exact: calls with equal keys differ at most in the types of equal arguments, and
``typed`` tells those apart.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, Final

from ebbcache.clock import clock
from ebbcache.memoize.front import SELDOM


class Keywords:
    """Stands in a key between positions and keywords; a class, for it keeps its identity when pickled."""


# What the texts mention of Python, bound here: somebody may cache a built-in function and put that in its
# place. An argument of the types `ALONE` is its own key in functools, where f(1) and f(1.0) differ.
_NAMES: Final[dict[str, object]] = {
    "ALONE": frozenset({int, str}),
    "AttributeError": AttributeError,
    "KeyError": KeyError,
    "Keywords": Keywords,
    "clocks": clock,
    "hash": hash,
    "id": id,
    "len": len,
    "map": map,
    "partial": functools.partial,
    "type": type,
}


@dataclass(frozen=True, slots=True)
class Call:
    """The calls of one function as source text: its parameters, how to pass them on, what identifies them.

    ``p`` is a prefix that no parameter has; it keeps the wrapper's own names apart from them. ``receiver``
    is the first parameter of a method, whose identity stands in the key for the object itself.
    """

    p: str
    parameters: str
    arguments: str
    key: str
    receiver: str | None = None
    defaults: tuple[Any, ...] | None = None
    kwdefaults: dict[str, Any] | None = None
    make: Callable[..., object] | None = None
    hashed: bool = False
    """Whether a key is hashed but once a call: `look` and `keep` get the hash."""

    def key_of(self, **values: object) -> FunctionType:
        """Compile the function that answers the key of a call; *values* are what its text mentions."""
        return self._compile(
            f"def wrapper({self.parameters}):\n{self._owner()} return {self.key}\n", values
        )

    def wrapper(self, policy: str | None, **values: object) -> FunctionType:
        """Compile the wrapper of a plain function: look up, or call, take the time and keep.

        *policy* is the pure store's that is to be looked into; None: `get` is asked.
        """
        p = self.p
        owner = f", {p}owner" if self.receiver else ""
        found = f"{p}h, " if self.hashed and policy else f"{p}hash({p}key), " if self.hashed else ""
        body = f"""\
  {p}began = {p}clock()
  {p}value = {p}func({self.arguments})
  {p}keep({p}key, {found}{p}value, {p}began{owner})
"""
        return self._compile(f"def wrapper({self.parameters}):\n{self._answer(policy, body)}", values)

    def async_wrapper(self, policy: str | None, **values: object) -> FunctionType:
        """Compile the wrapper of a coroutine function: look up, or share the call with others."""
        p = self.p
        owner = f", {p}owner" if self.receiver else ""
        body = f"  {p}value = await {p}share({p}key, {p}partial({p}func, {self.arguments}){owner})\n"
        return self._compile(f"async def wrapper({self.parameters}):\n{self._answer(policy, body)}", values)

    def _answer(self, policy: str | None, miss: str) -> str:
        p = self.p
        answer = f" if {p}value is {p}ITSELF: return {self.receiver}\n" if self.receiver else ""
        front = ""
        if policy == "front" and self.key == "()":
            front = f" for {p}value in {p}cache.lone: return {p}value\n"
        elif policy == "front":
            value = f"{p}value if {p}value is not {p}ITSELF else {self.receiver}" if answer else f"{p}value"
            # Where nothing is in front, the arguments are not hashed for it, and no exception is made.
            front = f"""\
 if {p}front:
  try:
   for {p}value in {p}front[{p}key]: return {value}
  except {p}KeyError: pass
"""
        return f"""\
{self._owner()} {p}key = {self.key}
{front}{self.look_up(policy)} if {p}value is {p}MISSING:
{miss}{answer} return {p}value
"""

    def look_up(self, policy: str | None) -> str:
        """Answer the text that sets ``value``: what `Table.get` does, or a call of `get`.

        A plain hit and a plain miss are dealt with here; several keys of one hash, a deadline, and a key
        that is not equal are left to the cache. Nothing that is not ours runs inside of a ``try``.
        """
        p = self.p
        ask = f"{p}look({p}key, {p}h)" if self.hashed else f"{p}get({p}key, {p}MISSING)"
        if policy is None:
            return f" {p}value = {ask.replace(f'{p}h)', f'{p}hash({p}key))')}\n"
        gain = f"{p}cache._gain" if policy == "lfu" else "1.0"
        show = ""
        if policy == "front":
            show = f"   if not {p}cache._hits % {SELDOM}: {p}cache.show({p}entry)\n"
        touch = ""
        if policy == "lru":
            touch = f"""\
   try: {p}cache._touch({p}entry.serial)
   except {p}KeyError: pass
"""
        return f"""\
 {p}h = {p}hash({p}key)
 try: {p}entry = {p}cache._table[{p}h]
 except {p}KeyError:
  {p}cache.misses += 1
  {p}value = {p}MISSING
 else:
  try: {p}found = {p}entry.key
  except {p}AttributeError:
   {p}found = {p}MISSING
  if (
   {p}found is not {p}MISSING
   and ({p}found is {p}key or {p}found == {p}key)
   and {p}entry.deadline is None
  ):
   {p}entry.hits += {gain}
   {p}entry.stamp = {p}clocks.now
   {p}cache._hits += 1
{show}{touch}   {p}value = {p}entry.value
  else: {p}value = {ask}
"""

    def _owner(self) -> str:
        # The id finds the instance's record without its __hash__ or __eq__; that the record still stands
        # for this very object makes a reused address harmless.
        if self.receiver is None:
            return ""
        p, me = self.p, self.receiver
        return (
            f" {p}owner = {p}find({p}id({me}))\n"
            f" if {p}owner is None or {p}owner() is not {me}: {p}owner = {p}enter({me})\n"
        )

    def _compile(self, text: str, values: Mapping[str, object]) -> FunctionType:
        names = {**_NAMES, **values, "make": self.make}
        namespace = {self.p + name: value for name, value in names.items()}
        exec(_code(text), namespace)
        made = namespace.pop("wrapper")
        assert isinstance(made, FunctionType)
        made.__defaults__ = self.defaults
        made.__kwdefaults__ = self.kwdefaults
        return made


# Functions whose parameters have the same names share their code.
@functools.lru_cache(maxsize=512)
def _code(text: str) -> CodeType:
    return compile(text, "<ebbcache.memoize>", "exec")


def mirrored(func: FunctionType, *, typed: bool, method: bool) -> Call:
    """Calls of a function written in Python: whatever means the same has the same key.

    The order of what ``**kwargs`` collects is part of the key, for the function can see it.
    """
    code = func.__code__
    names = iter(code.co_varnames)
    positional = [next(names) for _ in range(code.co_argcount)]
    keyword = [next(names) for _ in range(code.co_kwonlyargcount)]
    rest = next(names) if code.co_flags & inspect.CO_VARARGS else None
    extra = next(names) if code.co_flags & inspect.CO_VARKEYWORDS else None
    p = "_ebb_"
    while any(name.startswith(p) for name in code.co_varnames):
        p += "_"

    parameters, arguments, fields = list(positional), list(positional), list(positional)
    if code.co_posonlyargcount:
        parameters.insert(code.co_posonlyargcount, "/")
    if rest or keyword:
        parameters.append(f"*{rest or ''}")
    parameters += keyword
    if rest:
        arguments.append(f"*{rest}")
        fields.append(rest)
    arguments += [f"{name}={name}" for name in keyword]
    fields += keyword
    if extra:
        parameters.append(f"**{extra}")
        arguments.append(f"**{extra}")
        fields.append(f"*{extra}.items()")
    if typed:
        named = positional[1:] if method else positional
        fields += [f"{p}type({name})" for name in (*named, *keyword)]
        fields += [f"*{p}map({p}type, {rest})"] * bool(rest)
        fields += [f"*{p}map({p}type, {extra}.values())"] * bool(extra)
    if method:
        fields[0] = f"{p}owner.serial"
    # One argument identifies itself: no tuple to make, to hash, to compare or to store.
    alone = len(fields) == 1 and not (method or extra)
    return Call(
        p=p,
        parameters=", ".join(parameters),
        arguments=", ".join(arguments),
        key=fields[0] if alone else f"({''.join(f'{field}, ' for field in fields)})",
        receiver=positional[0] if method else None,
        defaults=func.__defaults__,
        kwdefaults=func.__kwdefaults__,
    )


def as_called(make: Callable[..., object], receiver: str | None = None) -> Call:
    """Calls whose key is ``make(*args, **kwargs)`` with the arguments just as the caller wrote them.

    A method has its *receiver* in front of them, under the name it has there, so that a call without an
    instance is refused in the method's own words.
    """
    rest = "*_ebb_args, **_ebb_kwargs"
    if receiver is None:
        return Call(p="_ebb_", parameters=rest, arguments=rest, key=f"_ebb_make({rest})", make=make)
    return Call(
        p="_ebb_",
        parameters=f"{receiver}, /, {rest}",
        arguments=f"{receiver}, {rest}",
        key=f"(_ebb_owner.serial, _ebb_make({receiver}, {rest}))",
        receiver=receiver,
        make=make,
    )


def as_functools(*, typed: bool) -> Call:
    """Calls whose keys are functools': a single int or str alone, otherwise `plain_key` or `typed_key`."""
    p = "_ebb_"
    named = f"(*args, {p}Keywords, *kwargs, *kwargs.values())"
    lone = f"args[0] if {p}len(args) == 1 and {p}type(args[0]) in {p}ALONE else args"
    return Call(
        p=p,
        parameters="*args, **kwargs",
        arguments="*args, **kwargs",
        key=f"{p}make(*args, **kwargs)" if typed else f"{named} if kwargs else {lone}",
        make=typed_key if typed else None,
        hashed=True,
    )


def plain_key(*args: object, **kwargs: object) -> tuple[object, ...]:
    """Answer a key for arguments as they were written: positions, then keywords in their order.

    As with functools' keys, positions and keywords, and another order of keywords, are another key.
    """
    return (*args, Keywords, *kwargs, *kwargs.values()) if kwargs else args


def typed_key(*args: object, **kwargs: object) -> tuple[object, ...]:
    """Answer `plain_key` together with each argument's type, so that 3 and 3.0 are different arguments."""
    return (*plain_key(*args, **kwargs), *map(type, args), *map(type, kwargs.values()))


def hashkey(*args: object, **kwargs: object) -> tuple[object, ...]:
    """Answer `plain_key` with the keywords sorted: the key that cachetools' decorators use by default."""
    return (*args, Keywords, *sorted(kwargs.items())) if kwargs else args
