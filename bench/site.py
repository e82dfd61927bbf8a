"""A real site for the benchmarks: embedded servers with durable commits, a web server, an organization."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS_MAX = 60
END_SECONDS_MAX = 10


@dataclass(frozen=True, slots=True)
class Site:
    """Where the site answers, and its processes: the server first, then its workers."""

    url: str
    pid: int

    def workers(self) -> list[int]:
        """The processes that answer, the oldest first."""
        return sorted(_children(self.pid), key=lambda pid: int(Path(f"/proc/{pid}/stat").read_text().split()[21]))

    def peak_memory_bytes(self) -> int:
        """The largest resident set that any one process of the web server ever had."""
        pids = [self.pid, *_children(self.pid)]
        return max(_status_kilobytes(pid, "VmHWM") for pid in pids) * 1024


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


GRANIAN = (
    "granian --interface wsgi --host 127.0.0.1 --port {port} --workers {workers} --blocking-threads {threads}"
    " --respawn-failed-workers --respawn-interval 0.5"
)
GUNICORN = "gunicorn --bind 127.0.0.1:{port} --workers {workers} --threads {threads} --log-level error"
APPLICATION = "finops.wsgi:application"


@contextmanager
def serving(
    command: str = GRANIAN,
    *,
    workers: int = 2,
    threads: int = 4,
    settings: str = "finops.settings",
    base_url: str = "",
) -> Iterator[Site]:
    """The site behind a web server; the databases are those of the environment. `base_url` is its own unless named."""
    port = free_port()
    programs = Path(sys.executable).parent
    words = [*command.format(port=port, workers=workers, threads=threads).split(), APPLICATION]
    environment = {
        **os.environ,
        "BASE_URL": base_url or f"http://127.0.0.1:{port}",
        "FINOPS_PROCESS": "web",
        "LOG_LEVEL": "ERROR",
        "DJANGO_SETTINGS_MODULE": settings,
        "PYTHONWARNINGS": "ignore:No directory at",  # of static files, which nobody asks for here
    }
    with subprocess.Popen([programs / words[0], *words[1:]], env=environment, stdout=subprocess.DEVNULL) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            _await(url, server)
            yield Site(url, server.pid)
        finally:
            _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """A worker that was killed a moment ago keeps the server from ending."""
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(timeout=END_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        for pid in (server.pid, *_children(server.pid)):
            os.kill(pid, signal.SIGKILL)


def _await(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(f"The web server ended with status {server.returncode}.")
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=2).read()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"{url} did not answer within {START_SECONDS_MAX} seconds.")


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        text = (task / "children").read_text()
        found += [int(child) for child in text.split()]
    return found + [grandchild for child in found for grandchild in _children(child)]


def _status_kilobytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0
