"""Acme's spend, as pages show it: Alice owns Acme, Bob views it, Charlie belongs to Globex."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from apps.accounts.models import User
from apps.accounts.services import get_or_create_user
from apps.organizations.models import Organization
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.teams.services import create_project, create_team, create_workflow
from tests.alerts.fixtures import allowed, hook, mail  # noqa: F401  (fixtures)
from tests.api.tenants import make_api, make_org
from tests.browser_binary import find_chromium
from tests.portal.looking import WIDE, Open
from tests.site import Site, site  # noqa: F401  (a fixture)
from tests.world import Api, make_event, unique

# What a name may hold and a page, a link, a script or a spreadsheet could take for its own.
HOSTILE_NAME = """=<script>alert(1)</script>"'&amp;+%41?#/../\u202e é"""


# How long before now the oldest event of a shop happened.
OLDEST = timedelta(hours=22 * 30)


@dataclass(frozen=True, slots=True)
class Shop:
    """An organization with spend, and the people who look at it."""

    org: Organization
    api: Api
    alice: User
    bob: User
    charlie: User

    def url(self, path: str = "") -> str:
        return f"/o/{self.org.slug}/{path}"


def make_person(name: str) -> User:
    """Without a password: hashing one costs more than most tests do."""
    return get_or_create_user(email=f"{unique(name)}@people.example")


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    # What a session's first page costs more than the others is no page's own.
    client.get("/o/")
    return client


def make_shop(zone: str = "UTC") -> Shop:
    org, stranger = make_org(zone), make_org()
    alice, bob, charlie = (make_person(name) for name in ("alice", "bob", "charlie"))
    add_member(org=org, user=alice, role=Role.OWNER, actor=None)
    add_member(org=org, user=bob, role=Role.VIEWER, actor=None)
    add_member(org=stranger, user=charlie, role=Role.OWNER, actor=None)
    return Shop(org, make_api(org), alice, bob, charlie)


def fill(shop: Shop, teams: tuple[str, ...] = ("search", "growth")) -> None:
    """Four weeks of events: known names and unknown ones, priced models and others, more than a page of one kind."""
    for slug in teams:
        team = create_team(org=shop.org, slug=slug)
        project = create_project(org=shop.org, slug=f"{slug}-project", team=team)
        create_workflow(org=shop.org, slug=f"{slug}-agent", project=project)
    shop.api.send(*_events(teams))


def _events(teams: tuple[str, ...]) -> Iterator[dict[str, object]]:
    now = datetime.now(UTC)
    named = [{"team": slug, "project": f"{slug}-project", "workflow": f"{slug}-agent"} for slug in teams]
    names: list[dict[str, object]] = [
        *named,
        {"project": f"{teams[0]}-project"},
        {"team": teams[0], "project": "attic", "workflow": HOSTILE_NAME},
        {"team": HOSTILE_NAME, "user": HOSTILE_NAME, "tags": {HOSTILE_NAME[:200]: HOSTILE_NAME}},
        {},
    ]
    models = [
        ("anthropic", "claude-sonnet-4-5"),
        ("openai", "gpt-5-mini"),
        ("openrouter", "REDACTED"),
        ("ollama", "REDACTED"),
        (HOSTILE_NAME, HOSTILE_NAME),
    ]
    for index, (where, (provider, model)) in enumerate((a, b) for b in models for a in names):
        yield make_event(
            provider=provider,
            model=model,
            occurred_at=(now - timedelta(hours=22 * (index + 1))).isoformat(),
            usage={"input_tokens": 1000 + index, "cache_read_tokens": 17 * index, "output_tokens": 3 + index},
            status=("ok", "error", "cancelled")[index % 3],
            environment=("prod", None)[index % 2],
            operation=("chat", None)[index % 2],
            run_id=f"run-{index % 4}",
            **where,
        )
    for index in range(60):
        yield make_event(
            occurred_at=(now - timedelta(minutes=index)).isoformat(),
            usage={"input_tokens": 10_000 + index, "output_tokens": 7},
            **named[0],
        )


@pytest.fixture(scope="package")
def shop() -> Shop:
    """Only looked at, never changed."""
    shop = make_shop("Asia/Kolkata")
    fill(shop)
    return shop


# Chromium as root, in a container with little shared memory, drawing without a graphics card.
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Playwright keeps an event loop in this thread. Beside one Django refuses to use the database, unless it is told
    to, and then uses connections that are only seen, and closed, while the loop runs."""
    found = find_chromium()
    assert found, "The browser tests need Chromium: run `python -m tests.browser_binary`."
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()
        connections.close_all()


@pytest.fixture
def look(browser: Browser, site: Site) -> Iterator[Open]:  # noqa: F811  (the fixture)
    """Opens pages, signed in as somebody; at the end no page may have complained on its console, but those on which
    requests fail on purpose, which are opened as `troubled`."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def opened(path: str, user: User | None = None, *, troubled: bool = False, **options: object) -> Page:
        context = browser.new_context(base_url=site.url, **{"viewport": WIDE, **options})
        contexts.append(context)
        if user is not None:
            session = client_of(user).cookies["session"].value
            context.add_cookies([{"name": "session", "value": session, "url": site.url}])
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if not troubled:
            page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
        page.goto(path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
