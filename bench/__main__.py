"""`python -m bench` runs everything; with a word, a part of it: `servers` compares web servers, `rerating` re-rates,
`spend` asks for spend, `focus` writes a FOCUS file, `decisions` decides, `caps` is the short proof that caps hold, and
`chaos` the long one. Each of `MODULES` is a part of its own, and says at its head what it measures.
"""

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import django

from finops.embedded import servers

# Parts that need no traffic of others: `measure()` of the module of this name.
MODULES = (
    "estimate", "plans", "variance", "forecast", "forecast_settings", "signals", "watch", "savings", "pages", "runaway",
)  # fmt: skip


def main() -> None:
    os.environ["LOG_LEVEL"] = "ERROR"
    os.environ["API_REQUESTS_PER_MINUTE"] = "1000000"
    with servers("bench"):
        secret = _prepare()
        part = "".join(sys.argv[1:])
        chosen = {
            "servers": _servers, "rerating": _rerating, "decisions": _decisions, "caps": _caps, "chaos": _chaos,
            "spend": _spend, "focus": _focus, "signals-full": _signals_full,
        }.get(part, _everything)  # fmt: skip
        for line in _module(part) if part in MODULES else chosen(secret):
            print(json.dumps(line, ensure_ascii=False), flush=True)


def _prepare() -> str:
    """A migrated database and an organization; the key of a client."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "finops.settings")
    django.setup()  # here, where the servers' addresses are known
    from django.core.management import call_command

    with contextlib.redirect_stdout(io.StringIO()):
        call_command("migrate", verbosity=0)
    worker = {**os.environ, "FINOPS_PROCESS": "worker"}
    subprocess.run([sys.executable, "manage.py", "load_catalog"], env=worker, check=True, stdout=subprocess.DEVNULL)
    return _organization()


def _organization() -> str:
    """An organization with its names; the key of a client."""
    from apps.organizations.services import create_organization, issue_key
    from apps.teams.services import create_on_first_sight
    from bench.events import names

    org = create_organization(name=f"bench {time.time_ns()}", owner_email="bench@example.com")
    create_on_first_sight(org=org, seen=names(), actor="bench")
    return issue_key(org=org, name="bench", scopes=["ingest", "read"]).secret


def _module(name: str) -> Iterator[dict[str, Any]]:
    measured: Iterator[dict[str, Any]] = importlib.import_module(f"bench.{name}").measure()
    return measured


def _everything(secret: str) -> Iterator[dict[str, Any]]:
    from bench import (
        caps,
        cost_agreement,
        decisions,
        door,
        focus,
        ingest,
        leasing,
        pricing,
        rerating,
        spend,
    )
    from bench.site import serving

    yield from cost_agreement.measure()
    yield from pricing.measure()
    for name in ("estimate", "plans", "variance", "forecast", "signals", "watch", "savings"):
        yield from _module(name)
    yield from door.measure()
    with serving() as site:
        yield from ingest.measure(site.url, secret)
        memory = site.peak_memory_bytes()
    yield {
        "name": "web_peak_memory",
        "value": round(memory / 2**20, 1),
        "unit": "MiB",
        "detail": "largest web process, after the ingestion rounds",
    }
    yield from _module("pages")
    # Of their own: the traffic above is all of today, more in minutes than a month's day is.
    month = _organization()
    yield from spend.measure(month)
    yield from rerating.measure(month)
    yield from focus.measure(_organization())
    yield from decisions.measure()
    yield from leasing.measure()
    yield from _module("runaway")
    yield from caps.measure(caps.SHORT)


def _spend(secret: str) -> Iterator[dict[str, Any]]:
    from bench import spend

    return spend.measure(secret)


def _focus(secret: str) -> Iterator[dict[str, Any]]:
    from bench import focus

    return focus.measure(secret)


def _servers(secret: str) -> Iterator[dict[str, Any]]:
    from bench import ingest
    from bench.site import GRANIAN, GUNICORN, serving

    for name, command in (("granian", GRANIAN), ("gunicorn", GUNICORN)):
        for workers, threads in ((2, 4), (2, 16)):
            with serving(command, workers=workers, threads=threads) as site:
                for line in ingest.measure(site.url, secret):
                    if line["name"] != "ingest_ceiling":
                        yield {**line, "name": f"{name}_{workers}x{threads}_{line['name']}"}
                yield {
                    "name": f"{name}_{workers}x{threads}_memory",
                    "value": round(site.peak_memory_bytes() / 2**20, 1),
                    "unit": "MiB",
                    "detail": "largest web process",
                }


def _rerating(secret: str) -> Iterator[dict[str, Any]]:
    from bench import rerating, spend

    yield spend.load(secret, datetime.now(UTC))
    yield from rerating.measure(secret)


def _decisions(secret: str) -> Iterator[dict[str, Any]]:
    from bench import decisions, leasing

    yield from decisions.measure()
    yield from leasing.measure()


def _caps(secret: str) -> Iterator[dict[str, Any]]:
    from bench import caps

    yield from caps.measure(caps.SHORT)


def _signals_full(secret: str) -> Iterator[dict[str, Any]]:
    from bench import signals

    return signals.measure(signals.FULL)


def _chaos(secret: str) -> Iterator[dict[str, Any]]:
    from bench import caps

    yield from caps.measure(caps.LONG)


if __name__ == "__main__":
    main()
