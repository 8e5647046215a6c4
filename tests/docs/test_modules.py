"""The crates in `local` and `quotes`: no circle of files, and a room of `local/src` uses only the rooms below it."""

import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOW = ROOT / "local"
QUOTES = ROOT / "crates" / "quotes"
CRATES = [QUOTES, *sorted(file.parent for file in FLOW.rglob("Cargo.toml"))]
# From top to bottom. A room is a folder; `cli` is the one file beside them.
ROOMS = ["cli", "verbs", "triggers", "watch", "servers", "finnhub", "base"]

# Comments, texts and characters: what is in them is not code.
NOT_CODE = re.compile(
    r'//[^\n]*|/\*.*?\*/|\bb?r(#*)".*?"\1|\bb?"(?:\\.|[^"\\])*"|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\\n])\'', re.DOTALL
)
TOKEN = re.compile(r"\w+|::|[{},*]")


def leaves(tokens: list[str], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of a tree such as `a::{b, c::{self, d}}`, which is taken from the front of `tokens`."""
    if tokens and tokens[0] == "{":
        tokens.pop(0)
        while tokens and tokens[0] != "}":
            yield from leaves(tokens, path)
            while tokens and tokens[0] not in (",", "}"):  # `as name`
                tokens.pop(0)
            if tokens and tokens[0] == ",":
                tokens.pop(0)
        del tokens[:1]
        return
    name = tokens.pop(0) if tokens else "self"
    path = path if name == "self" else (*path, name)
    if tokens and tokens[0] == "::":
        tokens.pop(0)
        yield from leaves(tokens, path)
    else:
        yield path


def paths(source: str) -> Iterator[tuple[str, ...]]:
    """Every path from the crate's root in a file: in `use` and between other code."""
    for found in re.finditer(r"\bcrate\s*::", source):
        yield from leaves(TOKEN.findall(source, found.end(), source.find(";", found.end()) + 1 or len(source)))


def modules(crate: Path) -> dict[tuple[str, ...], Path]:
    """The files of a crate by the paths of their modules."""
    files = {file.relative_to(crate / "src").with_suffix("").parts: file for file in (crate / "src").rglob("*.rs")}
    files.pop(("main",), None)  # another crate, which cannot be used
    return {parts[:-1] if parts[-1] in ("mod", "lib") else parts: file for parts, file in files.items()}


def arrows(crate: Path) -> dict[tuple[str, ...], set[tuple[str, ...]]]:
    """Which modules each module of a crate uses."""
    known = modules(crate)
    used: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for module, file in known.items():
        source = NOT_CODE.sub(" ", file.read_text())
        # A test is in the file of what it tests, and its `super` is that file.
        outside = re.sub(r"\bmod tests \{\s*(?:use [^;]*;\s*)*?use super::\*;", "", source)
        assert "super::" not in outside, f"{file}: write `crate::` for `super::`, so that its arrows are seen"
        used[module] = set()
        for path in paths(source):
            target = next(path[:end] for end in range(len(path), -1, -1) if path[:end] in known)
            if target != module:
                used[module].add(target)
    return used


@pytest.mark.parametrize("crate", CRATES, ids=lambda crate: str(crate.relative_to(ROOT)))
def test_no_files_of_a_crate_use_each_other_in_a_circle(crate: Path) -> None:
    try:
        TopologicalSorter(arrows(crate)).prepare()
    except CycleError as error:
        circle = " -> ".join("::".join(module) or "lib" for module in reversed(error.args[1]))
        pytest.fail(f"{crate.name}: {circle}")


def test_the_files_of_quotes_use_each_other_and_not_the_root_which_would_hide_a_circle() -> None:
    assert [module for module, used in arrows(QUOTES).items() if () in used] == []


def test_in_the_flows_crate_a_room_uses_only_the_rooms_below_it() -> None:
    rooms = {module[0] for module in modules(FLOW) if module}
    assert rooms == set(ROOMS), "each room has a place in the order"
    upward = []
    for module, used in arrows(FLOW).items():
        for target in used if module else ():
            assert len(target) == 2 or target == ("cli",), f"{module} uses {target}: name the file of the room"
            if ROOMS.index(target[0]) < ROOMS.index(module[0]):
                upward.append(f"{'::'.join(module)} -> {'::'.join(target)}")
    assert upward == []
