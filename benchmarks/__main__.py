"""Run a benchmark, and keep its figures.

python -m benchmarks                             the list
python -m benchmarks NAME [ARGUMENTS …]          run one
python -m benchmarks NAME [ARGUMENTS …] --save   and write benchmarks/results/NAME.json
python -m benchmarks tables                      write the tables of README and docs anew from the results
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from benchmarks import record
from benchmarks.tables.pages import write_all

NOT_ONES = frozenset(
    {
        *("__init__", "__main__", "random_models", "record", "served_bot", "simulated_cycles", "uniform_pairs"),
        "zoo_bench",
    }
)
"""What benchmarks share."""


def names() -> list[str]:
    """Every benchmark."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NOT_ONES)


def describe(name: str) -> str:
    """A benchmark's first line."""
    return (import_module(f"benchmarks.{name}").__doc__ or "").partition("\n")[0]


def main(arguments: list[str]) -> None:
    """Do what the command line asks for."""
    if not arguments:
        print(__doc__)
        print(*(f"{name:18} {describe(name)}" for name in names()), sep="\n")
    elif arguments[0] == "tables":
        write_all()
    elif arguments[0] not in names():
        sys.exit(f"benchmarks: got {arguments[0]!r}: choose from {', '.join(names())}, tables")
    else:
        name, *rest = [word for word in arguments if word != "--save"]
        sys.argv = [f"python -m benchmarks {name}", *rest]
        figures = import_module(f"benchmarks.{name}").main()
        if "--save" in arguments:
            print(f"saved: {record.save(name, [name, *rest], figures)}")


if __name__ == "__main__":
    main(sys.argv[1:])
