"""The project's own Postgres and Redis, for a machine that runs neither.

Every process of a checkout that needs them holds a shared lock meanwhile: the first one in starts the
servers, the last one out stops them, and servers left behind by a killed process are taken on by the next.

    python -m finops.embedded run -- COMMAND    starts them, runs COMMAND, stops them
    python -m finops.embedded status | stop | reset
"""

import argparse
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from finops import cluster as clusters
from finops.cluster import LOCAL, POSTGRES_PORT, Cluster, EmbeddedError, find_cluster, kept_token, listener
from finops.signals import ENDING_SIGNALS, end_with_parent, handling, signals_leave_the_block, undisturbed

LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Servers:
    """Where the servers answer; a URL that the environment leaves out is empty."""

    database_url: str
    database_worker_url: str
    database_owner_url: str
    redis_url: str


@contextmanager
def servers(name: str = "main", durable: bool = True) -> Iterator[Servers]:
    """Postgres and Redis, with their addresses in the environment, until the block ends.

    Where DATABASE_URL is set, those servers are used and nothing is started. A cluster that is not durable
    may lose its data in a power cut. SIGTERM and SIGHUP leave the block as SystemExit.
    """
    if os.environ.get("DATABASE_URL"):
        yield _external_servers()
        return
    if os.environ.get("REDIS_URL"):
        raise EmbeddedError("REDIS_URL is set and DATABASE_URL is not: set both, or neither to run embedded.")
    cluster = find_cluster(name)
    addresses = _addresses(cluster)
    children: list[subprocess.Popen[bytes]] = []
    with signals_leave_the_block(), _users_file(cluster).open("a") as membership:
        try:
            with _locked(_door(cluster)):
                fcntl.flock(membership, fcntl.LOCK_SH)
                clusters.start(cluster, durable=durable, children=children)
            with _exported(_environment(cluster, addresses)):
                yield addresses
        finally:
            with undisturbed(), _locked(_door(cluster)):
                if _holds_alone(membership):
                    clusters.stop(cluster, children)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m finops.embedded", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--name", help="which servers of this checkout (default: main; for reset: all)")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="start the servers, run a command without a terminal's input, stop")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    commands.add_parser("status", help="say what runs, and for whom")
    commands.add_parser("stop", help="stop servers that a killed process left behind")
    commands.add_parser("reset", help="stop the servers and delete their data")
    options = parser.parse_args(arguments)
    name = options.name or "main"
    try:
        if options.command == "run":
            argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
            return _run(name, argv) if argv else run.error("name a command after --")
        if options.command == "reset":
            return _reset([options.name] if options.name else _known_names())
        return _status(name) if options.command == "status" else _stop(name)
    except EmbeddedError as error:
        clusters.say(str(error))
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


# --- the commands -------------------------------------------------------------------------------------


def _run(name: str, argv: Sequence[str]) -> int:
    """The command gets a process group of its own, so that a signal reaches it once: from here.

    A terminal gives no input to such a group, so there the command gets none.
    """
    child: subprocess.Popen[bytes] | None = None
    pending: list[int] = []

    def forward() -> None:
        while child and pending:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, pending.pop(0))

    def receive(number: int, _frame: FrameType | None) -> None:
        pending.append(number)
        forward()

    with servers(name), _exported(_kept_secrets(LOCAL / name)), handling(ENDING_SIGNALS, receive):
        try:
            stdin = subprocess.DEVNULL if sys.stdin and sys.stdin.isatty() else None
            child = subprocess.Popen(
                argv,
                stdin=stdin,
                process_group=0,
                preexec_fn=end_with_parent,  # noqa: PLW1509  (this process has no other thread)
            )
        except OSError as error:
            raise EmbeddedError(f"{argv[0]} cannot be run: {error.strerror}.") from error
        forward()
        code = _wait(child)
    return code if code >= 0 else 128 - code


def _wait(child: "subprocess.Popen[bytes]") -> int:
    """Its exit code. Python handles a signal that comes just before a wait after it only: so no wait is long."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            return child.wait(timeout=LOOK_SECONDS)


def _status(name: str) -> int:
    cluster = find_cluster(name)
    for title, path in (("Postgres", cluster.postgres_socket), ("Redis", cluster.redis_socket)):
        pid = listener(path)
        _answer(f"{title}: {f'runs as process {pid}, {path}' if pid else 'does not run'}")
    _answer(f"Files: {cluster.home}, logs in {cluster.state}")
    _answer(f"Used by: {_users(cluster) or 'no process'}")
    return 0


def _stop(name: str) -> int:
    cluster = find_cluster(name)
    with undisturbed(), _unused(cluster):
        _answer("Stopped." if clusters.stop(cluster) else "Nothing was running.")
    return 0


def _reset(names: Sequence[str]) -> int:
    for name in names:
        cluster = find_cluster(name)
        with undisturbed(), _unused(cluster):
            clusters.stop(cluster)
            for folder in clusters.remove(cluster):
                _answer(f"Removed {folder}")
    if not names:
        _answer("Nothing to remove.")
    return 0


def _known_names() -> list[str]:
    return sorted(path.parent.name for path in LOCAL.glob("*/id"))


def _answer(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")


# --- who uses the servers -----------------------------------------------------------------------------


def _door(cluster: Cluster) -> Path:
    """Locked for the moment in which a process comes in or goes out."""
    return LOCAL / f"{cluster.name}.door"


def _users_file(cluster: Cluster) -> Path:
    """Locked, shared, by every process that uses the servers."""
    return LOCAL / f"{cluster.name}.users"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _holds_alone(membership: IO[str]) -> bool:
    """Exchange the shared lock for the whole; False, and no lock at all, if another process holds one."""
    try:
        fcntl.flock(membership, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(membership, fcntl.LOCK_UN)
        return False
    return True


@contextmanager
def _unused(cluster: Cluster) -> Iterator[None]:
    """Keep every process out, or refuse where one is in."""
    with _locked(_door(cluster)), _users_file(cluster).open("a") as membership:
        if not _holds_alone(membership):
            who = _users(cluster) or "another process"
            raise EmbeddedError(f"The servers ({cluster.name}) are used by {who}: end it first.")
        yield


def _users(cluster: Cluster) -> str:
    """The processes that hold the users' lock, where the kernel tells."""
    try:
        inode = str(_users_file(cluster).stat().st_ino)
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except FileNotFoundError:
        return ""
    pids = [lock[4] for lock in locks if lock[1] == "FLOCK" and lock[5].rpartition(":")[2] == inode]
    return ", ".join(f"process {pid}" for pid in pids)


# --- the environment ----------------------------------------------------------------------------------


def _addresses(cluster: Cluster) -> Servers:
    at = f"finops?host={cluster.sockets}&port={POSTGRES_PORT}"
    return Servers(
        database_url=f"postgresql://finops_app@/{at}",
        database_worker_url=f"postgresql://finops_worker@/{at}",
        database_owner_url=f"postgresql://finops_owner@/{at}",
        redis_url=f"unix://{cluster.redis_socket}",
    )


def _external_servers() -> Servers:
    url = os.environ["DATABASE_URL"]
    return Servers(
        database_url=url,
        database_worker_url=os.environ.get("DATABASE_WORKER_URL") or url,
        database_owner_url=os.environ.get("DATABASE_OWNER_URL", ""),
        redis_url=os.environ.get("REDIS_URL", ""),
    )


def _environment(cluster: Cluster, addresses: Servers) -> dict[str, str]:
    """The addresses, and kept secrets."""
    values = {
        "FINOPS_EMBEDDED": "1",
        "DATABASE_URL": addresses.database_url,
        "DATABASE_WORKER_URL": addresses.database_worker_url,
        "DATABASE_OWNER_URL": addresses.database_owner_url,
        "REDIS_URL": addresses.redis_url,
    }
    return values | _kept_secrets(cluster.state)


def _kept_secrets(folder: Path) -> dict[str, str]:
    """Secrets that stay the same from start to start, unless the environment gives them."""
    kept = {}
    for variable, file in (("SECRET_KEY", "secret_key"), ("ENCRYPTION_KEYS", "encryption_keys")):
        if os.environ.get(variable) or os.environ.get(f"{variable}_FILE"):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        kept_token(folder / file)
        kept[f"{variable}_FILE"] = str(folder / file)
    return kept


@contextmanager
def _exported(values: Mapping[str, str]) -> Iterator[None]:
    previous = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, old in previous.items():
            if old is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = old


if __name__ == "__main__":
    sys.exit(main())
