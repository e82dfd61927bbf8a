"""Charlie of Globex tries Acme's ids, names and cursors in every position of every operation and page.

The answer must equal the one for what never existed, hold nothing of Acme's, and change nothing of Acme's: with
both walls, and with either one gone.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.test import Client
from django.urls import URLPattern, get_resolver

from apps.accounts.models import User
from apps.api.errors import not_found
from tests.api.broken_walls import without_filters, without_policies, without_walls
from tests.api.recipes import API, PAGES, PUBLIC, Recipe
from tests.api.stage import BY_UUID, CANARY, NUMBERED, Names, Stage, checksums, fill, set_acme, set_stage
from tests.world import Tenant

OPERATIONS = {**API, **PAGES}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# What differs between any two answers.
_VOLATILE = re.compile(
    "|".join(
        (
            r"\d{4}-\d\d-\d\dT(?:[\d:.]|%3A)+(?:Z|(?:[+-]|%2B)\d\d(?::|%3A)\d\d)?",  # times
            r"\b\d\d:\d\d(?::\d\d)?\b|\b\d{13}\b",
            r"just now|(?:in )?\d+\u202f(?:s|min|h|d)\b(?: ago)?",  # ages
            r"\b[0-9a-f]{32}\b|\b[0-9a-f]{64}\b",  # ids of requests, hashes of drafts
            r"(?<=/plans/)\d+",
            r"\"id\":\d+|(?<=/budgets/)\d+|\b[a-z]+-(?:main|gw\d+)-\d+-\d+\b",  # new rows, and names made for one call
            r"whsec_[\w+/=]+|\bmsg_[0-9a-f]{32}\b|\"(?:id|\w+_id)\":\"[0-9a-f-]{36}\"",  # of new rows
            r"(?<=data-forecast>).*?(?=</span>)|\"rate\": \[[^\]]*\]|(?<=comes to )\S+(?= USD)",  # less every second
            r"(?<=forecast_usd\":)\"[^\"]*\"|(?<=Forecast of the month, USD</dt><dd>)[^<]*",  # of a month that runs
            r"aif_live_[\w\\…]+|(?<=nonce-)[\w+/=-]+|(?<=nonce=\")[^\"]+|(?<=csrfmiddlewaretoken\" value=\")\w+",
            # Of the form of an adjustment, new with each page.
            r"(?<=request_id\" value=\")[0-9a-f-]{36}",
        )
    )
)
# A plan of the month under way is held to its part so far, in which every number moves with each second.
_SO_FAR = ('"so_far":true', "<dt>Plan so far</dt>")
_AMOUNT = re.compile(r"-?\d+(?:[.,\u202f]\d+)*")

Position = tuple[str, str]
Asked = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    query: Mapping[str, str]
    body: Any = None


@dataclass(frozen=True)
class Answer:
    """What a caller can tell two responses apart by."""

    status: int
    headers: str
    text: str

    @property
    def steady(self) -> "Answer":
        """Without what differs between any two answers."""
        text = _VOLATILE.sub("~", self.text)
        if any(mark in text for mark in _SO_FAR):
            text = _AMOUNT.sub("~", text)
        return Answer(self.status, _VOLATILE.sub("~", self.headers), text)


class Caller:
    """Somebody's ways in: a key for the API, a session for the pages."""

    def __init__(self, side: Tenant | None, user: User | None) -> None:
        self.key = side.api.headers if side else {}
        self.api, self.browser = Client(raise_request_exception=False), Client(raise_request_exception=False)
        if user:
            self.browser.force_login(user)

    def send(self, call: Call) -> Answer:
        is_api = call.path.startswith("/api/")
        # What an act before said on the page that follows it is no part of this answer.
        self.browser.cookies.pop("messages", None)
        response = (self.api if is_api else self.browser).generic(
            call.method,
            call.path,
            _encoded(call.body, is_api),
            "application/json" if is_api else "application/x-www-form-urlencoded",
            query_params=dict(call.query),
            headers=self.key if is_api else {},
        )
        headers = sorted((k, v) for k, v in response.headers.items() if k not in ("Content-Length", "X-Request-Id"))
        return Answer(response.status_code, repr(headers), _text_of(response))


def _text_of(response: Any) -> str:
    """What the answer says. PDFs and workbooks are packed: the CSV of the same statement says it."""
    body: bytes = response.getvalue()
    return "packed" if body.startswith((b"%PDF", b"PK")) else body.decode(errors="backslashreplace")


def _encoded(body: Any, is_api: bool) -> bytes:
    """The API reads JSON, a page its forms."""
    if body is None:
        return b""
    return json.dumps(body).encode() if is_api else urlencode(body).encode()


# --- calls -------------------------------------------------------------------------------------------


def positions(recipe: Recipe) -> Iterator[Position]:
    for kind in ("path", "query", "body"):
        # A text without a name in it is nobody's.
        yield from ((kind, name) for name, text in getattr(recipe, kind).items() if not _is_fixed(text))


def _is_fixed(text: Any) -> bool:
    return isinstance(text, str) and "{" not in text


def call(operation: str, own: Names, position: Position = ("", ""), meant: Names | None = None) -> Call:
    """The operation with the caller's own names, but for one position: there stand the names that are meant."""
    (method, template), recipe, meant = operation.split(" "), OPERATIONS[operation], meant or own
    path = {name: (meant if position == ("path", name) else own).fill(text) for name, text in recipe.path.items()}
    is_write = method != "GET"
    query = {
        name: text
        for name, text in recipe.query.items()
        if position == ("query", name) or (is_write and _is_fixed(text))
    }
    body = {name: text for name, text in recipe.body.items() if position == ("body", name)}
    fields = recipe.wrap({**recipe.needs(own), **meant.fill(body)}) if is_write else None
    return Call(method, template.format_map(path), meant.fill(query), fields)


def baseline(stage: Stage, caller: Caller) -> Iterator[tuple[Asked, Answer]]:
    """What Charlie reads of Globex, one after the other: who has seen enough asks no further."""
    own = stage.globex_names
    for operation, recipe in OPERATIONS.items():
        plain = call(operation, own)
        for query in ({}, *recipe.asks) if plain.method == "GET" else ():
            yield (operation, tuple(query.items())), caller.send(replace(plain, query=own.fill(query)))


# --- the probe ---------------------------------------------------------------------------------------


@pytest.fixture
def theatre() -> "Theatre":
    return open_theatre()


@dataclass
class Theatre:
    """A stage, Charlie, and what Charlie read while Acme had no data."""

    stage: Stage
    charlie: Caller
    before: dict[Asked, Answer]


def open_theatre() -> Theatre:
    stage = set_stage()
    fill(stage.globex, stage.globex_names)
    charlie = Caller(stage.globex, stage.globex.owner)
    before = dict(baseline(stage, charlie))
    fill(stage.acme, stage.acme_names)
    return Theatre(stage, charlie, before)


def leaks(theatre: Theatre) -> list[str]:
    """What Charlie can tell of Acme, and what Charlie changed there."""
    untouched = checksums(theatre.stage.acme)
    found = [*reading_leaks(theatre), *naming_leaks(theatre)]
    after = checksums(theatre.stage.acme)
    return found + [f"{table} of Acme was changed" for table in after if after[table] != untouched[table]]


def reading_leaks(theatre: Theatre) -> Iterator[str]:
    """Where Charlie's own pages and lists changed when Acme got its data."""
    for asked, answer in baseline(theatre.stage, theatre.charlie):
        if CANARY in answer.text + answer.headers:
            yield f"{asked} shows a name of Acme's"
        elif answer.steady != theatre.before[asked].steady:
            yield f"{asked} depends on Acme's data"


def naming_leaks(theatre: Theatre) -> Iterator[str]:
    """Where a name of Acme's is answered otherwise than a name of nobody's."""
    stage, send = theatre.stage, theatre.charlie.send
    # What Charlie writes under Acme's names is Charlie's own: read first.
    for operation, recipe in sorted(OPERATIONS.items(), key=lambda pair: not pair[0].startswith("GET")):
        for position in positions(recipe):
            named = send(call(operation, stage.globex_names, position, stage.acme_names))
            unnamed = send(call(operation, stage.globex_names, position, stage.nobodys_names))
            sent = _texts(recipe, position)
            if named.status >= 500 or unnamed.status >= 500:
                yield f"{operation} {position} fails"
            elif CANARY in _without(named, stage.acme_names, sent):
                yield f"{operation} {position} shows a name of Acme's"
            elif named.steady != _as_if(unnamed, stage.acme_names).steady:
                yield f"{operation} {position} tells Acme's name from nobody's"


def _texts(recipe: Recipe, position: Position) -> list[str]:
    """The templates of what was sent in the position, and of each name in them."""
    kind, name = position
    template = getattr(recipe, kind)[name]
    sent = [name, *template, *template.values()] if isinstance(template, Mapping) else [name, template]
    return sent + re.findall(r"\{\w+\}", " ".join(sent))


def _without(answer: Answer, names: Names, sent: list[str]) -> str:
    """The answer without echoes of what was sent."""
    text = answer.text + answer.headers
    for template in sorted(sent, key=len, reverse=True):
        value = names.fill(template)
        if CANARY in value:
            text = text.replace(value, "").replace(quote(value, safe=""), "").replace(quote(value), "")
    return text


def _as_if(unnamed: Answer, acme: Names) -> Answer:
    """The answer to a name of nobody's, spelled as if Acme's had been sent."""
    nobody = acme.nobodys
    headers, text = unnamed.headers, unnamed.text
    for kind in ("cursor", *NUMBERED, *BY_UUID):
        text = text.replace(nobody.values[kind], acme.values[kind])
    return Answer(unnamed.status, headers.replace(nobody.word, acme.word), text.replace(nobody.word, acme.word))


# --- the tests ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "walls",
    [
        pytest.param(nullcontext, id="both walls"),
        pytest.param(without_filters, id="row-level security alone"),
        pytest.param(without_policies, id="filters alone"),
    ],
)
def test_a_stranger_learns_and_changes_nothing(
    theatre: Theatre, walls: Callable[[], AbstractContextManager[None]]
) -> None:
    with walls():
        assert leaks(theatre) == []


# A workflow and an owner are read together with their project.
READ_TABLES = [
    {"teams_team"},
    {"teams_project"},
    {"teams_workflow", "teams_project"},
    {"teams_alias"},
    {"teams_attributionrule", "teams_team"},
    {"organizations_apikey"},
    {"organizations_zone"},
    {"pricing_contract"},
    {"pricing_modelalias"},
    {"reports_allocationpool"},
    {"planner_plan"},
    {"planner_plan", "planner_planversion"},
    {"planner_plan", "planner_plandecision"},
    {"usage_event"},
    {"usage_delta"},
    {"usage_hourrollup"},
    {"usage_dayrollup"},
    {"usage_userdelta"},
    {"usage_userhourrollup"},
    {"usage_userdayrollup"},
    {"usage_rerating"},
    {"usage_forecast"},
    {"reports_statement"},
    {"reports_adjustment"},
    {"reports_exchangerate"},
    {"reports_monthstep"},
    {"reports_dispute"},
    {"insights_recommendation"},
    {"insights_adoption"},
    {"budgets_budget"},
    {"budgets_stop"},
    {"budgets_reservation"},
    {"alerts_channel"},
    {"alerts_delivery"},
    {"alerts_recipient"},
    {"alerts_statementmail"},
    {"audit_auditentry"},
]


@pytest.fixture(scope="module")
def watched() -> Theatre:
    """For tests that only read."""
    return open_theatre()


@pytest.mark.parametrize("tables", READ_TABLES, ids=lambda tables: ", ".join(sorted(tables)))
def test_the_probe_sees_a_table_without_walls(watched: Theatre, tables: set[str]) -> None:
    with without_walls(tables):
        assert any(reading_leaks(watched))


def test_the_probe_sees_nothing_once_the_walls_are_back(watched: Theatre) -> None:
    with without_walls({"usage_event", "teams_team"}):
        pass
    assert list(reading_leaks(watched)) == []


def test_a_key_or_a_session_is_needed(watched: Theatre) -> None:
    stage, nobody = watched.stage, Caller(None, None)
    for operation in OPERATIONS:
        refused = nobody.send(call(operation, stage.acme_names))
        assert refused.status == (302 if operation in PAGES else 401), operation
        assert CANARY not in refused.text.replace(call(operation, stage.acme_names).path, ""), operation


LOOKED_UP = {
    "POST /api/v1/events": {("body", "event_id")},
    "POST /api/v1/aliases": {("body", "slug")},
    "POST /api/v1/keys/{key_id}/revoke": {("path", "key_id")},
    "POST /api/v1/keys/{key_id}/rotate": {("path", "key_id")},
    "POST /api/v1/invitations/{invitation_id}/revoke": {("path", "invitation_id")},
    "PATCH /api/v1/members/{member_id}": {("path", "member_id")},
    "POST /api/v1/allocations/preview": {("body", "replaces")},
    "POST /api/v1/plans": {("body", "team"), ("body", "project"), ("body", "owner")},
    "PATCH /api/v1/plans/{plan_id}": {("path", "plan_id"), ("body", "team"), ("body", "project"), ("body", "owner")},
    **{
        f"POST /api/v1/plans/{{plan_id}}/{act}": {("path", "plan_id")}
        for act in ("approve", "reject", "launch", "budgets")
    },
    "POST /api/v1/plans/fit": {("body", "workflow")},
    "POST /api/v1/projects": {("body", "team")},
    "POST /api/v1/projects/{slug}/move": {("path", "slug"), ("body", "team")},
    "POST /api/v1/workflows": {("body", "project")},
    "PATCH /api/v1/teams/{slug}": {("path", "slug")},
    "PATCH /api/v1/projects/{slug}": {("path", "slug")},
    "PATCH /api/v1/workflows/{slug}": {("path", "slug"), ("body", "owner")},
    "POST /api/v1/workflows/{slug}/move": {("path", "slug"), ("body", "project")},
    "POST /api/v1/attribution-rules": {("body", "team"), ("body", "project"), ("body", "workflow")},
    "POST /api/v1/attribution-rules/preview": {("body", "team"), ("body", "project"), ("body", "workflow")},
    "PUT /api/v1/attribution-rules/{rule_id}": {("path", "rule_id"), ("body", "team")},
    "POST /api/v1/attribution-rules/{rule_id}/move": {("path", "rule_id")},
    "POST /api/v1/statements/recipients": {("body", "team")},
    "PATCH /api/v1/alerts/channels/{channel_id}": {("path", "channel_id"), ("body", "team")},
    "POST /api/v1/alerts/channels": {("body", "team")},
    "POST /api/v1/alerts/channels/{channel_id}/test": {("path", "channel_id")},
    "POST /api/v1/alerts/channels/{channel_id}/rotate": {("path", "channel_id")},
    "POST /api/v1/alerts/channels/{channel_id}/enable": {("path", "channel_id")},
    "POST /api/v1/alerts/channels/{channel_id}/disable": {("path", "channel_id")},
    "POST /api/v1/alerts/deliveries/{delivery_id}/retry": {("path", "delivery_id")},
    "POST /api/v1/statements/adjustments": {("body", "team")},
    "POST /api/v1/statements/disputes/{dispute_id}/move": {("path", "dispute_id")},
    "POST /api/v1/statements/{statement_id}/finalize": {("path", "statement_id")},
    "POST /api/v1/reratings/{rerating_id}/resume": {("path", "rerating_id")},
    "POST /api/v1/reratings/{rerating_id}/stop": {("path", "rerating_id")},
    "POST /api/v1/reratings/{rerating_id}/post": {("path", "rerating_id")},
}
# Each wants a stage of its own: one re-rating is under way at a time, and what is removed or ended is gone.
ALONE = {
    "POST /api/v1/reratings",
    "POST /api/v1/reratings/{rerating_id}/resume",
    "POST /o/{slug}/reratings/new",
    # Who left, and what was handed over or deleted, cannot do the next one.
    "POST /o/{slug}/members/leave",
    "POST /o/{slug}/members/{member_id}/transfer",
    "POST /o/{slug}/members/{member_id}/remove",
    "POST /o/{slug}/members/{member_id}",
    "POST /o/{slug}/members/invitations/{invitation_id}/{act}",
    "POST /o/{slug}/keys/{key_id}/revoke",
    "POST /o/{slug}/keys/{key_id}/rotate",
    "POST /o/{slug}/organization/delete",
    "POST /o/{slug}/single-sign-on/domains/{domain_id}/remove",
    "POST /o/{slug}/single-sign-on/disconnect",
    "POST /o/{slug}/single-sign-on/saml",
    "PATCH /api/v1/members/{member_id}",
    "DELETE /api/v1/members/{member_id}",
    "POST /api/v1/invitations/{invitation_id}/revoke",
    "POST /api/v1/keys/{key_id}/rotate",
    # A pool that changed takes the place of the one before.
    "POST /api/v1/allocations/preview",
    "POST /api/v1/allocations/{pool_id}/move",
    "POST /o/{slug}/allocations/{pool_id}",
    "POST /o/{slug}/allocations/{pool_id}/{act}",
    "PUT /api/v1/allocations/{pool_id}",
    "DELETE /api/v1/allocations/{pool_id}",
    # A version is made from the newest one, and of a retired plan nothing more is decided.
    "POST /api/v1/plans/{plan_id}/versions",
    "POST /o/{slug}/plans/{plan_id}/edit",
    "POST /api/v1/plans/{plan_id}/reject",
    # A month's gap is booked once, and a bill that it was booked for stays.
    "POST /api/v1/invoices/{invoice_id}/true-up",
    "POST /o/{slug}/invoices/{invoice_id}/true-up",
    "DELETE /api/v1/invoices/{invoice_id}",
    # The API's recipe removes or ends the same one.
    "POST /o/{slug}/invoices/{invoice_id}/delete",
    "POST /o/{slug}/invoices/mappings/{mapping_id}/remove",
    "POST /o/{slug}/contracts/aliases/{alias_id}",
    "POST /o/{slug}/contracts/end/{contract_id}",
    "POST /o/{slug}/budgets/{budget_id}/end",
    "POST /o/{slug}/budgets/{budget_id}",
    "POST /o/{slug}/budgets/raises/{raise_id}/{act}",
    "POST /api/v1/budgets/{budget_id}/raises",
    "POST /api/v1/budget-raises/{raise_id}/approve",
    "POST /api/v1/budget-raises/{raise_id}/refuse",
    "PATCH /api/v1/budgets/{budget_id}",
    "DELETE /api/v1/budgets/{budget_id}",
    "DELETE /api/v1/run-bounds/{workflow}",
    "POST /o/{slug}/run-bounds/{workflow}/remove",
    # The API's recipe disputes the same line.
    "POST /o/{slug}/statements/disputes/new",
    # In a month that is closed no rate is entered.
    "POST /api/v1/statements/{statement_id}/finalize",
    # Settled, it is not extended any more.
    "POST /api/v1/reservations/{reservation_id}/settle",
    # Others send tests to it.
    "POST /api/v1/alerts/channels/{channel_id}/disable",
}


# Forms that take a file, which a recipe does not send; a browser's tests do.
TAKES_A_FILE = {"POST /o/{slug}/invoices/new"}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_recipe_reaches_what_it_names(insiders: "tuple[Names, Caller]", operation: str) -> None:
    """Who belongs to Acme gets another answer for Acme's names than for nobody's: the probe asks the right thing."""
    own, insider = open_insiders() if operation in ALONE else insiders
    recipe = OPERATIONS[operation]
    done = (400,) if operation in TAKES_A_FILE else (200, 201, 202, 204, 302)
    assert insider.send(call(operation, own)).status in done
    read = {position for position in positions(recipe) if position[1] != "cursor"}
    for position in read if operation.startswith("GET") else LOOKED_UP.get(operation, set()):
        named = insider.send(call(operation, own, position))
        unnamed = insider.send(call(operation, own, position, own.nobodys))
        assert named.status in (200, 201, 202), position
        assert named.steady != _as_if(unnamed, own).steady, position


@pytest.fixture(scope="module")
def insiders() -> tuple[Names, Caller]:
    return open_insiders()


def open_insiders() -> "tuple[Names, Caller]":
    """Acme's key, and Bob, who may look at Acme's pages."""
    acme, bob, names = set_acme()
    fill(acme, names)
    return names, Caller(acme, bob)


# --- nothing is left out -----------------------------------------------------------------------------


def routes(patterns: Any, prefix: str = "/") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        path = prefix + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern))
        if isinstance(pattern, URLPattern):
            if pattern.callback is not not_found:
                yield path, pattern
        else:
            yield from routes(pattern.url_patterns, path)


ROUTES = [
    path for path, _ in routes(get_resolver().url_patterns) if not any(path.startswith(public) for public in PUBLIC)
]


def answered_methods(caller: Caller, own: Names, route: str) -> set[str]:
    """The methods that the address answers."""
    path = route
    for kind in ("rerating", "delivery", "reservation", "lease"):
        path = path.replace(f"{{{kind}_id}}", own.values[kind])
    path = re.sub(r"\{\w+\}", "0", path).replace("/o/0/", own.fill("/o/{org}/"))
    return {method for method in METHODS if caller.send(Call(method, path, {})).status != 405}


def test_every_operation_and_page_has_a_recipe(theatre: Theatre) -> None:
    # Some of what is sent acts: a hold is released.
    answered = {
        f"{method} {route}"
        for route in ROUTES
        for method in answered_methods(theatre.charlie, theatre.stage.globex_names, route)
    }
    assert answered - OPERATIONS.keys() == set(), "Add a recipe to tests/api/recipes."
    assert OPERATIONS.keys() - answered == set(), "Nobody answers these any more: delete their recipes."


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    response = Client().get("/api/v1/schema", headers={"Accept": "application/vnd.oai.openapi+json"})
    found: dict[str, Any] = json.loads(response.content)
    return found


def test_the_document_names_every_operation(document: dict[str, Any]) -> None:
    described = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert described == API.keys()


@pytest.mark.parametrize("operation", API)
def test_the_recipe_names_every_position_of_the_document(document: dict[str, Any], operation: str) -> None:
    method, path = operation.split(" ")
    described = document["paths"][path][method.lower()]
    recipe = API[operation]
    expected = {parameter["name"] for parameter in described.get("parameters", [])}
    expected |= set(body_fields(document, described))
    tried = {name for _, name in positions(recipe)}
    assert expected - tried - recipe.neutral == set(), "Say in tests/api/recipes what can stand there."


def body_fields(document: dict[str, Any], operation: dict[str, Any]) -> Iterator[str]:
    """The fields of the request's body that hold text."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    names = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(content)))
    for name in names:
        for field, shape in document["components"]["schemas"][name].get("properties", {}).items():
            types = shape.get("type", [])
            if "string" in ([types] if isinstance(types, str) else types) or field == "tags":
                yield field
