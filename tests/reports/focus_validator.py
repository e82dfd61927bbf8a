"""The validator of the FinOps Foundation, which wants a Python and libraries of its own: `.local` keeps them."""

import fcntl
import os
import shutil
import subprocess
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements-focus.lock"
HOME = ROOT / ".local" / f"focus-validator-{zlib.crc32(LOCK.read_bytes()):08x}"
INSTALLED = HOME / "installed"
# All that can apply to what teams are charged for calls of models: there are no zones, reservations or commitments.
CRITERIA = (
    "ACCOUNT_NAMING_SUPPORTED", "MULTIPLE_PRICING_CATEGORIES_SUPPORTED", "MULTIPLE_SUB_ACCOUNT_TYPES_SUPPORTED",
    "MULTIPLE_BILLING_ACCOUNT_TYPES_SUPPORTED", "NEGOTIATED_PRICING_SUPPORTED", "PUBLIC_PRICE_LIST_SUPPORTED",
    "USAGE_MEASUREMENT_SUPPORTED", "UNIT_PRICING_SUPPORTED", "SUB_ACCOUNT_SUPPORTED",
    "BILLING_BASED_ON_PROVISIONED_RESOURCES_SUPPORTED", "RESOURCE_TYPE_ASSIGNMENT_SUPPORTED",
    "PRICING_BILLING_CURRENCY_DIFFERENCES_SUPPORTED", "REGION_SUPPORTED", "TAGGING_SUPPORTED",
)  # fmt: skip


class Unavailable(Exception):
    """It cannot be run here; says why."""


@dataclass(frozen=True)
class Verdict:
    passed: int
    failed: frozenset[str]


def judge(file: Path) -> Verdict:
    """Raises `Unavailable`. The command says 0 whatever it finds, so that its report is read."""
    _install()
    report = file.with_suffix(".xml")
    [packages] = (HOME / "venv" / "lib").glob("python3*/site-packages")
    done = subprocess.run(
        [
            HOME / "venv" / "bin" / "focus-validator", "--data-file", file, "--validate-version", "1.2.0.1",
            "--block-download", "--focus-dataset", "CostAndUsage", "--applicability-criteria", ",".join(CRITERIA),
            "--output-type", "unittest", "--output-destination", report,
        ],
        # It looks for its list of currencies there.
        cwd=packages,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip
    assert report.exists(), done.stdout + done.stderr
    return _read(report)


def _read(report: Path) -> Verdict:
    passed, failed = 0, set()
    for case in ET.parse(report).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.add(str(case.get("name")).split(" ")[0])
        elif case.find("skipped") is None:
            passed += 1
    return Verdict(passed, frozenset(failed))


def _install() -> None:
    HOME.mkdir(parents=True, exist_ok=True)
    with _alone():
        if INSTALLED.exists():
            return
        _run(_python(), "-m", "venv", "--clear", HOME / "venv")
        _run(HOME / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", LOCK)
        INSTALLED.touch()


@contextmanager
def _alone() -> Iterator[None]:
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise Unavailable(f"focus-validator cannot be installed: {(done.stderr or done.stdout)[-300:]}")


def _python() -> str:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which("python3.12"), *sorted(map(str, pyenv.glob("versions/3.12*/bin/python3.12")))]
    for python in filter(None, found):
        # A shim of pyenv stands in the path for versions that are not chosen.
        asked = subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True, check=False)
        if not asked.returncode:
            return python
    raise Unavailable("focus-validator needs Python 3.12 with venv, which is not here.")
