"""A first watchlist for a person who has none: `shoal init` writes it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bot.errors import ShoalError
from evaluation.skills import Skill, SkillTask
from templates.yaml_text import render_yaml

KNOWN_SKILLS: Mapping[str, Skill] = MappingProxyType(
    {
        skill.name: skill
        for skill in (
            Skill("knowledge", (SkillTask("arc_easy", "acc_norm"),)),
            Skill("sense", (SkillTask("piqa", "acc_norm"),)),
            Skill("math", (SkillTask("gsm8k", "exact_match", "flexible-extract"),)),
            Skill("japanese-math", (SkillTask("mgsm_direct_ja", "exact_match", "flexible-extract"),), language="ja"),
        )
    }
)
"""Skills that can be chosen by name."""

_SIZE = re.compile(r"(?i)(?:^|[-_])([0-9]+(?:\.[0-9]+)?)([MB])(?=[-_.]|$)")
_OWN_SKILL = re.compile(r"(?P<name>[^=]+)=(?P<task>[^:]+):(?P<metric>[^:]+)(?::(?P<filter>[^:]+))?")
_UNITS = {"M": 10**6, "B": 10**9}
_BYTES_A_PARAMETER = 4
"""Two in bfloat16, and as much again for what else is in a repo."""


@dataclass(frozen=True)
class StarterChoices:
    """What a first watchlist says. base: None if as the models declare it; parameters: of a model, None if any."""

    name: str
    tags: tuple[str, ...]
    base: str | None
    parameters: int | None
    licences: tuple[str, ...]
    skills: tuple[Skill, ...]
    namespace: str | None


def starter_watchlist(choices: StarterChoices) -> str:
    """The watchlist as commented YAML."""
    size = choices.parameters
    return render_yaml(
        "starter_watchlist.yml.j2",
        name=choices.name,
        tags=choices.tags,
        base=choices.base,
        smallest=None if size is None else short_amount(size * 0.8),
        largest=None if size is None else short_amount(size * 1.25),
        max_bytes=None if size is None else short_amount(size * _BYTES_A_PARAMETER * 1.25, "GB"),
        licences=choices.licences,
        skills=choices.skills,
        namespace=choices.namespace,
    )


def name_of(text: str) -> str:
    """The watchlist's name after the name of its file."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")[:48].strip("-") or "watchlist"


def size_in(repo: str) -> int | None:
    """The number of parameters that a repo's name tells, such as SmolLM2-360M; None if it tells none."""
    found = _SIZE.search(repo.partition("/")[2])
    return None if found is None else round(float(found[1]) * _UNITS[found[2].upper()])


def parse_skills(texts: Sequence[str]) -> tuple[Skill, ...]:
    """Skills by name, or of a task of lm-eval: `NAME=TASK:METRIC` or `NAME=TASK:METRIC:FILTER`.

    Raises:
        ShoalError: neither.
    """
    return tuple(map(_parse_skill, texts))


def _parse_skill(text: str) -> Skill:
    if text in KNOWN_SKILLS:
        return KNOWN_SKILLS[text]
    found = _OWN_SKILL.fullmatch(text)
    if found is None:
        known = ", ".join(KNOWN_SKILLS)
        raise ShoalError(f"--skill: got {text!r}: is not known; choose from {known}, or write NAME=TASK:METRIC")
    return Skill(found["name"], (SkillTask(found["task"], found["metric"], found["filter"]),))


def short_amount(number: float, billions: str = "B") -> str:
    """A number as people write it: 288M, 9B, 1.6B. billions: what to say for 10⁹."""
    for letters, unit in ((billions, 10**9), ("M", 10**6), ("K", 10**3)):
        if number >= unit:
            return f"{number / unit:.3g}{letters}" if number < 1000 * unit else f"{number / unit:.0f}{letters}"
    return f"{number:.0f}"
