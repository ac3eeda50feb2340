"""The same as `racing` on a zoo that is trained on the spot from another seed than the demo's.

python -m benchmarks racing_other [SEEDS] [--costs]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import racing
from benchmarks.record import Figures

SEED = 1
"""The shipped zoo has seed 0."""


def main() -> Figures:
    """Train the zoo, and search with and without a race."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "zoo.train", folder, "--seed", str(SEED)], check=True)
        return racing.main(Path(folder))


if __name__ == "__main__":
    main()
