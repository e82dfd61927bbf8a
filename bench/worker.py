"""Work in a process of the worker's role, which the benchmarks' own process has not."""

import multiprocessing
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any


def in_worker(work: Callable[[Any], None], secret: str) -> float:
    """The seconds that the work on the key's organization took, once the process was there."""
    return timed_in_worker(work, secret)[0]


def timed_in_worker(work: Callable[[Any], None], secret: str) -> tuple[float, float]:
    """The same, and the seconds of a processor that the process itself used: a machine may have other work."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_as_worker, args=(work, secret, results))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"A worker of the benchmarks failed: {work.__name__}.")
    seconds: tuple[float, float] = results.get(timeout=10)
    return seconds


def _as_worker(work: Callable[[Any], None], secret: str, results: Any) -> None:
    os.environ["FINOPS_PROCESS"] = "worker"
    from bench import statements as store

    org = store.principal_for(secret, at=datetime.now(UTC)).organization
    began, used = time.monotonic(), time.process_time()
    work(org)
    results.put((time.monotonic() - began, time.process_time() - used))
