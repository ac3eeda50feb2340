import json
import subprocess
import sys
from pathlib import Path

import pytest

from bot.errors import ShoalError
from bot.watchlist.domain import GateSettings, Guard, Reference
from bot.watchlist.load import UnfitValueError, load_watchlist, naming_lines
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
    assert watchlist.search_settings == SearchSettings(20, 200, None, 3, surrogate=True)
    assert watchlist.gate_settings == GateSettings(0.95, {}, 0.02)
    assert watchlist.task_paths == (tmp_path,)
    assert watchlist.rounds == 1


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_watchlists_are_valid(path):
    watchlist = load_watchlist(path)
    assert watchlist.name == path.stem
    assert watchlist.schedule is not None


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
        ("pinned: [{repo: a/b, licence: apache2}]", "is not a licence that shoal has a rule for; did you mean"),
        ("pinned: [{repo: ../../etc/x}]", "is not a Hub repo; write owner/name"),
        (r'task_folders: ["a\ud83d"]', r"got 'a\ud83d': has half of a surrogate pair; write the character itself"),
        ("max_sources: '3'", "got '3': is not a whole number; write it without quotes"),
        ("max_sources: three", "got 'three': is not a whole number; write one of at least 2 and at most 16"),
        ("max_sources: 2.5", "got 2.5: is not a whole number; write one of at least 2 and at most 16"),
        ("items: {search: all}", "got 'all': is not a whole number; write one of at least 1, or null"),
        ("search: {budget: {minutes: 2h}}", "got '2h': is not a number; write one of more than 0, or null"),
        ("search: {racing: off}", "got 'off': is not a group of keys; write `key: value` lines below it, of rounds"),
        ("search: {method: SLERP}", "did you mean 'slerp'?"),
        ("search: {dtype: bf16}", "did you mean 'bfloat16'?"),
        ("workers: {device: gpu}", "did you mean 'cuda'?"),
        ("noncommercial: yes", "got 'yes': is neither true nor false"),
        ("base: none", "got 'none': is not a base; write owner/name, owner/name@revision, auto, or null for none"),
        ("base: https://hub/a/b", "is not a base; write owner/name"),
        (
            "pinned: [gpt2]",
            "got 'gpt2': is not a Hub repo; write owner/name, owner/name@revision, or either with :file",
        ),
        ("pinned: a/b", "got 'a/b': is not a list; write [a/b] or one `- item` a line"),
        ("gate: {confidence: 1.5}", "is out of range; write at least 0.5 and less than 1"),
        ("gate: {confidence: 95%}", "got '95%': is not a number; write a share such as 0.95"),
        ("gate: {minimum: {math: 60}}", "got 60: is more than exact_match can be, which is 1; write 0.6"),
        ("gate: {minimum: 60}", "got 60: is not a group of keys; write `name: value` lines below it"),
        ("gate: {confidence: .nan}", "is not a number"),
        ("items: {search: 0}", "items.search: got 0: is out of range; write at least 1"),
        ("task_folders: tasks", "is not a list; write [tasks] or one `- item` a line"),
        ("schedule: 0 3 * * 1", "got '0 3 * * 1': is not a group of keys; write {cron: \"0 3 * * 1\"}, or null"),
        ("schedule: {cron: '@daily'}", "got '@daily': is a short form of 0 0 * * *; write minute hour day"),
        ("schedule: {cron: */5 * * * *}", 'put the value in quotes, since it starts with *: cron: "*/5 * * * *"'),
        ("schedule:\n  cron: * 3 * * *", 'put the value in quotes, since it starts with *: cron: "* 3 * * *"'),
        ("schedule: {cron: @daily}", 'put the value in quotes, since it starts with @: cron: "@daily"'),
        ("items:\n\tsearch: 5", "indent with spaces, not with tabs"),
        ("search:\n  method: a: b", "put a value with a colon in quotes, and check the indentation"),
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
        (
            "kind: vision-language\nsearch: {components: {vision_tower: merge}}",
            "search.components.vision_tower: got 'merge': is for no component of such models; write vision tower or",
        ),
        (
            "picture_size: 512",
            "picture_size: got 512: is not read where kind is language, whose models see no pictures",
        ),
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


def test_a_licence_that_forbids_publishing_can_be_stated_where_nothing_is_published(faults_of, tmp_path):
    published = GOOD.replace("{mode: off}", "{mode: review, namespace: me}")
    stated = "pinned: [{repo: a/b, licence: apple-amlr}]\nbase: {repo: a/c, licence: intel-research}\n"
    assert [fault.partition("licence: ")[2] for fault in faults_of(published + stated)] == [
        "got 'apple-amlr': forbids publishing a merge; set publish.mode: off",
        "got 'intel-research': forbids publishing a merge; set publish.mode: off",
    ]
    (tmp_path / "w.yml").write_text(GOOD + stated, encoding="utf-8")
    assert load_watchlist(tmp_path / "w.yml").pinned[0].licence == "apple-amlr"


@pytest.mark.parametrize(
    ("publish", "expected"),
    [
        ("{mode: auto}", "publish.namespace: got nothing: is needed in mode auto"),
        ("{mode: off, name: '{watchlist.__class__}'}", "has an unknown part"),
        ("{mode: off, name: '{watchlist!r}-{role}'}", "has an unknown part"),
        ("{mode: off, name: 'a-{cycle}'}", "would give all releases of a cycle one name"),
        ("{mode: off, name: 'a/b-{role}'}", "is not a repo name"),
        ("{mode: off, name: '{role'}", "has a brace without its partner"),
        (f"{{mode: off, name: 'x{'long-' * 14}{{watchlist}}-{{role}}-{{cycle}}'}}", "up to 100 characters, and the"),
        ("{mode: of}", "publish.mode: got 'of': is not one of the allowed words; did you mean 'off'?"),
    ],
)
def test_a_release_that_could_not_be_named_or_placed_is_refused(faults_of, publish, expected):
    (fault,) = faults_of(changed("{mode: off}", publish))
    assert expected in fault


def test_the_longest_names_of_a_watchlist_and_a_skill_do_not_fit_together_into_a_repo_s_name(faults_of, tmp_path):
    longest = GOOD.replace("name: fish", f"name: {'f' * 48}").replace("name: math", f"name: {'m' * 48}")
    (fault,) = faults_of(longest)
    assert "makes repo names of up to 111 characters, and the Hub allows 96; shorten it" in fault
    path = tmp_path / "fits.yml"
    path.write_text(longest.replace("m" * 48, "m" * 33))
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


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("360M", 360_000_000),
        ("1.5B", 1_500_000_000),
        ("7b", 7_000_000_000),
        ("16 GB", 16 * 10**9),
        ("16gb", 16 * 10**9),
        ("16 GiB", 16 * 2**30),
        ("0.3T", 300_000_000_000),
        ("1e9", 10**9),
        ("60.0", 60),
    ],
)
def test_amounts_may_be_written_as_people_write_them(written, amount, tmp_path):
    path = tmp_path / "w.yml"
    path.write_text(changed("{tags: [fish]}", f"{{tags: [fish], max_bytes: {written}}}"))
    assert load_watchlist(path).watch.max_bytes == amount


@pytest.mark.parametrize(
    ("watch", "expected"),
    [
        ("licences: [MIT]", "got 'MIT': is not a licence whose merges shoal publishes; did you mean 'mit'?"),
        ("licences: [Apache 2.0]", "did you mean 'apache-2.0'?"),
        ("licences: [cc-by-nd-4.0]", "is not a licence whose merges shoal publishes"),  # they may not be changed
        ("tags: [“fish”]", "got '“fish”': begins with a typographic quotation mark; write"),
        ("max_bytes: '1,5GB'", "got '1,5GB': is not an amount; write a whole number or one like 360M, 1.5B, 16GB"),
        ("max_bytes: 10m5", "got '10m5': is not an amount"),
    ],
)
def test_what_to_watch_is_checked_before_the_hub_is_asked(faults_of, watch, expected):
    (fault,) = faults_of(changed("{tags: [fish]}", f"{{authors: {{allow: [me]}}, {watch}}}"))
    assert expected in fault


def test_what_a_short_form_stands_for_is_named_as_it_is_written(faults_of):
    of_files = changed("{tags: [fish]}", "{tags: [fish]}\nkind: image\npinned: [me/a:x.safetensors, OTHER]")
    (fault,) = faults_of(of_files.replace("OTHER", "me/a:y.safetensors"))
    assert "pinned[1]: got 'me/a:y.safetensors': is pinned twice, and a pool has one file of a repo" in fault
    (fault,) = faults_of(changed("{tags: [fish]}", "{tags: [fish]}\npinned: [me/a:x.safetensors]"))
    assert "pinned[0]: got 'me/a:x.safetensors': is not read where kind is language" in fault
    (fault,) = faults_of(of_files.replace("OTHER", "me/b") + "carrier: me/a\n")
    assert "carrier: got 'me/a': is pinned[0] too, of which one file is meant; leave it out there" in fault


def test_a_file_that_finds_nothing_is_told_what_to_add(faults_of):
    nothing = changed("watch: {tags: [fish]}\n", "")
    (fault,) = faults_of(nothing)
    assert "watch: got nothing: matches the whole Hub; give watch.tags" in fault
    (fault,) = faults_of(nothing + "kind: vision-language\ncarrier: me/eye\n")
    assert "watch: got nothing: finds nothing besides the carrier; give watch.tags" in fault


def test_language_models_besides_may_be_all_of_an_allowed_author(faults_of, tmp_path):
    seeing = changed("{tags: [fish]}", "{authors: {allow: [me]}, language_models: {}}") + "kind: vision-language\n"
    path = tmp_path / "seeing.yml"
    path.write_text(seeing)
    assert len(load_watchlist(path).watch.sought) == 2
    (fault,) = faults_of(seeing.replace("authors: {allow: [me]}", "tags: [fish]"))
    assert "language_models: got {}: finds nothing; give tags, search or watch.authors.allow, or remove it" in fault


def test_a_repo_may_stand_without_its_keys(tmp_path):
    def read(more):
        (tmp_path / "w.yml").write_text(GOOD + more)
        return load_watchlist(tmp_path / "w.yml")

    short = read("base: reef/base@v1\npinned: [reef/cod, {repo: reef/eel, revision: main}, reef/ray@refs/pr/1]\n")
    pinned = "[{repo: reef/cod}, {repo: reef/eel, revision: main}, {repo: reef/ray, revision: refs/pr/1}]"
    assert short == read(f"base: {{repo: reef/base, revision: v1}}\npinned: {pinned}\n")


def test_the_digest_moves_with_what_is_searched_and_not_with_where_it_goes(tmp_path):
    def digest(text):
        path = tmp_path / "w.yml"
        path.write_text(text)
        return load_watchlist(path).digest

    same = GOOD + "schedule: {cron: 0 3 * * *}\nworkers: {count: 3}\ntask_folders: [.]\n"
    assert digest(same) == digest(GOOD)
    assert digest(GOOD + "search: {seed: 2}\n") != digest(GOOD)
    assert digest(GOOD + "kind: language\n") == digest(GOOD)
    staged = load_watchlist_of(tmp_path, GOOD + "pinned: [a/b]\nsearch: {last_stage: {adapter: a/c}}\n").digested
    adapter = {"repo": "a/c", "revision": None, "licence": None}
    assert staged["search"]["last_stage"] == {"adapter": adapter, "file": None, "scale": [1.0, 1.0]}
    assert staged["pinned"] == [adapter | {"repo": "a/b"}]


def test_reading_a_watchlist_loads_nothing_heavy():
    heavy = ("torch", "huggingface_hub", "lm_eval")
    code = f"import sys, bot.watchlist.watchlist; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


GUARD = "guards:\n  - {name: trivia, tasks: [{task: sciq, metric: acc}], max_drop: 0.1}\n"


def test_a_guard_is_a_skill_that_the_search_does_not_ask(tmp_path):
    path = tmp_path / "w.yml"
    path.write_text(GOOD + GUARD)
    watchlist = load_watchlist(path)
    trivia = Skill("trivia", (SkillTask("sciq", "acc"),), in_search=False)
    assert watchlist.evaluation_guards == (Guard(trivia, 0.1, Reference.BASE),)
    assert watchlist.asked_skills == (*watchlist.evaluation_skills, trivia)
    assert watchlist.skill_names == ("math",)
    assert watchlist.digest != load_watchlist_of(tmp_path, GOOD).digest
    assert_it_survives(watchlist, tmp_path)


def load_watchlist_of(folder, text):
    path = folder / "other.yml"
    path.write_text(text)
    return load_watchlist(path)


def test_guards_that_contradict_the_rest_are_named(faults_of):
    search = "search: {method: linear}\nbase: null\n"
    (fault,) = faults_of(GOOD + GUARD + search)
    assert fault == "9: guards[0].reference: got nothing: does not fit base: null; name a base, or write best_source"
    (fault,) = faults_of(GOOD + GUARD.replace("trivia", "math"))
    assert fault == "9: guards[0].name: got 'math': is the name of an earlier skill or guard; choose another"
    twice = "{task: sciq, metric: acc}"
    (fault,) = faults_of(GOOD + GUARD.replace(twice, f"{twice}, {twice}"))
    assert fault.startswith("9: guards[0].tasks[1].task: got 'sciq': counts twice")
    (fault,) = faults_of(GOOD + GUARD.replace("0.1", "0"))
    assert fault.startswith("9: guards[0].max_drop: got 0: ")


def test_item_limits_with_which_nothing_could_pass_the_gate_are_refused(faults_of, tmp_path):
    (fault,) = faults_of(GOOD + "items: {validation: 4}\n")
    assert fault == (
        "8: items.validation: got 4: leaves the gate too few items (math 4): even a merge that is right wherever its "
        "sources are wrong would have p = 0.062, and gate.confidence asks for 0.05; give a skill at least 5"
    )
    (fault,) = faults_of(GOOD + GUARD.replace("0.1", "0.01"))
    assert fault.startswith("9: guards[0].max_drop: got 0.01: cannot be shown with 200 validation items: even a merge")
    path = tmp_path / "w.yml"
    path.write_text(GOOD + "items: {validation: 5}\n")
    assert load_watchlist(path).items.validation == 5


def test_a_value_that_turns_out_not_to_fit_the_models_is_named_with_file_and_line(tmp_path):
    path = tmp_path / "w.yml"
    path.write_text(GOOD + "search:\n  method: linear\n  groups:\n    layers: 40\n")
    error = UnfitValueError(("search", "groups", "layers"), "40", "the models have 30 layers; write at most that")
    assert str(error) == "search.groups.layers: got 40: the models have 30 layers; write at most that"
    with pytest.raises(ShoalError) as caught, naming_lines(path):
        raise error
    assert str(caught.value) == f"{path}:11: {error}"
    with pytest.raises(UnfitValueError), naming_lines(Path("-")):  # standard input cannot be read again
        raise error


def test_what_only_a_file_may_not_say_is_read_from_a_ledger(tmp_path):
    stored = {"licences": ["cc-by-4.0"], "tags": ["“fish”"]}  # of a shoal that accepted them
    path = tmp_path / "w.yml"
    path.write_text(GOOD)
    whole = load_watchlist(path).model_dump(mode="json")
    again = Watchlist.model_validate_json(json.dumps(whole | {"watch": whole["watch"] | stored}))
    assert again.watch.licences == ("cc-by-4.0",)
