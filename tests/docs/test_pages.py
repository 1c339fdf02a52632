"""What the documentation says about the source is held against the source: rooms, tests, names, links."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import ebbcache

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "ebbcache"
DESIGN = (DOCS / "design.md").read_text("utf-8")


def _rooms() -> list[set[str]]:
    """Return the rooms of the design page, ground floor first; those of one row may import each other."""
    table = DESIGN.split("## Rooms", 1)[1].split("\n| --- | --- |\n", 1)[1].split("\n\n", 1)[0]
    return [
        {name.removesuffix("/") for name in re.findall(r"`([\w/]+)`", row.split("|")[1])}
        for row in table.splitlines()
    ]


def _room_of(path: Path) -> str:
    part = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    # Files with an underscore are what `caches` is made of.
    return "caches" if part.startswith("_") and not part.startswith("__") else part


def _imports(path: Path) -> set[str]:
    """Return the names of the rooms that a file imports, at its top or later."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "ebbcache":
            found.update(alias.name for alias in node.names)
        elif (
            isinstance(node, ast.ImportFrom)
            and node.level == 0
            and (node.module or "").startswith("ebbcache.")
        ):
            found.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            found.update(a.name.split(".")[1] for a in node.names if a.name.startswith("ebbcache."))
    return {_room_of(SOURCE / name) for name in found}


def test_rooms_import_only_those_above_them_on_the_design_page() -> None:
    floor = {room: number for number, row in enumerate(_rooms()) for room in row}
    wrong: list[str] = []
    for path in sorted(SOURCE.rglob("*.py")):
        room = _room_of(path)
        if room == "__init__":
            continue
        assert room in floor, f"{room} is not on the design page"
        wrong += [f"{path.name} imports {other}" for other in _imports(path) if floor[other] > floor[room]]
    assert not wrong


def test_every_test_that_the_design_page_names_exists() -> None:
    named: list[tuple[str, str]] = re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", DESIGN)
    assert named
    missing: list[str] = []
    for path, name in named:
        body: list[ast.stmt] = ast.parse((ROOT / path).read_text("utf-8")).body
        for part in name.split("::"):
            found = [n for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == part]
            if not found:
                missing.append(f"{path}::{name}")
                break
            body = found[0].body
    assert not missing


def test_the_reference_names_everything_public() -> None:
    reference = (DOCS / "reference.md").read_text("utf-8")
    documented = set(re.findall(r"\.\. auto\w+:: ebbcache\.(\w+)", reference))
    assert set(ebbcache.__all__) <= documented


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_examples_end_before_their_fence(page: Path) -> None:
    # A doctest's expected output runs to the next blank line, so a fence right after it would belong to it.
    fenced: list[str] = re.findall(r"```pycon\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert all(example.endswith("\n\n") for example in fenced)
