"""The command line: `ebbcache status` says where memory stands, `ebbcache demo` shows what caches do then.

Bound: exits with 0, 1 where something went wrong that the user can mend (one line on stderr), 2 for bad
arguments, 130 when interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

_PICTURE = Path("ebbcache-demo.png")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (by default, this process's arguments) names; return the exit code."""
    options = _parser().parse_args(argv)
    try:
        code = _status(options.json) if options.command == "status" else _demo(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the output has seen enough; what is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ebbcache", description="Caches that need no size: they grow into free memory and ebb."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    status = commands.add_parser(
        "status", help="say what limits memory here, how close it is, and what could not be read"
    )
    status.add_argument("--json", action="store_true", help="print one JSON object")
    demo = commands.add_parser("demo", help="watch a cache ebb and flow beside a memory-hungry neighbour")
    demo.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    demo.add_argument("--no-live", action="store_true", help="plain lines in place of the live view")
    demo.add_argument(
        "--seconds", type=_seconds, default=30.0, metavar="S", help="how long it runs (%(default)g)"
    )
    demo.add_argument(
        "--picture",
        type=Path,
        metavar="PATH",
        help=f"where the picture goes ({_PICTURE}; with --json none)",
    )
    demo.add_argument("--seed", type=int, default=1, help="decides documents and requests (%(default)s)")
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1.0 <= seconds <= 86_400.0:
        raise argparse.ArgumentTypeError(f"must be a number of seconds from 1 to 86400, got {text!r}")
    return seconds


def _status(as_json: bool) -> int:
    from ebbcache.report import lines
    from ebbcache.status import status

    found = status()
    print(json.dumps(found.as_dict(), indent=2) if as_json else "\n".join(lines(found)))
    return 0


def _demo(options: argparse.Namespace) -> int:
    from ebbcache.demo import run, save_picture

    def say(line: str) -> None:
        if not options.json:
            print(line, flush=True)

    say("A service caches documents without any size set; a neighbour takes memory and gives it back.")
    try:
        recorder, summary = run(
            seconds=options.seconds, seed=options.seed, live=not (options.no_live or options.json), say=say
        )
    except ValueError as error:
        print(f"ebbcache demo: {error}", file=sys.stderr)
        return 1
    path: Path | None = options.picture or (None if options.json else _PICTURE)
    trouble = save_picture(recorder, summary.fixed_bytes, path, options.seconds) if path else None
    if options.json:
        timeline = [sample.as_dict() for sample in recorder.samples]
        picture = None if path is None or trouble else str(path)
        print(json.dumps({**summary.as_dict(), "picture": picture, "timeline": timeline}))
        if trouble:
            print(f"ebbcache demo: {trouble}", file=sys.stderr)
    else:
        say("")
        for line in summary.lines():
            say(line)
        say("")
        say(trouble or f"Picture: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
