"""The demo that draws from an empty folder: its time, its scores, and paired wins over the best uniform pair.

    python -m benchmarks demo_image [--folder DIR]

As `demo`, of `shoal demo --kind image`, beside uniform pairs in steps of a fifth (`uniform_pairs`). With --folder, a
demo that ran there before is read instead of run; its time is then that of the cycle.
"""

from __future__ import annotations

from benchmarks.record import Figures
from benchmarks.uniform_pairs import measure_demo

STEPS = tuple(step / 5 for step in range(8))


def main() -> Figures:
    """Run the demo once, score the uniform pairs, and print both."""
    return measure_demo("demo_image", "image", STEPS)


if __name__ == "__main__":
    main()
