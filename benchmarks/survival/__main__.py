"""Play the scenarios: `python -m benchmarks.survival [--only 2] [--runs 3] [--jobs 2] [--out DIR]`.

Writes to DIR, for each run, its time line (NAME.jsonl, gone again after a good run unless --keep), a
picture of each variant's last run and of every bad one, and a verdict to verdicts.jsonl; ends with 1 if
something promised did not hold. With --controls the same programs run on an unbounded dict, which has to
die; with --sizes on LRU caches of fixed size too, from the largest down. With --guest CMD everything
happens in a guest machine: CMD is a script called with `-m MiB -t SECONDS -d FOLDER -o FOLDER -- command`.
Such a machine is slow: let it play --scale 0.15 of each.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.survival import place
from benchmarks.survival.judge import Verdict, judge
from benchmarks.survival.picture import draw
from benchmarks.survival.play import ROOT, play, read
from benchmarks.survival.scenarios import VARIANTS, Variant

SIZES = [share / 100 for share in range(100, 0, -5)]  # twenty, as shares of the limit
ENOUGH = 3  # surviving sizes: hit ratio only falls with less room, so smaller ones need not be tried

_writing = threading.Lock()


def one(variant: Variant, front: str, seed: int, out: Path, keep: bool) -> Verdict:
    """Play one run, write its verdict, and keep its time line if it is worth a look."""
    name = f"{variant.id}-{front.replace(':', '-')}-{seed}"
    path = out / f"{name}.jsonl"
    play(variant.spec(front, seed), path)
    records = read(path)
    verdict = judge(records)
    bad = front == "ebbcache" and not (verdict.good and (verdict.survived or variant.dies))
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    line = json.dumps(asdict(verdict) | {"when": when, "commit": commit()})
    with _writing:
        with (out / "verdicts.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(told(verdict, bad), flush=True)
        try:
            draw(records, out / f"{name if bad else f'{variant.id}-{front}'.partition(':')[0]}.png")
        except ImportError:
            pass
    if not (bad or keep):
        path.unlink()
    return verdict


@functools.cache
def commit() -> str:
    """Return which source this is."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def told(verdict: Verdict, bad: bool) -> str:
    """Return a line for the terminal."""

    def show(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    fate = "lives" if verdict.survived else f"KILLED ({verdict.kills})" if verdict.kills else "FAILS"
    return (
        f"{'!! ' if bad else ''}{verdict.id} on {verdict.front}, seed {verdict.seed}: {fate}"
        f" in {verdict.seconds:.0f} s, failed {verdict.failed}, used {show(verdict.share, '.0%')},"
        f" hits {show(verdict.hit_ratio, '.3f')},"
        f" least headroom {show(verdict.least_headroom and verdict.least_headroom / 2**20, '.1f')} MiB,"
        f" under pressure {show(verdict.to_target, '.2f')} s, regrown {show(verdict.regrown, '.1f')} s,"
        f" insert {show(verdict.insert_p999, '.2f')}/{show(verdict.insert_max, '.1f')} ms,"
        f" hit {show(verdict.hit_p999, '.3f')}/{show(verdict.hit_max, '.1f')} ms"
        + "".join(f"\n     {each}" for each in verdict.wrong + verdict.errors)
    )


def fixed(variant: Variant, seed: int, out: Path) -> None:
    """Try LRU caches of fixed size from the largest down, until enough of them survived."""
    lived = 0
    for share in SIZES:
        lived += one(variant, f"lru:{int(share * variant.limit)}", seed, out, keep=False).survived
        if lived == ENOUGH:
            return


def in_guest(script: str, out: Path, arguments: list[str]) -> int:
    """Do all of it in a guest machine, which sees `out` as /run/out."""
    command = [sys.executable, "-m", "benchmarks.survival", "--out", "/run/out/survival", *arguments]
    options = ["-m", "1024", "-x", "max", "-t", "3000", "-d", str(ROOT), "-o", str(out)]
    environment = f"PYTHONPATH={ROOT}:{ROOT / 'src'}"
    return subprocess.run([script, *options, "--", "env", environment, *command], check=False).returncode


def chosen(only: list[str]) -> list[Variant]:
    """Return the variants that `only` names by number or id; all if it is empty. ValueError if unknown."""
    usual = [v for v in VARIANTS if not v.beyond and (not only or str(v.scenario) in only)]
    found = [v for v in VARIANTS if v in usual or v.id in only]
    known = {v.id for v in VARIANTS} | {str(v.scenario) for v in VARIANTS}
    for name in only:
        if name not in known and name not in ("8", "9"):
            raise ValueError(f"no scenario is called {name!r}; there are {', '.join(sorted(known))}")
    return found


def tasks(options: argparse.Namespace) -> Iterator[Callable[[], Verdict | None]]:
    """Yield what is to be played, one seed of everything before the next."""
    variants = [
        replace(each, requests=int(each.requests * options.scale), seconds=each.seconds * options.scale)
        for each in chosen(options.only)
    ]
    for seed in range(options.seed, options.seed + options.runs):
        for variant in variants:
            if not options.no_ebbcache:
                yield lambda v=variant, s=seed: one(v, "ebbcache", s, options.out, options.keep)  # type: ignore[misc]
            if options.controls and variant.control:
                yield lambda v=variant, s=seed: one(v, "unbounded", s, options.out, options.keep)  # type: ignore[misc]
            if options.sizes and variant.sizes and seed == options.seed:
                yield lambda v=variant, s=seed: fixed(v, s, options.out)  # type: ignore[misc]


def main() -> int:
    """Parse, play, judge; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.survival", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--only", action="append", default=[], help="a scenario's number or a variant's name"
    )
    parser.add_argument("--runs", type=int, default=1, help="how many seeds (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the first of them (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (%(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="play so much of each (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("survival-results"), help="folder (%(default)s)")
    parser.add_argument("--controls", action="store_true", help="also on an unbounded dict")
    parser.add_argument("--sizes", action="store_true", help="also on LRU caches of fixed size")
    parser.add_argument("--no-ebbcache", action="store_true", help="the controls alone")
    parser.add_argument("--keep", action="store_true", help="keep the time lines of good runs, too")
    parser.add_argument("--guest", metavar="CMD", help="do it in a guest machine that CMD starts")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.guest:
        passed = sys.argv[1:]
        for name in ("--guest", "--out"):
            if name in passed:
                del passed[passed.index(name) : passed.index(name) + 2]
        return in_guest(options.guest, options.out, passed)
    if not place.version():
        parser.error("there is no memory cgroup controller here")
    with ThreadPoolExecutor(options.jobs) as pool:
        verdicts = [v for v in pool.map(lambda task: task(), tasks(options)) if v is not None]
    ours = [v for v in verdicts if v.front == "ebbcache"]
    dying = {v.id for v in VARIANTS if v.dies}
    bad = [v for v in ours if not v.good or not (v.survived or v.id in dying)]
    spared = [v for v in verdicts if v.front == "unbounded" and v.survived]
    print(f"{len(ours)} runs on ebbcache, {len(bad)} bad; {len(spared)} controls lived that had to die")
    return 1 if bad or spared else 0


if __name__ == "__main__":
    sys.exit(main())
