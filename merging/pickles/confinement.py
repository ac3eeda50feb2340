"""Confines this process for good, by what the operating system has, and then tries what it still can do.

Linux: Landlock for files, seccomp for the network and for other processes; neither needs a privilege. macOS: a sandbox
in which `command_prefix` starts the process. The limits of `resource` hold everywhere.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import secrets
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

# linux/landlock.h; its system calls have the same numbers on all machines.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _READ_FILE, _READ_FOLDER = 1 << 0, 1 << 2, 1 << 3
_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
"""Landlock's version → the rights to files that it knows from then on."""
_TCP, _SCOPES = 0b11, 0b11
"""To bind and connect (version 4); signals and abstract sockets of processes outside (version 6)."""
_PATH_BENEATH = 1

# sys/prctl.h, linux/seccomp.h, linux/bpf_common.h
_DIE_WITH_PARENT, _SET_FILTER, _NO_NEW_PRIVILEGES = 1, 22, 38
_FILTER_MODE = 2
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_CALL_NUMBER, _MACHINE = 0, 4  # offsets in what a filter sees
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # with EPERM

_CALLS = {
    "x86_64": (
        0xC000003E,
        (41, 53, 56, 57, 58, 59, 62, 200, 234, 129, 297, 424, 101, 272, 308, 310, 311, 322, 425, 435, 438),
    ),
    "aarch64": (
        0xC00000B7,
        (198, 199, 220, 221, 129, 130, 131, 138, 240, 424, 117, 97, 268, 270, 271, 281, 425, 435, 438),
    ),
}
"""Machine → its number in filters, and those of the calls that are refused there.

They are socket, socketpair, clone, fork, vfork, execve, kill, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo,
pidfd_send_signal, ptrace, unshare, setns, process_vm_readv, process_vm_writev, execveat, io_uring_setup, clone3,
pidfd_getfd; aarch64 has no fork and vfork.
"""
_SECOND_SET = 0x40000000
"""From this number on, x86_64 has all of its calls once more."""

_NOWHERE = ("192.0.2.1", 9)
"""An address that documentation may use (RFC 5737); connecting a datagram socket to it sends nothing."""


@dataclass(frozen=True)
class ProcessLimits:
    """What a process may use from now on: bytes of memory, bytes of each file that it writes, seconds of computing."""

    memory: int
    file: int
    seconds: int


def command_prefix(folder: Path) -> list[str]:
    """What to write before a command on macOS so that its process may write to `folder` alone; elsewhere nothing."""
    program = Path("/usr/bin/sandbox-exec")
    if sys.platform != "darwin" or not program.exists():
        return []
    rules = "(version 1)(allow default)(deny network*)(deny process-fork)(deny file-write*)"
    return [str(program), "-p", f'{rules}(allow file-write* (subpath "{folder.resolve()}"))']


def confine(folder: Path, readable: Iterable[Path], limits: ProcessLimits) -> tuple[str, ...]:
    """Confine this process, which must have one thread: it may write to `folder`, and read that and `readable`.

    Returns what it can do all the same on this machine, in words; it was tried.
    """
    _set_limits(limits)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_DIE_WITH_PARENT, 9, 0, 0, 0)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        _restrict_files(libc, folder, readable)
        _refuse_calls(libc)
    trials: dict[str, Callable[[], object]] = {
        "reach the network": _reach_network,
        "write other files": lambda: _write_into(folder.parent),
        "read other files": lambda: os.listdir("/"),  # noqa: PTH208
        "start processes": _start_process,
    }
    return tuple(words for words, trial in trials.items() if _succeeds(trial))


def _set_limits(limits: ProcessLimits) -> None:
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_FSIZE: limits.file,
        resource.RLIMIT_CPU: limits.seconds,
    }
    statistics = Path("/proc/self/statm")
    if statistics.exists():
        used = int(statistics.read_text().split()[0]) * resource.getpagesize()
        wanted[resource.RLIMIT_AS] = used + limits.memory
    for kind, value in wanted.items():
        most = resource.getrlimit(kind)[1]
        allowed = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (allowed, allowed))


def _restrict_files(libc: ctypes.CDLL, folder: Path, readable: Iterable[Path]) -> None:
    """Landlock, as far as the kernel has it."""
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return
    rights = sum(bits for since, bits in _RIGHTS.items() if since <= version)
    handled = struct.pack("QQQ", rights, _TCP, _SCOPES)[: 24 if version >= 6 else 16 if version >= 4 else 8]
    rules = libc.syscall(_CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), 0)
    try:
        _allow_beneath(libc, rules, folder, rights)
        for path in readable:
            if path.exists():
                _allow_beneath(libc, rules, path, _READ_FILE | _EXECUTE | (_READ_FOLDER if path.is_dir() else 0))
        libc.syscall(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _allow_beneath(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    place = os.open(path, os.O_RDONLY)
    try:
        libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _refuse_calls(libc: ctypes.CDLL) -> None:
    """A seccomp filter, on the machines whose system calls are known."""
    machine, calls = _CALLS.get(platform.machine(), (0, ()))
    if not machine:
        return
    checks = [(_IF_AT_LEAST, _SECOND_SET), *((_IF_EQUAL, number) for number in calls)]
    steps = [(_LOAD, 0, 0, _MACHINE), (_IF_EQUAL, 0, len(checks) + 2, machine), (_LOAD, 0, 0, _CALL_NUMBER)]
    steps += [(code, len(checks) - place, 0, value) for place, (code, value) in enumerate(checks)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    header = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(program))
    libc.prctl(_SET_FILTER, _FILTER_MODE, header, 0, 0)


def _reach_network() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.connect(_NOWHERE)


def _write_into(folder: Path) -> None:
    path = folder / f".trial-{secrets.token_hex(8)}"
    path.touch(exist_ok=False)
    path.unlink()


def _start_process() -> None:
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)


def _succeeds(trial: Callable[[], object]) -> bool:
    try:
        trial()
    except OSError:
        return False
    return True
