"""The proving ground: real programs in real limited cgroups, a time line of each, and a judge.

`python -m benchmarks.survival` plays ten scenarios: each is a program of its own (program.py) in a memory
cgroup of its own (place.py), watched from outside (play.py) and by its own reports, with the same program
on an unbounded dict and on LRU caches of fixed size as controls. judge.py turns a time line into a verdict,
picture.py into a picture, table.py the verdicts of many runs into docs/survival.md.
"""

from __future__ import annotations

MIB = 1 << 20
