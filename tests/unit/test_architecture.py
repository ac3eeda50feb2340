"""The rules of the house: who may import whom, how full a room may be, and which words mean one thing only."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest

from fixtures.folders import ROOT
from merging.kinds import KINDS

PACKAGES = ("bot", "merging", "evaluation", "templates", "localhub", "zoo")
ALLOWED = {
    "bot": {"merging", "evaluation", "templates", "localhub", "zoo"},
    "merging": set(),
    "evaluation": set(),
    "templates": set(),
    "localhub": {"templates"},
    "zoo": set(),
}

FLOORS = (
    ("errors", "home", "lock", "progress", "version"),
    ("watchlist",),
    ("hub",),
    ("ledger",),
    ("scoring",),
    ("search",),
    ("release",),
    ("cycle",),
    ("service", "demo"),
    ("cli",),
)
"""The rooms of `bot`, lowest floor first: a room may import its own floor and those below it."""

SIDE_ROOMS = {"deployment": "hub", "merge_command": "ledger", "verify_command": "release"}
"""A room beside the way of a cycle → the floor up to which it may import; only the command line imports it."""

MOST_FILES, MOST_LOOSE_FILES = 13, 8
LONGEST_FUNCTION = 60

HOMONYMS = frozenset({"main"})
"""Public names that may be defined in more than one module."""


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree_of(path)))


def sources(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


@cache
def imported(path: Path) -> tuple[str, ...]:
    """Dotted names of the modules that a file imports, anywhere in it."""
    names = []
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(names)


def packages_imported(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_those_below_it(package: str) -> None:
    others = set(PACKAGES) - {package} - ALLOWED[package]
    wrong = {relative(path): packages_imported(path) & others for path in sources(package)}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_a_room_of_the_bot_imports_only_those_below_it() -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    limit = floor | {room: floor[top] for room, top in SIDE_ROOMS.items()}
    floor |= dict.fromkeys(SIDE_ROOMS, len(FLOORS) - 2)
    wrong = set()
    for path in sources("bot"):
        room = path.relative_to(ROOT / "bot").parts[0].removesuffix(".py")
        if room in ("__init__", "__main__"):
            continue
        for name in imported(path):
            package, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            if package == "bot" and target in floor and target != room and floor[target] > limit[room]:
                wrong.add(f"{relative(path)} imports {name}")
    assert wrong == set()


def test_every_room_of_the_bot_has_its_floor() -> None:
    known = {room for rooms in FLOORS for room in rooms} | SIDE_ROOMS.keys() | {"__init__", "__main__"}
    rooms = {path.relative_to(ROOT / "bot").parts[0].removesuffix(".py") for path in sources("bot")}
    assert rooms <= known


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("lm_eval", ("evaluation/harness/",)),
        ("diffusers", ("merging/pipelines/", "evaluation/pictures/", "zoo/pictures/")),
        ("mergekit", ()),
        ("pymoo", ("merging/evolution/",)),
        ("sqlalchemy", ("bot/ledger/",)),
        ("typer", ("bot/cli/",)),
        ("fastapi", ("localhub/", "bot/service/page/")),
    ],
)
def test_a_library_is_imported_in_its_own_room_alone(library: str, rooms: tuple[str, ...]) -> None:
    users = [relative(path) for package in PACKAGES for path in sources(package) if library in packages_imported(path)]
    assert [path for path in users if not path.startswith(rooms or "\0")] == []


def test_nobody_asks_what_kind_of_recipe_or_space_it_has() -> None:
    """Recipes and spaces answer for themselves."""
    asked = []
    for path in (path for package in ("bot", "merging", "evaluation") for path in sources(package)):
        if relative(path).startswith("merging/recipes/"):
            continue
        for node in nodes_of(path):
            is_check = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance"
            text = ast.unparse(node) if is_check or isinstance(node, ast.Compare) else ""
            of_recipes = is_check and any(name in text for name in ("PathRecipe", "WeightMerge)"))
            of_kinds = isinstance(node, ast.Compare) and ("kind ==" in text or "kind !=" in text or "kind is " in text)
            spaces = any(word in text for word in ("'parameter'", "'dataflow'", "'both'"))
            if of_recipes or (of_kinds and spaces):
                asked.append(f"{relative(path)}:{node.lineno} {text}")
    assert asked == []


def test_nobody_asks_which_kind_of_model_it_has() -> None:
    """The registries' entries answer for their kinds."""
    names = set(KINDS)
    compared = [
        f"{relative(path)}:{node.lineno} {ast.unparse(node)}"
        for package in PACKAGES
        for path in sources(package)
        for node in nodes_of(path)
        if isinstance(node, ast.Compare)
        if any(isinstance(one, ast.Constant) and one.value in names for one in ast.walk(node))
        if "kind" in ast.unparse(node)
    ]
    assert compared == []


def test_no_folder_is_too_full() -> None:
    files = Counter(path.parent for package in PACKAGES for path in sources(package))
    limits = {folder: MOST_LOOSE_FILES if folder == ROOT / "bot" else MOST_FILES for folder in files}
    assert {relative(folder): count for folder, count in files.items() if count > limits[folder]} == {}


def test_no_function_is_too_long() -> None:
    functions = (
        (path, node)
        for package in PACKAGES
        for path in sources(package)
        for node in nodes_of(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    lengths = {f"{relative(path)} {node.name}": (node.end_lineno or 0) - node.lineno + 1 for path, node in functions}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}


def test_a_public_name_has_one_meaning() -> None:
    places = defaultdict(set)
    for package in ("bot", "merging", "evaluation", "localhub", "templates"):
        for path in sources(package):
            for node in tree_of(path).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].add(relative(path))
    assert {name: found for name, found in places.items() if len(found) > 1 and name not in HOMONYMS} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty_words = {"utils", "util", "helpers", "common", "misc"}
    assert [path for package in PACKAGES for path in sources(package) if path.stem in empty_words] == []
