"""The demo with pictures from an empty folder: its time, its scores, and paired wins over the best uniform pair.

    python -m benchmarks demo_vision [--folder DIR]

As `demo`, of `shoal demo --kind vision-language`, beside all uniform pairs in steps of a tenth (`uniform_pairs`). With
--folder, a demo that ran there before is read instead of run; its time is then that of the cycle.
"""

from __future__ import annotations

from benchmarks.record import Figures
from benchmarks.uniform_pairs import measure_demo

STEPS = tuple(step / 10 for step in range(11))


def main() -> Figures:
    """Run the demo once, score the uniform pairs, and print both."""
    return measure_demo("demo_vision", "vision-language", STEPS)


if __name__ == "__main__":
    main()
