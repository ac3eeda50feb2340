"""The same as `searches`, for the searches that race: a part of a full scoring goes to each of more candidates.

python -m benchmarks searches_raced [--seeds N] [--budget N] [--landscapes …] [--arms …] [--zoos FOLDER] [--jobs N]
"""

from __future__ import annotations

from benchmarks.landscapes.contestants import ASSISTED, RACED
from benchmarks.record import Figures
from benchmarks.searches import compare


def main() -> Figures:
    """Run the arms that race, and the one with the model of the scores that does not."""
    return compare("searches_raced", [ASSISTED, *RACED], ["demo", "rivals"], seeds=5)


if __name__ == "__main__":
    main()
