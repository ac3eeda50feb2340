"""What only Linux has is called in a few places, each with a way round for other systems."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from fixtures.folders import ROOT

PACKAGES = ("bot", "merging", "evaluation", "templates", "localhub", "zoo")

ABSENT_ON_MACOS = {
    "os": {
        *("sched_getaffinity", "sched_setaffinity", "fdatasync", "posix_fadvise", "posix_fallocate", "splice"),
        *("copy_file_range", "memfd_create", "eventfd", "pidfd_open", "getrandom", "getxattr", "setxattr", "listxattr"),
        *("O_DIRECT", "O_TMPFILE", "O_PATH", "setresuid", "setresgid", "preadv2", "unshare", "getresuid"),
    },
    "signal": {"sigtimedwait", "sigwaitinfo", "SIGRTMIN", "SIGRTMAX", "SIGPWR", "pidfd_send_signal"},
    "select": {"epoll"},
    "socket": {"AF_NETLINK", "AF_VSOCK", "SO_PEERCRED", "TCP_USER_TIMEOUT"},
    "resource": {"prlimit", "RLIMIT_RTPRIO"},
    "time": {"CLOCK_BOOTTIME"},
    "mmap": {"MADV_HUGEPAGE", "MADV_DONTFORK", "MAP_POPULATE"},
    "fcntl": {"F_OFD_SETLK", "F_SETPIPE_SZ", "F_ADD_SEALS"},
}
"""Names of the standard library, by module."""

WITH_A_WAY_ROUND = {
    ("bot/scoring/resources.py", "os.sched_getaffinity"),
    ("merging/writing/atomic.py", "os.fdatasync"),
    ("merging/pickles/confinement.py", "/proc/"),
}
"""Tested without the name: tests/unit/bot/scoring/test_resources.py and tests/unit/merging/writing/test_atomic.py.

Without /proc, a process that converts pickles has no limit of memory.
"""


def linux_only(path: Path) -> Iterator[str]:
    """The names that a file uses and macOS does not have, and paths that it does not have."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in ABSENT_ON_MACOS.get(node.value.id, ()):
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module in ABSENT_ON_MACOS:
            found = {alias.name for alias in node.names} & ABSENT_ON_MACOS[node.module]
            yield from (f"{node.module}.{name}" for name in found)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (place for place in ("/proc/", "/sys/", "/dev/shm") if node.value.startswith(place))


def test_what_macos_does_not_have_is_used_only_where_there_is_a_way_round() -> None:
    used = {
        (str(path.relative_to(ROOT)), name)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for name in linux_only(path)
    }
    assert used == WITH_A_WAY_ROUND
