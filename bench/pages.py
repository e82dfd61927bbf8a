"""What a person waits for: home, explorer and a run in Chromium, from an empty and from a full cache.

The site is served as in production, static files compressed and named by content. Interactive is the latest of
DOMContentLoaded, the last chart on the screen (every `[data-chart]` has its svg) and the end of the last long task
(50 ms or more in one piece). Bytes are those on the wire, heads and compression included; requests are those that
sent any. Times are counted from the start of the navigation.
"""

import contextlib
import io
import itertools
import json
import statistics
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from playwright.sync_api import Browser, BrowserContext, sync_playwright

from bench.events import BATCH_EVENTS, events, names
from bench.site import serving
from bench.spend import roll_up
from tests.browser_binary import find_chromium

EVENTS = 20_000
LENGTH = timedelta(days=30)
RUN, RUN_STEPS, STEP = "pages-run", 60, timedelta(seconds=20)
REPEATS = 5
# Below the organization's address.
PAGES = {"home": "", "explorer": "spend", "run": f"runs/{RUN}"}
WINDOW = {"width": 1440, "height": 900}
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
# Without a long task for so long after the last chart, nothing comes any more.
QUIET_MS = 1_000

_OBSERVED = """
window.seen = { shift: 0, task: 0, charts: null };
const watch = (type, note) =>
  new PerformanceObserver((list) => list.getEntries().forEach(note)).observe({ type, buffered: true });
watch("layout-shift", (entry) => { if (!entry.hadRecentInput) seen.shift += entry.value; });
watch("longtask", (entry) => { seen.task = Math.max(seen.task, entry.startTime + entry.duration); });
const look = () => {
  const places = [...document.querySelectorAll("[data-chart]")];
  const drawn = places.every((place) => place.querySelector("svg")?.getBoundingClientRect().height > 0);
  if (document.readyState === "complete" && drawn) seen.charts = places.length && performance.now();
  else requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
_READ = """() => {
  const [visit] = performance.getEntriesByType("navigation");
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  return {
    first_byte_ms: visit.responseStart,
    first_paint_ms: paint.startTime,
    interactive_ms: Math.max(visit.domContentLoadedEventEnd, seen.charts, seen.task),
    layout_shift: seen.shift,
  };
}"""


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at a page."""

    first_byte_ms: float
    first_paint_ms: float
    interactive_ms: float
    layout_shift: float
    kilobytes: float
    requests: int


# Name, unit, digits, what it is.
FIGURES = {
    "first_byte_ms": ("first_byte", "ms", 1, "the first byte of the page"),
    "first_paint_ms": ("first_paint", "ms", 0, "first contentful paint"),
    "interactive_ms": ("interactive", "ms", 0, "page read, charts drawn, no long task"),
    "layout_shift": ("layout_shift", "score", 4, "cumulative layout shift"),
    "kilobytes": ("bytes", "kB", 1, "on the wire"),
    "requests": ("requests", "requests", 0, "that sent bytes"),
}
AIMS = {("cold", "interactive_ms"): "aim: under 1,000", ("cold", "kilobytes"): "aim: under 400 with charts"}


def measure() -> Iterator[dict[str, Any]]:
    """Medians of `REPEATS` looks at each page with each cache."""
    _collect()
    with serving() as site:
        place, cookie = _filled(site.url)
        looks = _looked_at(site.url, place, cookie)
    for (page, cache), seen in looks.items():
        for field, (name, unit, digits, said) in FIGURES.items():
            value = statistics.median(asdict(one)[field] for one in seen)
            parts = (said, f"{cache} cache", f"median of {REPEATS}", AIMS.get((cache, field), ""))
            yield {
                "name": f"page_{page}_{cache}_{name}",
                "value": round(value, digits) if digits else round(value),
                "unit": unit,
                "detail": ", ".join(part for part in parts if part),
            }


def _collect() -> None:
    """The static files, as a start in production makes them."""
    from django.core.management import call_command

    with contextlib.redirect_stdout(io.StringIO()):
        call_command("build_charts_js", verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)


def _filled(url: str) -> tuple[str, str]:
    """An organization with a month of events and a run of `RUN_STEPS` steps: its address, and its owner's session."""
    from django.test import Client

    from apps.accounts.services import get_or_create_user
    from apps.organizations.services import create_organization, issue_key
    from apps.teams.services import create_on_first_sight

    now = datetime.now(UTC)
    org = create_organization(name=f"pages {now:%H %M %S}", owner_email="pages@bench.example")
    create_on_first_sight(org=org, seen=names(), actor="bench")
    secret = issue_key(org=org, name="pages", scopes=["ingest", "read"]).secret
    source = events(f"pages-{now.timestamp():.0f}", since=now - LENGTH, until=now)
    for _ in range(EVENTS // BATCH_EVENTS):
        _send(url, secret, itertools.islice(source, BATCH_EVENTS))
    one_run = (
        {**event, "event_id": f"{RUN}-{step}", "run_id": RUN, "step": step, "workflow": "workflow-1",
         "occurred_at": (now - STEP * (RUN_STEPS - step)).isoformat()}
        for step, event in enumerate(itertools.islice(source, RUN_STEPS))
    )  # fmt: skip
    _send(url, secret, one_run)
    roll_up(secret)
    client = Client()
    client.force_login(get_or_create_user(email="pages@bench.example"))
    return f"/o/{org.slug}/", client.cookies["session"].value


def _send(url: str, secret: str, batch: Iterator[dict[str, Any]]) -> None:
    head = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/api/v1/events", json.dumps(list(batch)).encode(), head)
    with urllib.request.urlopen(request) as answer:
        counted = json.load(answer)
    assert counted["rejected"] == counted["conflicts"] == 0, counted


def _looked_at(url: str, place: str, cookie: str) -> dict[tuple[str, str], list[Sight]]:
    found = find_chromium()
    if found is None:
        raise SystemExit("This needs Chromium: run `python -m tests.browser_binary`.")
    looks: dict[tuple[str, str], list[Sight]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        for page, path in PAGES.items():
            # The first look is the server's own warming up.
            for number in range(REPEATS + 1):
                cold, warm = _pair(browser, url, place + path, cookie)
                if number:
                    looks.setdefault((page, "cold"), []).append(cold)
                    looks.setdefault((page, "warm"), []).append(warm)
        browser.close()
    return looks


def _pair(browser: Browser, url: str, path: str, cookie: str) -> tuple[Sight, Sight]:
    """The first look of a browser at the site, and the next one."""
    context = browser.new_context(base_url=url, viewport=WINDOW)  # type: ignore[arg-type]
    context.add_cookies([{"name": "session", "value": cookie, "url": url}])
    context.add_init_script(_OBSERVED)
    pair = _look(context, path), _look(context, path)
    context.close()
    return pair


def _look(context: BrowserContext, path: str) -> Sight:
    page = context.new_page()
    wire = context.new_cdp_session(page)
    sent: list[float] = []
    wire.on("Network.loadingFinished", lambda one: sent.append(one["encodedDataLength"]))
    wire.send("Network.enable")
    response = page.goto(path)
    assert response is not None
    assert response.status == 200, (path, response.status)
    page.wait_for_function("seen.charts !== null")
    page.wait_for_timeout(QUIET_MS)
    read = page.evaluate(_READ)
    page.close()
    counted = [size for size in sent if size]
    return Sight(**read, kilobytes=sum(counted) / 1000, requests=len(counted))
