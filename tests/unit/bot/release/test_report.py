"""The report of a cycle: golden texts of one that published and one in which nothing passed, and hostile facts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.ledger.ledger import State
from bot.release.card.picture_facts import DrawnFacts, PictureCounts
from bot.release.report import CycleFacts, JudgedTask, render_report
from bot.search.results import AuditionRow, AuditionSummary, FrontChoice, GeneralisationGap, ModelledRecipe
from fixtures.drawn_facts import HOW, RULE, SIMILARITY, YES
from fixtures.golden import report_facts
from fixtures.written_texts import ATTACKS, POISON, check_golden, structure, with_texts

PUBLISHED = report_facts()


def nothing_passed() -> CycleFacts:
    """The gate refused the whole front; one member could not be scored."""
    reason = "does not clearly beat linear mean in any skill (at best +0.013 in language, p = 0.75)"
    first, *others = (replace(member, passed=False, reason=reason) for member in PUBLISHED.front)
    broken = replace(first, scores=(), guards=(), reason="could not be scored: the worker died")
    outcome = f"{State.NOTHING}: no merge beat its sources and the plain merges"
    return replace(PUBLISHED, outcome=outcome, front=(broken, *others), releases=())


def auditioned() -> CycleFacts:
    """Four candidates, one of them pinned, for two places; one could not be scored."""
    row = AuditionRow("reef/base", "b" * 40, "base", (0.31, 0.62, 0.05), False, "base")
    rows = (
        row,
        replace(row, repo="reef/named", role="pinned", chosen=True, reason="pinned"),
        replace(row, repo="reef/math", role="candidate", chosen=True, reason="adds most in the audition"),
        replace(row, repo="reef/more", role="candidate", reason="adds nothing to reef/math (math 0.31 against 0.31)"),
        replace(row, repo="reef/lost", role="candidate", scores=(), reason="could not be scored in the audition"),
    )
    return replace(PUBLISHED, audition=AuditionSummary(300, 1, rows))


def mixed() -> CycleFacts:
    """One release is on the Hub, one is waiting for review."""
    (release, *_) = PUBLISHED.releases
    return replace(nothing_passed(), releases=(release, replace(release, commit=None)))


def test_the_report_of_a_cycle_that_published_reads_as_agreed() -> None:
    check_golden("report.md", render_report(PUBLISHED))


def test_the_report_of_a_cycle_in_which_nothing_passed_reads_as_agreed() -> None:
    check_golden("report_nothing.md", render_report(nothing_passed()))


def test_a_release_says_whether_it_is_published_waits_or_was_rejected() -> None:
    report = render_report(mixed())
    assert "published as" in report and "| waiting for review |" in report
    (first, second) = mixed().releases
    decided = (replace(first, decision="published by anna"), replace(second, decision="rejected by bert: too | small"))
    report = render_report(replace(PUBLISHED, releases=decided))
    assert "`, published by anna |" in report and "| rejected by bert: too &#124; small |" in report


def test_the_report_says_who_judged_pictures_and_how_many_are_degenerate() -> None:
    (release, *_) = PUBLISHED.releases
    judged = (
        JudgedTask("hue", "colours", "score", DrawnFacts(HOW, SIMILARITY, YES)),
        JudgedTask("form", "shapes", "right", DrawnFacts(HOW, RULE, RULE)),
    )
    pictures = PictureCounts(drawn=80, flat=1, saturated=0, equal=2, not_finite=0)
    facts = replace(PUBLISHED, judged=judged, releases=(replace(release, pictures=pictures),))
    report = render_report(facts)
    assert f"| {release.role} | 80 | 1 | 0 | 2 | 0 |" in report
    section = report.partition("## How pictures were judged")[2].partition("## The front")[0]
    first, second = (line for line in section.splitlines() if "<sub>colours" in line or "<sub>shapes" in line)
    assert (
        f"[a/siglip]({PUBLISHED.hub_url}/a/siglip/tree/{'0' * 40})<br><sub>commit 000000000000, licence apache-2.0"
        in first
    )
    assert "[a/seer]" in first and "licence not declared" in first and HOW.replace("_", "\\_") in first
    assert second.endswith("| the same |")
    harmless, poisoned = (render_report(with_texts(facts, text)) for text in ("word", POISON))
    assert structure(poisoned) == structure(harmless)
    assert "pictures" not in render_report(PUBLISHED)


def test_an_audition_has_the_scores_and_the_reasons_of_all_who_took_part() -> None:
    section = render_report(auditioned()).partition("## The audition")[2].partition("## The pool")[0]
    assert section.startswith(
        "\n\n3 models competed for 1 place in a merge. Each answered 300 items of the search split;"
    )
    lines = [line for line in section.splitlines() if "reef/" in line]
    assert [line.count("|") for line in lines] == [8] * 5
    assert lines[0].startswith(
        f"| [reef/base]({PUBLISHED.hub_url}/reef/base) | base | 0.310 | 0.620 | 0.050 |  | base |"
    )
    assert "| pinned | 0.310 | 0.620 | 0.050 | chosen | pinned |" in lines[1]
    assert "| candidate | | | |  | could not be scored" in lines[4]
    assert "audition" not in render_report(PUBLISHED)


def test_the_search_says_how_much_of_its_gain_was_luck() -> None:
    gap = GeneralisationGap(0.5, 0.46, 0.08, 0.06, 0.01, 0.03)
    section = render_report(replace(PUBLISHED, gap=gap)).partition("## The search")[2].partition("## The pool")[0]
    assert f"\n\n{gap.describe().capitalize()}.\n" in section
    assert "luck" not in render_report(replace(PUBLISHED, gap=None))


def test_the_search_says_that_a_model_chose_the_front() -> None:
    choice = FrontChoice("d" * 64, ("a" * 64, "b" * 64), (ModelledRecipe("a" * 64, (0.5, 0.6), (0.6, 0.6)),), ())
    section = render_report(replace(PUBLISHED, choice=choice)).partition("## The search")[2].partition("## The pool")[0]
    assert f"\n\n{choice.describe().capitalize()}.\n" in section and "1 of 2 members are put in" in section


def test_a_search_that_took_no_time_has_no_rate() -> None:
    search = replace(PUBLISHED.search, candidates=0, fully_scored=0, failed=0, generations=0, seconds=0.0)
    report = render_report(replace(PUBLISHED, search=search))
    assert f"| 0 | 0 | 0 | 0 (of {search.population} each) | 0 s |  | {search.seed} |" in report


@pytest.mark.parametrize("attack", [POISON, *ATTACKS])
def test_an_injection_in_every_text_changes_words_and_nothing_else(attack: str) -> None:
    facts = replace(mixed(), audition=auditioned().audition)
    report = render_report(with_texts(facts, attack))
    assert structure(report) == structure(render_report(with_texts(facts, "word")))
