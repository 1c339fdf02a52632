"""The ten scenarios: what each program is asked to do, as data for play.py.

`limit` is in bytes, `seconds` paces the requests (a slow machine takes longer), `at` and `until` are shares
of the requests done. What is `beyond` is an experiment that nothing promises to survive: bursts of 60 % of
the limit that nobody announced with make_room, of kinds whose memory caches cannot give back so quickly.
bursts.py finds how large such a burst may be. The same in a larger container, where the few MiB that others
may take until somebody looks are a smaller share, is called `-1g`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.survival import MIB

GB = 1e9


@dataclass(frozen=True)
class Variant:
    """One program of a scenario; `control` says whether the unbounded dict has to die of it."""

    scenario: int
    name: str
    values: str
    requests: int
    seconds: float = 9.0
    limit: int = 256 * MIB
    loads: tuple[dict[str, Any], ...] = ()
    more: dict[str, Any] = field(default_factory=dict)
    control: bool = True
    sizes: bool = True  # whether LRU caches of fixed size are tried as well
    dies: bool = False  # the program kills itself in the end, and only must not blame its caches
    beyond: bool = False  # played when asked for by name

    @property
    def id(self) -> str:
        return f"{self.scenario}-{self.name}"

    def spec(self, front: str, seed: int) -> dict[str, Any]:
        """Return what program.py is given."""
        return {
            "id": self.id,
            "scenario": self.scenario,
            "front": front,
            "values": self.values,
            "requests": self.requests,
            "seconds": self.seconds,
            "limit": self.limit,
            "seed": seed,
            "loads": [dict(load) for load in self.loads],
            "dies": self.dies,
        } | self.more


def _saw(share: float = 0.5, how: str = "numpy", times: int = 3) -> dict[str, Any]:
    return {"kind": "saw", "at": 0.3, "until": 0.95, "share": share, "how": how, "rate": GB, "times": times}


def _burst(share: float, how: str, **more: Any) -> dict[str, Any]:
    base = {"kind": "burst", "at": 0.35, "until": 0.95, "share": share, "how": how, "rate": GB, "times": 3}
    return base | more


# Requests of each kind that take about nine seconds and ask for more distinct bytes than any limit here.
BYTES = {"values": "bytes", "requests": 160_000}
DICTS = {"values": "dicts", "requests": 240_000, "limit": 96 * MIB}
HALVES = {"values": "halves", "requests": 9_000}
GIL = {"seconds": 2.0}
LARGER = {"seconds": 36.0, "limit": 1024 * MIB, "sizes": False}

VARIANTS = (
    Variant(1, "dicts", **DICTS),
    Variant(1, "bytes", **BYTES),
    Variant(1, "arrays", "arrays", 2_600),
    Variant(1, "frames", "frames", 14_000),
    Variant(1, "mix", "mix", 60_000),
    Variant(1, "bytes-1g", "bytes", 640_000, **LARGER),
    Variant(1, "arrays-1g", "arrays", 10_400, **LARGER),
    Variant(1, "frames-1g", "frames", 56_000, **LARGER),
    Variant(1, "mix-1g", "mix", 240_000, **LARGER),
    Variant(2, "saw-numpy", **BYTES, loads=(_saw(),)),
    Variant(2, "saw-python", **DICTS, loads=(_saw(0.25, "python"),)),
    Variant(2, "saw-python-40", **DICTS, loads=(_saw(0.4, "python"),), sizes=False, beyond=True),
    Variant(
        2,
        "stairs",
        "halves",
        16_000,
        0.5,  # as fast as it goes
        loads=(
            {
                "kind": "stairs",
                "at": 0.2,
                "until": 0.95,
                "share": 0.6,
                "how": "numpy",
                "rate": GB,
                "step": 20 * MIB,
            },
        ),
        more={"fresh": True},
        sizes=False,
    ),
    Variant(2, "burst-python", **BYTES, loads=(_burst(0.3, "python"),)),
    Variant(2, "burst-python-60", **BYTES, loads=(_burst(0.6, "python"),), sizes=False, beyond=True),
    Variant(2, "burst-python-room", **BYTES, loads=(_burst(0.6, "python", room=True),), sizes=False),
    Variant(2, "burst-numpy", **BYTES, loads=(_burst(0.6, "numpy"),)),
    Variant(2, "burst-numpy-1g", "bytes", 640_000, **LARGER, loads=(_burst(0.6, "numpy"),), beyond=True),
    Variant(2, "burst-python-1g", "bytes", 640_000, **LARGER, loads=(_burst(0.3, "python"),), beyond=True),
    Variant(2, "burst-mix", "mix", 60_000, loads=(_burst(0.6, "numpy"),), sizes=False, beyond=True),
    Variant(
        2, "burst-gil", **HALVES, loads=(_burst(0.6, "gil", rate=80e6, **GIL),), sizes=False, beyond=True
    ),
    Variant(2, "burst-gil-fast", **HALVES, loads=(_burst(0.6, "gil", **GIL),), sizes=False, beyond=True),
    Variant(2, "burst-gil-room", **HALVES, loads=(_burst(0.6, "gil", room=True, **GIL),), sizes=False),
    Variant(2, "burst-dicts", **DICTS, loads=(_burst(0.25, "numpy"),)),
    Variant(2, "burst-dicts-60", **DICTS, loads=(_burst(0.6, "numpy"),), sizes=False, beyond=True),
    Variant(
        2, "burst-dicts-room", **DICTS, loads=(_burst(0.6, "numpy", room=True),), sizes=False, beyond=True
    ),
    Variant(
        3,
        "leak",
        **BYTES,
        loads=({"kind": "leak", "at": 0.3, "rate": 60e6, "how": "python"},),
        sizes=False,
        dies=True,
    ),
    Variant(4, "files", **BYTES, loads=({"kind": "files", "at": 0.35, "until": 0.9, "times": 4.0},)),
    Variant(4, "files-dicts", **DICTS, loads=({"kind": "files", "at": 0.35, "until": 0.9, "times": 4.0},)),
    Variant(
        4,
        "mapped",
        **BYTES,
        loads=({"kind": "files", "at": 0.35, "until": 0.9, "times": 4.0, "mapped": True},),
        sizes=False,
    ),
    Variant(
        5,
        "lowered",
        **BYTES,
        more={"moves": [{"at": 0.35, "limit": 0.6}, {"at": 0.65, "limit": 1.0}]},
        sizes=False,
    ),
    Variant(5, "ancestor", **BYTES, loads=(_saw(),), more={"ancestor": True}),
    Variant(
        5,
        "ancestor-lowered",
        **BYTES,
        more={"ancestor": True, "moves": [{"at": 0.35, "limit": 0.6}, {"at": 0.65, "limit": 1.0}]},
        sizes=False,
    ),
    Variant(5, "moved", **BYTES, more={"moves": [{"at": 0.5, "enter": 0.5}]}, sizes=False),
    *(
        Variant(
            6,
            f"workers-{count}",
            **(BYTES | {"requests": 240_000}),
            loads=(_burst(0.2, "numpy", times=2, at=0.3, until=0.95),),
            more={"workers": count, "universe": 2.0},
            sizes=False,
        )
        for count in (2, 4, 8)
    ),
    Variant(
        6,
        "workers-starved",
        **(BYTES | {"requests": 240_000}),
        loads=(_burst(0.2, "numpy", times=2, at=0.3, until=0.95),),
        more={"workers": 4, "universe": 2.0, "starved": True},
        sizes=False,
        beyond=True,
    ),
    Variant(
        6,
        "workers-dying",
        **(BYTES | {"requests": 240_000}),
        loads=(_burst(0.2, "numpy", times=2, at=0.3, until=0.95),),
        more={"workers": 4, "universe": 2.0, "dies_every": 1.0},
        sizes=False,
    ),
    *(
        Variant(7, name, **BYTES, loads=(_saw(),), more={"shrinkers": [name]}, sizes=False)
        for name in ("raises", "lies", "hangs", "inserts", "registers")
    ),
    Variant(
        7,
        "all",
        **BYTES,
        loads=(_saw(),),
        more={"shrinkers": ["raises", "lies", "hangs", "inserts", "registers"]},
        sizes=False,
    ),
    Variant(
        10, "threads", **(BYTES | {"requests": 240_000}), loads=(_saw(),), more={"threads": 8}, sizes=False
    ),
)

SMALL = frozenset(variant.id for variant in VARIANTS if variant.values == "dicts")
"""The programs whose values are small objects."""
