"""The queue on disk: what was put into it survives the end of the process, however it ends.

    <spool_dir>/<random name>/lock        held by flock as long as its process lives
    <spool_dir>/<random name>/*.jsonl     segments, oldest name first
    <spool_dir>/rejected.jsonl            what the service refused for good, with the reason

Any number of processes may share a spool_dir: each writes into a folder of its own, and takes over the segments of
folders whose lock is free. An entry is written before `put` returns, which outlives a kill -9; fsync follows within
`flush_seconds`, in the recorder's thread, and what it has seen outlives a power cut too.
"""

import json
import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from finops_ai.errors import QueueFull
from finops_ai.queue import Queue, Segment

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("finops_ai")

LOCK = "lock"
NAME = re.compile(r"[0-9a-f]{32}")
REJECTED = "rejected.jsonl"


@dataclass
class Spool(Queue):
    """Raises `OSError` where the folder cannot be made or written, and `RuntimeError` where there is no flock."""

    root: Path = field(default=Path(), kw_only=True)
    _folder: Path = field(default=Path(), init=False)
    _lock_fd: int = field(default=-1, init=False)
    _fd: int = field(default=-1, init=False)

    def __post_init__(self) -> None:
        if fcntl is None:
            raise RuntimeError("spool_dir needs flock, which this system lacks: leave it out.")
        name = uuid4().hex
        self._folder = self.root / name
        # Others look at a folder once it has its name, and then its lock is held.
        unnamed = self.root / f".{name}"
        self.root.mkdir(parents=True, exist_ok=True)
        unnamed.mkdir(mode=0o700)
        self._lock_fd = _lock(unnamed, os.O_CREAT)
        unnamed.rename(self._folder)
        _sync(self.root)
        self.adopt()

    def adopt(self) -> int:
        """Move the segments of folders that no process holds any more into our own."""
        adopted = 0
        for folder in self.root.glob("*/"):
            if folder == self._folder or not NAME.fullmatch(folder.name):
                continue
            with suppress(OSError):  # held, taken over by another process at the same time, or none of ours
                lock_fd = _lock(folder)
                try:
                    adopted += self._take_over(folder)
                finally:
                    os.close(lock_fd)
        return adopted

    def keep_aside(self, line: bytes) -> None:
        path = self.root / REJECTED
        try:
            if not path.exists() or path.stat().st_size + len(line) <= self.limits.bytes_max:
                with path.open("ab", buffering=0) as file:
                    file.write(line)
        except OSError:
            log.exception("%s could not be written", path)

    def close(self) -> None:
        self.sync()
        with self._lock:
            self.seal()
            if self._lock_fd >= 0:
                if not self._sealed:
                    _remove_folder(self._folder)
                os.close(self._lock_fd)
                self._lock_fd = -1

    def let_go(self) -> None:
        for fd in (self._fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock_fd = -1

    def _take_over(self, folder: Path) -> int:
        segments = []
        try:
            for path in folder.glob("*.jsonl"):
                entries, damaged = readable(path.read_bytes())
                if damaged:
                    log.warning("%s has %d lines that a crash has torn; they were never confirmed", path, damaged)
                path.rename(self._path(segment := Segment(path.stem, path.stat().st_size, len(entries))))
                segments.append(segment)
            _sync(self._folder)
            _remove_folder(folder)
        finally:
            with self._lock:
                older = sorted([*self._sealed, *segments], key=lambda segment: segment.name)
                self._sealed.clear()
                self._sealed.extend(older)
        return sum(segment.entries for segment in segments)

    def _write(self, segment: Segment, data: bytes) -> None:
        try:
            if self._fd < 0:
                self._fd = os.open(self._path(segment), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
            written = 0
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError as error:
            # Half an entry must not stand in front of the next one.
            if self._fd >= 0:
                os.ftruncate(self._fd, segment.size)
            raise QueueFull(f"The spool at {self.root} cannot be written: {error}.") from error

    def _finish(self, segment: Segment) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _sync(self, segment: Segment) -> None:
        with suppress(FileNotFoundError):  # dropped meanwhile
            _sync(self._path(segment))
            _sync(self._folder)

    def _read(self, segment: Segment) -> list[bytes]:
        path = self._path(segment)
        return readable(path.read_bytes())[0] if path.exists() else []

    def _remove(self, segment: Segment) -> None:
        self._path(segment).unlink(missing_ok=True)

    def _path(self, segment: Segment) -> Path:
        return self._folder / f"{segment.name}.jsonl"


def readable(data: bytes) -> tuple[list[bytes], int]:
    """The entries of a segment that may end anywhere, and how many lines are none: torn by a crash, never confirmed."""
    *lines, torn = data.split(b"\n")
    entries = [line for line in lines if _is_entry(line)]
    return entries, len(lines) - len(entries) + bool(torn)


def _is_entry(line: bytes) -> bool:
    try:
        match json.loads(line):
            case [str(), str(), dict()]:
                return True
    except (ValueError, RecursionError):
        pass
    return False


def _lock(folder: Path, flags: int = 0) -> int:
    """The lock of a folder as an open file. Raises `OSError` where another process holds it or removed it."""
    fd = os.open(folder / LOCK, os.O_RDWR | flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_ino != (folder / LOCK).stat().st_ino:
            raise FileNotFoundError(f"{folder} was taken over by another process.")
    except OSError:
        os.close(fd)
        raise
    return fd


def _remove_folder(folder: Path) -> None:
    (folder / LOCK).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
