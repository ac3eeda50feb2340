"""The direction of imports: bot knows everybody, the parts do not know each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from fixtures.folders import ROOT

PACKAGES = ("bot", "merging", "evaluation", "templates", "localhub", "zoo")
ALLOWED = {
    "bot": {"merging", "evaluation", "templates", "localhub", "zoo"},
    "merging": set(),
    "evaluation": set(),
    "templates": set(),
    "localhub": {"templates"},
    "zoo": set(),
}


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_those_below_it(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    others = set(PACKAGES) - {package} - ALLOWED[package]
    wrong = {str(path.relative_to(ROOT)): imported(path) & others for path in files if imported(path) & others}
    assert wrong == {}


def test_only_tests_use_mergekit() -> None:
    users = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "mergekit" in imported(path)]
    assert users == []


def test_no_package_is_named_after_nothing() -> None:
    empty_words = {"utils", "util", "helpers", "common", "misc"}
    assert [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path.stem in empty_words] == []
