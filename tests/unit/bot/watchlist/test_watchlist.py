import subprocess
import sys
from pathlib import Path

import pytest

from bot.errors import ShoalError
from bot.watchlist.domain import GateSettings
from bot.watchlist.load import load_watchlist
from bot.watchlist.reference import watchlist_reference
from bot.watchlist.schema import watchlist_schema
from bot.watchlist.watchlist import Watchlist
from evaluation.skills import Skill, SkillTask
from evaluation.splits import SplitSizes
from fixtures.folders import ROOT
from merging.evolution.outcomes import SearchSettings

SHIPPED = sorted((ROOT / "watchlists").glob("*.yml"))

GOOD = """\
name: fish
watch: {tags: [fish]}
skills:
  - name: math
    tasks:
      - {task: gsm8k, metric: exact_match}
publish: {mode: off}
"""


@pytest.fixture
def faults_of(tmp_path):
    """The lines that reading this text gives, each without the file's name."""

    def read(text):
        path = tmp_path / "w.yml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ShoalError) as caught:
            load_watchlist(path)
        lines = str(caught.value).splitlines()
        assert all(line.startswith(f"{path}:") for line in lines)
        return [line.removeprefix(f"{path}:") for line in lines]

    return read


def changed(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


def test_a_small_watchlist_is_read_with_its_defaults(tmp_path):
    path = tmp_path / "w.yml"
    path.write_text(GOOD)
    watchlist = load_watchlist(path)
    assert watchlist.publish.mode == "off"
    assert watchlist.base == "auto"
    assert watchlist.watch.pipeline_tag == "text-generation"


ODD = (
    "items: {search: 1}\n",
    "items: {search: 31, validation: null, report: null}\n",
    "search: {racing: null, budget: {minutes: 0.5}}\nitems: {search: 3}\n",
    "search: {racing: {rounds: 4}}\nitems: {search: 16}\n",
    "search: {space: both, dataflow: {min_layers: 3, max_layers: 3, scales: false}}\n",
    "base: null\nsearch: {method: karcher}\nmax_sources: 16\n",
    "base: {repo: reef/base, revision: main}\npinned: [{repo: reef/cod}, {repo: reef/eel, revision: v1}]\n",
    "gate: {minimum: {math: 0}}\nnoncommercial: true\nschedule: {cron: 0 3 * * fri-mon}\n",
)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_watchlist_survives_dump_and_load(path, tmp_path):
    assert_it_survives(load_watchlist(path), tmp_path)


@pytest.mark.parametrize("more", ODD)
def test_a_watchlist_that_passes_the_check_survives_dump_and_load(more, tmp_path):
    path = tmp_path / "w.yml"
    path.write_text(GOOD + more)
    assert_it_survives(load_watchlist(path), tmp_path)


def assert_it_survives(watchlist, folder):
    """As the ledger keeps it, and as a file with every key written out, which a person may run again."""
    for dump in (watchlist.model_dump_json(), watchlist.model_dump_json(exclude_defaults=True)):
        again = Watchlist.model_validate_json(dump)
        assert again == watchlist
        assert again.digest == watchlist.digest
        assert again.model_dump_json() == watchlist.model_dump_json()
        path = folder / "again.yml"
        path.write_text(dump, encoding="utf-8")
        assert load_watchlist(path) == watchlist


def test_a_watchlist_gives_the_values_that_evaluation_search_and_gate_work_with(tmp_path):
    path = tmp_path / "w.yml"
    path.write_text(GOOD + "items: {report: null}\nsearch: {seed: 3, racing: null}\ntask_folders: [.]\n")
    watchlist = load_watchlist(path)
    assert watchlist.evaluation_skills == (Skill("math", (SkillTask("gsm8k", "exact_match"),)),)
    assert watchlist.split_sizes == SplitSizes(200, 200, None)
    assert watchlist.search_settings == SearchSettings(20, 200, None, 3)
    assert watchlist.gate_settings == GateSettings(0.95, {}, 0.02)
    assert watchlist.task_paths == (tmp_path,)
    assert watchlist.rounds == 1


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_watchlists_are_valid(path):
    watchlist = load_watchlist(path)
    assert watchlist.name == path.stem
    assert watchlist.schedule is not None


def test_the_tasks_of_the_real_watchlists_are_in_lm_eval():
    import lm_eval

    folder = Path(lm_eval.__file__).parent / "tasks"
    homes = ("gsm8k", "japanese_leaderboard", "mgsm/direct", "arc", "sciq", "piqa", "asdiv")
    texts = [path.read_text("utf-8") for home in homes for path in (folder / home).glob("*.yaml")]
    known = {line.split()[1] for text in texts for line in text.splitlines() if line.startswith("task: ")}
    for name in ("japanese-math-7b", "japanese-math-10b", "laptop-360m"):
        watchlist = load_watchlist(ROOT / "watchlists" / f"{name}.yml")
        assert {entry.task for skill in watchlist.skills for entry in skill.tasks} <= known


def test_the_shipped_json_schema_is_the_models_own():
    shipped = (ROOT / "watchlists" / "watchlist.schema.json").read_text("utf-8")
    assert shipped == watchlist_schema(), "run: shoal schema > watchlists/watchlist.schema.json"


def test_the_reference_of_all_keys_is_the_one_that_the_schema_makes() -> None:
    page = (ROOT / "docs" / "watchlist.md").read_text("utf-8")
    assert page == watchlist_reference(), "run: shoal schema --markdown > docs/watchlist.md"
    for key in ("`downloads_min`", "`num_fewshot`", "`max_degenerate`", "`cron`", "## `search.dataflow`"):
        assert key in page


def test_a_language_is_one_that_can_be_detected(faults_of):
    (fault,) = faults_of(changed("  - name: math\n", "  - name: math\n    language: jp\n"))
    expected = "is not a language that shoal can detect; use an ISO 639-1 code such as ja, de or zh"
    assert fault == f"5: skills[0].language: got 'jp': {expected}"


def test_a_typo_names_line_key_value_and_the_nearest_word(faults_of):
    assert faults_of(changed("watch: {tags: [fish]}", "watch:\n  tgas: [fish]")) == [
        "3: watch.tgas: got [fish]: is not a known key; did you mean 'tags'?"
    ]


def test_all_faults_of_a_file_are_listed_in_its_order(faults_of):
    text = changed("name: fish", "name: Fish!") + "search: {population: many, seed: 1.5, method: tys}\nmax_sources: 1\n"
    assert [line.partition(":")[2].split(": is")[0] for line in faults_of(text)] == [
        " name: got 'Fish!'",
        " search.method: got 'tys'",
        " search.population: got 'many'",
        " search.seed: got 1.5",
        " max_sources: got 1",
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pinned: [{repo: a/b, revision: 1234567}]", "got 1234567: is not text; put it in quotes"),
        ("pinned: [{repo: a/b, revision: 12345e6}]", "got 12345e6: is not text; put it in quotes"),
        ("pinned: [{repo: gpt2}]", "got 'gpt2': is not a Hub repo; write owner/name"),
        ("pinned: [{repo: ../../etc/x}]", "is not a Hub repo; write owner/name"),
        (r'task_folders: ["a\ud83d"]', r"got 'a\ud83d': has half of a surrogate pair; write the character itself"),
        ("max_sources: '3'", "got '3': is not a whole number; write one without quotes"),
        ("noncommercial: yes", "got 'yes': is neither true nor false"),
        ("base: none", "base: got 'none': is not 'auto'; write {repo, revision}"),
        ("gate: {confidence: 1.5}", "is out of range; write less than 1"),
        ("gate: {confidence: .nan}", "is not a number"),
        ("items: {search: 0}", "items.search: got 0: is out of range; write at least 1"),
        ("task_folders: tasks", "is not a list; write [a, b]"),
        ("workers: [2]", "workers: got [2]: is not a group of keys"),
        ("schedule: {timezone: UTC}", "schedule.cron: got nothing: this key is missing; add it: minute hour"),
        ("task_folders: [nowhere]", "task_folders[0]: got 'nowhere': there is no folder"),
    ],
)
def test_a_wrong_value_is_reported_with_its_remedy(faults_of, line, expected):
    (fault,) = faults_of(GOOD + line + "\n")
    assert expected in fault


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("search: {method: slerp}", "max_sources: got nothing: does not fit slerp, which merges exactly two"),
        ("base: null\nsearch: {method: ties}", "base: got nothing: does not fit ties, which needs a base"),
        (
            "search: {dataflow: {repeats: 3}}",
            "search.dataflow: got {repeats: 3}: is not read where search.space is parameter",
        ),
        (
            "search: {dataflow: {repeats: 2}}",  # its default, and a person wrote it to some end
            "search.dataflow: got {repeats: 2}: is not read where search.space is parameter",
        ),
        (
            "search: {space: dataflow, dataflow: {min_layers: 9, max_layers: 8}}",
            "search.dataflow.min_layers: got 9: is more than max_layers (8); swap them",
        ),
        (
            "search: {space: both, dataflow: {smaller: true}}",
            "search.dataflow.smaller: got true: does not fit search.racing",
        ),
        ("base: null\nsearch: {space: both}", "base: got nothing: does not fit task_arithmetic, which needs a base"),
        ("search: {population: 50, budget: {candidates: 40}}", "search.budget.candidates: got 40: is less than"),
        ("gate: {minimum: {maths: 0.5}}", "gate.minimum.maths: got 0.5: is for no skill of this file"),
        ("schedule: {cron: 0 3 * * 8}", "schedule.cron: got '0 3 * * 8': weekday '8' is neither 0-7"),
        ("schedule: {cron: every day}", "2 fields where cron has 5"),
        ("schedule: {cron: 0 0 31 2 *}", "its time never comes"),
        ("schedule: {cron: 61 0 * * *}", "schedule.cron: got '61 0 * * *'"),
        ("schedule: {cron: 0 3 * * *, timezone: Europe/Berln}", "schedule.timezone: got 'Europe/Berln': is not a time"),
    ],
)
def test_keys_that_contradict_each_other_are_named(faults_of, line, expected):
    (fault,) = faults_of(GOOD + line + "\n")
    assert expected in fault


def test_paths_through_sources_need_no_base_and_any_number_of_them(tmp_path):
    (tmp_path / "w.yml").write_text(GOOD + "base: null\nsearch: {space: dataflow, method: slerp}\n", encoding="utf-8")
    assert load_watchlist(tmp_path / "w.yml").search.space == "dataflow"


@pytest.mark.parametrize(
    ("publish", "expected"),
    [
        ("{mode: auto}", "publish.namespace: got nothing: is needed in mode auto"),
        ("{mode: off, name: '{watchlist.__class__}'}", "has an unknown part"),
        ("{mode: off, name: '{watchlist!r}-{role}'}", "has an unknown part"),
        ("{mode: off, name: 'a-{cycle}'}", "would give all releases of a cycle one name"),
        ("{mode: off, name: 'a/b-{role}'}", "is not a repo name"),
        ("{mode: off, name: '{role'}", "has a brace without its partner"),
        (f"{{mode: off, name: 'x{'long-' * 14}{{watchlist}}-{{role}}-{{cycle}}'}}", "up to 97 characters, and the"),
        ("{mode: of}", "publish.mode: got 'of': is not one of the allowed words; did you mean 'off'?"),
    ],
)
def test_a_release_that_could_not_be_named_or_placed_is_refused(faults_of, publish, expected):
    (fault,) = faults_of(changed("{mode: off}", publish))
    assert expected in fault


def test_the_longest_names_of_a_watchlist_and_a_skill_do_not_fit_together_into_a_repo_s_name(faults_of, tmp_path):
    longest = GOOD.replace("name: fish", f"name: {'f' * 48}").replace("name: math", f"name: {'m' * 48}")
    (fault,) = faults_of(longest)
    assert "makes repo names of up to 108 characters, and the Hub allows 96; shorten it" in fault
    path = tmp_path / "fits.yml"
    path.write_text(longest.replace("m" * 48, "m" * 36))
    assert load_watchlist(path).name == "f" * 48


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1: got no `key: value` lines: not a watchlist"),
        ("- a\n- b\n", "1: got no `key: value` lines"),
        ("name: [fish\n", "not valid YAML"),
        ("name: fish\nname: cod\n", "2: name: got it again: is on line 1 already; keep one of the two"),
        ("name: &a fish\nsearch: *a\n", "2: got *a: YAML aliases are not supported"),
        ("name: !!python/object/apply:os.system [ls]\n", "is a YAML tag; remove it"),
        ("? [a, b]\n: c\n", "a key must be plain text"),
        ("[" * 3000, "1: got lists or groups in 51 levels: write at most 50"),
    ],
)
def test_a_file_that_is_not_a_watchlist_is_refused_in_a_line(faults_of, text, expected):
    assert expected in faults_of(text)[0]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "none.yml", tmp_path):
        with pytest.raises(ShoalError, match="cannot be read"):
            load_watchlist(path)
    path = tmp_path / "latin.yml"
    path.write_bytes("name: f\xe9te".encode("latin-1"))
    with pytest.raises(ShoalError, match="byte 7 is not UTF-8"):
        load_watchlist(path)


def test_amounts_may_be_written_as_people_write_them(tmp_path):
    path = tmp_path / "w.yml"
    path.write_text(changed("{tags: [fish]}", "{tags: [fish], parameters: {min: 360M, max: 1.5B}, max_bytes: 16 GB}"))
    watch = load_watchlist(path).watch
    assert (watch.parameters.min, watch.parameters.max, watch.max_bytes) == (360_000_000, 1_500_000_000, 16 * 10**9)


def test_the_digest_moves_with_what_is_searched_and_not_with_where_it_goes(tmp_path):
    def digest(text):
        path = tmp_path / "w.yml"
        path.write_text(text)
        return load_watchlist(path).digest

    same = GOOD + "schedule: {cron: 0 3 * * *}\nworkers: {count: 3}\ntask_folders: [.]\n"
    assert digest(same) == digest(GOOD)
    assert digest(GOOD + "search: {seed: 2}\n") != digest(GOOD)


def test_reading_a_watchlist_loads_nothing_heavy():
    heavy = ("torch", "huggingface_hub", "lm_eval")
    code = f"import sys, bot.watchlist.watchlist; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
