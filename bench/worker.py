"""Work in a process of the worker's role, which the benchmarks' own process has not."""

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds: by the clock, which other work on the machine stretches; of a processor in the process itself; and in
    the Postgres backend that served it, None where that is not on this machine.
    """

    wall: float
    own: float
    postgres: float | None

    @property
    def processor(self) -> float | None:
        return None if self.postgres is None else self.own + self.postgres


def in_worker(work: Callable[[Any], None], secret: str) -> float:
    """The seconds that the work on the key's organization took, once the process was there."""
    return timed_in_worker(work, secret).wall


def timed_in_worker(work: Callable[[Any], None], secret: str) -> Took:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_as_worker, args=(work, secret, results))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"A worker of the benchmarks failed: {work.__name__}.")
    took: Took = results.get(timeout=10)
    return took


def _as_worker(work: Callable[[Any], None], secret: str, results: Any) -> None:
    os.environ["FINOPS_PROCESS"] = "worker"
    from bench import statements as store

    org = store.principal_for(secret, at=datetime.now(UTC)).organization
    backend = _one_backend()
    began, used, served = time.monotonic(), time.process_time(), _processor_seconds(backend)
    work(org)
    wall, own, after = time.monotonic() - began, time.process_time() - used, _processor_seconds(backend)
    results.put(Took(wall, own, None if served is None or after is None else after - served))


def _one_backend() -> int:
    """The process of this connection's backend, which gets no help from others: what it uses is all that is used."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET max_parallel_workers_per_gather = 0")
        cursor.execute("SELECT pg_backend_pid()")
        pid: int = cursor.fetchone()[0]
        return pid


def _processor_seconds(pid: int) -> float | None:
    """User and system time of a process that is a Postgres here."""
    try:
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return None
    fields = rest.split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if name.startswith("postgres") else None
