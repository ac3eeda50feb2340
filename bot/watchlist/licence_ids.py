"""The licences that shoal's policy knows, by their ids on the Hub, and what each asks of a merge."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class LicenceKind(StrEnum):
    """The kind of a licence, by what it requires of a merge."""

    PERMISSIVE = "permissive"  # the merge keeps the notices
    NONCOMMERCIAL = "non-commercial"  # no commercial use of the merge either
    SHARE_ALIKE = "non-commercial share-alike"  # the merge takes this very licence
    LLAMA = "Llama"  # the merge takes this very licence, says "Built with Llama", and is named Llama…
    GEMMA = "Gemma"  # the merge takes the Gemma terms
    OPENRAIL = "OpenRAIL"  # the merge carries the use restrictions
    STABILITY = "Stability AI Community"  # the merge takes this very licence, and has its notice in a file
    FORBIDS = "forbids it"  # derivatives or publication are not allowed


LICENCES: Mapping[str, LicenceKind] = MappingProxyType(
    {
        **dict.fromkeys(
            ("mit", "apache-2.0", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear"),
            LicenceKind.PERMISSIVE,
        ),
        **dict.fromkeys(("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0"), LicenceKind.NONCOMMERCIAL),
        **dict.fromkeys(("cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"), LicenceKind.SHARE_ALIKE),
        **dict.fromkeys(("llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4"), LicenceKind.LLAMA),
        "gemma": LicenceKind.GEMMA,
        **dict.fromkeys(
            (
                "openrail",
                "openrail++",
                "bigscience-openrail-m",
                "creativeml-openrail-m",
                "bigcode-openrail-m",
            ),
            LicenceKind.OPENRAIL,
        ),
        "stabilityai-ai-community": LicenceKind.STABILITY,
        **dict.fromkeys(
            (
                "cc-by-nd-4.0",
                "cc-by-nc-nd-3.0",
                "cc-by-nc-nd-4.0",
                "apple-amlr",
                "intel-research",
                "microsoft-research-license",  # "you may use the model(s), but you may not distribute the models"
            ),
            LicenceKind.FORBIDS,
        ),
    }
)
"""The licences that the policy knows, by the Hub's ids or the names that cards give; every other one is refused."""

NAMED = frozenset({"microsoft-research-license", "stabilityai-ai-community"})
"""Those that the Hub has no id for: cards declare them as `other`, with the name."""
