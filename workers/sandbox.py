"""Sandbox of a child process that reads files of unknown origin: no network, no other process, no file but its own.

Readers of pickles, of Keras's and other formats have run code of the files that they read, time and again. Should one
do so here, that code can compute and write into the folders of its attempt, and nothing else: Linux's Landlock keeps it
from all other files but those of the system and of Python's packages, a seccomp filter from sockets, from starting
programs and processes and from touching others, and its environment holds no secret. Neither needs a privilege, and
both hold inside containers. Where a kernel lacks one, the child works without, and its report says so.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
import sys
import sysconfig
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MOST_OPEN_FILES = 512
KEPT_VARIABLES = (
    "PATH",
    "LANG",
    "LANGUAGE",
    "LC_",
    "TZ",
    "LD_LIBRARY_PATH",
    "PYTHON",
    "OMP_",
    "MKL_",
    "GOMP_",
    "MALLOC_",
)
"""Beginnings of the names of environment variables that the child keeps."""
SYSTEM_PATHS = (
    *("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/sys", "/dev/urandom"),
    *(f"/proc/{name}" for name in ("self", "cpuinfo", "meminfo", "stat", "version", "filesystems", "sys")),
)
"""What libraries read of the system: of /proc not the folders of other processes, which hold their environments."""
PACKAGES = ("models", "graft", "service", "workers")
"""Packages of ours, where they are not installed with the others."""

PR_SET_NO_NEW_PRIVS = 38
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
RULE_PATH_BENEATH = 1
READ_FILE, READ_DIR, WRITE_FILE, TRUNCATE = 1 << 2, 1 << 3, 1 << 1, 1 << 14
FILE_RIGHTS = READ_FILE | WRITE_FILE | TRUNCATE
"""Rights that a rule for a single file may have."""
RIGHTS_OF_ABI = {1: 13, 2: 14, 3: 15}
"""Number of rights, lowest bits first, that a version of Landlock knows; later versions add none that matter here."""


class Limits(NamedTuple):
    """Limits of the process, beside that of memory, which its supervisor sets."""

    cpu_seconds: int
    """Processor time, summed over threads."""
    file_bytes: int
    """Size of a file that it writes."""


class _Machine(NamedTuple):
    """Numbers of system calls on one kind of processor."""

    audit: int
    seccomp: int
    clone: int
    clone3: int
    kill: int
    refused: tuple[int, ...]
    """socket, execve, execveat, ptrace, process_vm_readv, process_vm_writev, io_uring_setup, pidfd_send_signal, and
    fork and vfork where they exist."""


MACHINES = {
    "x86_64": _Machine(0xC000003E, 317, 56, 435, 62, (41, 59, 322, 101, 310, 311, 425, 424, 57, 58)),
    "aarch64": _Machine(0xC00000B7, 277, 220, 435, 129, (198, 221, 281, 117, 270, 271, 425, 424)),
}


def enter(limits: Limits, *, work: Path, writable: Sequence[Path], readable: Sequence[Path]) -> list[str]:
    """Lock this process down, in the folder `work`; returns what this machine cannot enforce, as sentences."""
    _limit_resources(limits)
    _clear_environment(work)
    os.chdir(work)
    lacking = []
    if not _restrict_files(writable, readable):
        lacking.append("This machine's kernel has no Landlock: the file was read without a fence around other files.")
    if not _restrict_calls():
        lacking.append("This machine's kernel has no seccomp: the file was read without a fence around the network.")
    return lacking


def _limit_resources(limits: Limits) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The first limit sends SIGXCPU, which has a name of its own; the second cannot be ignored.
    _lower(resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 10)
    _lower(resource.RLIMIT_FSIZE, limits.file_bytes, limits.file_bytes)
    _lower(resource.RLIMIT_NOFILE, MOST_OPEN_FILES, MOST_OPEN_FILES)


def _lower(kind: int, soft: int, hard: int) -> None:
    present = resource.getrlimit(kind)[1]
    most = hard if present == resource.RLIM_INFINITY else min(hard, present)
    resource.setrlimit(kind, (min(soft, most), most))


def _clear_environment(work: Path) -> None:
    """Clear the environment of all but what libraries need, also where /proc shows it."""
    for name in [name for name in os.environ if not name.startswith(KEPT_VARIABLES)]:
        del os.environ[name]
    os.environ |= dict.fromkeys(("HOME", "TMPDIR", "HF_HOME"), str(work))
    os.environ |= {"LOGNAME": "graft", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    tempfile.tempdir = None
    sys.dont_write_bytecode = True
    _overwrite_initial_environment()


def _overwrite_initial_environment() -> None:
    """Overwrite the memory in which the kernel put the environment of the process, or of the one it was forked from."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[47]), int(fields[48])
    except (OSError, ValueError, IndexError):  # no Linux
        return
    kept = {name: os.environ[name] for name in os.environ}
    ctypes.memset(start, 0, end - start)
    os.environ |= kept  # some stood in that memory


def _restrict_files(writable: Sequence[Path], readable: Sequence[Path]) -> bool:
    """Restrict files by Landlock; false where there is none."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    handled = (1 << RIGHTS_OF_ABI.get(version, RIGHTS_OF_ABI[3])) - 1
    rules = ctypes.create_string_buffer(struct.pack("=Q", handled))
    ruleset = libc.syscall(LANDLOCK_CREATE_RULESET, rules, ctypes.c_size_t(8), 0)
    if ruleset < 0:
        return False
    try:
        for path in (*_list_packages(), *map(Path, SYSTEM_PATHS), *readable):
            _allow(libc, ruleset, path, READ_FILE | READ_DIR)
        for path in writable:
            _allow(libc, ruleset, path, handled & ~1)  # all but to execute
        _allow(libc, ruleset, Path("/dev/null"), handled & (READ_FILE | WRITE_FILE | TRUNCATE))
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    if not path.exists():
        return
    file = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights = rights if path.is_dir() else rights & FILE_RIGHTS
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, file))
        if libc.syscall(LANDLOCK_ADD_RULE, ruleset, RULE_PATH_BENEATH, rule, 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    finally:
        os.close(file)


def _list_packages() -> Iterator[Path]:
    """List the folders of Python, of its packages and of ours."""
    yield from {Path(path) for path in sysconfig.get_paths().values() if path}
    yield from {Path(sys.base_prefix), Path(sys.prefix) / "lib"}
    yield from (path for path in map(Path, sys.path) if path.name in ("site-packages", "dist-packages"))
    for name in PACKAGES:
        yield from map(Path, import_module(name).__path__)


def _restrict_calls() -> bool:
    """Refuse system calls that reach the network, other processes or other programs; false where that is impossible."""
    machine = MACHINES.get(platform.machine()) if sys.platform.startswith("linux") else None
    if machine is None:
        return False
    code = b"".join(_build_filter(machine))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    set_filter, all_threads = 1, 1
    return bool(libc.syscall(machine.seccomp, set_filter, all_threads, program) == 0)


def _build_filter(machine: _Machine) -> Iterable[bytes]:
    """Build the filter, a program of the kernel's packet filter (seccomp(2)) that looks at each system call."""
    load, equals, at_least, has_bits, end = 0x20, 0x15, 0x35, 0x45, 0x06
    number, architecture, argument = 0, 4, 16
    allow, refuse, pretend_missing = 0x7FFF0000, 0x00050000 | errno.EACCES, 0x00050000 | errno.ENOSYS
    thread = 0x00010000  # CLONE_THREAD

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, value)

    yield from (step(load, architecture), step(equals, machine.audit, 1), step(end, refuse))
    yield step(load, number)
    yield from (step(at_least, 0x40000000, 0, 1), step(end, refuse))  # other numbers of the same calls
    for call in machine.refused:
        yield from (step(equals, call, 0, 1), step(end, refuse))
    # What clone3 is asked for cannot be seen from here; without it, the C library falls back to clone.
    yield from (step(equals, machine.clone3, 0, 1), step(end, pretend_missing))
    yield step(equals, machine.clone, 0, 3)
    yield from (step(load, argument), step(has_bits, thread, 1), step(end, refuse))
    yield step(load, number)
    yield step(equals, machine.kill, 0, 3)
    yield from (step(load, argument), step(equals, os.getpid(), 1), step(end, refuse))
    yield step(end, allow)
