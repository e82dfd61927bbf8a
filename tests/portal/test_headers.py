"""What a browser is told with every answer, as production sends it: behind a proxy that ends TLS.

A crawler follows every link that an owner sees, and a stranger's, from the start page on.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from http.client import HTTPConnection, HTTPMessage
from unittest import mock
from urllib.parse import urldefrag, urljoin, urlsplit

import pytest
from django.conf import settings

from apps.alerts.channels import create_channel
from apps.budgets.services import set_run_bound
from bench.site import serving
from tests.portal.conftest import Shop, client_of, fill, make_shop

BASE = "https://finops.example"
# A page has links to more of its kind: events, days, filters of filters.
OF_A_KIND = 3
PAGES_MAX = 1_500
ENTRANCES = (
    "/", "/o/", "/healthz", "/readyz", "/metrics", "/api/v1/spend", "/api/v1/schema", "/api/v1/docs", "/nowhere",
    "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/sso/", "/invitations/none",
    "/accounts/2fa/", "/accounts/sessions/", "/accounts/email/", "/accounts/password/change/", "/organizations/new",
    "/operator/prices", "/static/css/nothing.css",
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    status: int
    headers: HTTPMessage
    text: str

    def header(self, name: str) -> str:
        return str(self.headers.get(name, ""))


@dataclass
class Browser:
    """Asks as the proxy does; `session` is a person's."""

    port: int
    session: str = ""

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port)
        sent = {"Host": "finops.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7", **headers}
        if self.session:
            sent["Cookie"] = f"__Host-session={self.session}"
        connection.request(method, path, body, headers=sent)
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read().decode(errors="replace"))
        connection.close()
        return answer


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    environment = {"BEHIND_TLS_PROXY": "1", "TRUSTED_PROXY_COUNT": "1", "ALLOWED_HOSTS": "finops.example,127.0.0.1"}
    with mock.patch.dict(os.environ, environment), serving(workers=1, base_url=BASE) as site:
        yield urlsplit(site.url).port or 0


@pytest.fixture(scope="module")
def shop() -> Shop:
    shop = make_shop()
    fill(shop, ("search",))
    set_run_bound(org=shop.org, workflow="search-agent", bounds={"max_steps": 5}, actor="tests")
    create_channel(org=shop.org, actor=None, kind="email", name="ops", target="ops@example.com")
    return shop


def links(answer: Answer, base: str) -> Iterator[str]:
    for found in re.findall(r'(?:href|src|action|hx-get)="([^"#]+)', answer.text):
        address = urlsplit(urljoin(BASE + base, urldefrag(unescape(found)).url))
        if f"{address.scheme}://{address.netloc}" == BASE and "/delete" not in address.path:
            yield address.path + (f"?{address.query}" if address.query else "")


def kind_of(path: str) -> str:
    """Pages that differ by a number, an id or a filter are of a kind."""
    address = urlsplit(path)
    names = sorted({pair.partition("=")[0] for pair in address.query.split("&") if pair})
    segments = [part if re.fullmatch(r"[a-z.-]{1,24}", part) else "~" for part in address.path.split("/")]
    return "/".join(segments) + "?" + "&".join(names)


def crawled(browser: Browser, start: tuple[str, ...]) -> dict[str, Answer]:
    found: dict[str, Answer] = {}
    waiting, kinds = list(start), dict[str, int]()
    while waiting and len(found) < PAGES_MAX:
        path = waiting.pop(0)
        kinds[kind_of(path)] = kinds.get(kind_of(path), 0) + 1
        if path in found or kinds[kind_of(path)] > OF_A_KIND:
            continue
        found[path] = browser.get(path)
        if "text/html" in found[path].header("Content-Type"):
            waiting += links(found[path], path)
    return found


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TOO_LARGE = b"a=" + b"a" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE


def refusals(browser: Browser, shop: Shop) -> dict[str, Answer]:
    """What never reaches its view, by what is wrong with it."""
    key = {**shop.api.headers, "Content-Type": "application/json"}
    cookie = str(browser.get("/accounts/login/").headers["Set-Cookie"]).partition(";")[0]
    return {
        "400 another's host": browser.get("/accounts/login/", Host="elsewhere.example"),
        "400 a host that is none": browser.get("/", Host="no host"),
        "400 another's host to the API": browser.get("/api/v1/spend", Host="elsewhere.example"),
        "400 another's host to a probe": browser.get("/healthz", Host="elsewhere.example"),
        "400 another's host to nothing": browser.get("/nowhere", Host="elsewhere.example"),
        "404 an unknown path": browser.get("/nowhere"),
        "404 an unknown path of the API": browser.get("/api/v1/nowhere", **key),
        "404 an unknown static file": browser.get("/static/css/nothing.css"),
        "405 a method of the API": browser.ask("DELETE", "/api/v1/spend", **key),
        "403 a form without its token": browser.ask("POST", "/accounts/login/", b"login=a", **FORM),
        "400 a form too large": browser.ask("POST", "/accounts/login/", TOO_LARGE, **FORM, Cookie=cookie, Origin=BASE),
        "413 a document too large": browser.ask("PUT", "/api/v1/runs/run-1", b'"' + TOO_LARGE + b'"', **key),
    }


@pytest.fixture(scope="module")
def seen(port: int, shop: Shop) -> dict[str, dict[str, Answer]]:
    owner = Browser(port, client_of(shop.alice).cookies["session"].value)
    return {
        "stranger": crawled(Browser(port), (*ENTRANCES, shop.url())),
        "owner": crawled(owner, (*ENTRANCES, shop.url())),
        "refused": refusals(Browser(port), shop),
    }


def every(seen: dict[str, dict[str, Answer]]) -> Iterator[tuple[str, Answer]]:
    for who, answers in seen.items():
        for path, answer in answers.items():
            yield f"{who} {path}", answer


def is_file(path: str, answer: Answer) -> bool:
    """A file of the project's own holds nothing of anybody's, and no browser shows it as a page."""
    return "/static/" in path and answer.status == 200


def test_the_crawler_gets_around(seen: dict[str, dict[str, Answer]], shop: Shop) -> None:
    owner = seen["owner"]
    for page in ("", "spend", "runs", "events", "budgets", "members", "keys/new", "audit", "single-sign-on", "stop"):
        assert shop.url(page) in owner, page
    assert len(owner) > 150
    assert {answer.status for answer in owner.values()} <= {200, 301, 302, 400, 401, 403, 404, 405}
    assert [path for path, answer in every(seen) if answer.status >= 500] == []


def test_what_is_refused_is_refused_as_it_says(seen: dict[str, dict[str, Answer]]) -> None:
    assert {name: answer.status for name, answer in seen["refused"].items()} == {
        name: int(name.partition(" ")[0]) for name in seen["refused"]
    }


def test_every_answer_has_the_headers(seen: dict[str, dict[str, Answer]]) -> None:
    wanted = {
        "Strict-Transport-Security": "max-age=31536000; includeSubDomains; preload",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    wrong = [
        (path, name, answer.header(name))
        for path, answer in every(seen)
        for name, value in wanted.items()
        if not is_file(path, answer) and answer.header(name) != value
    ]
    assert wrong == []
    without_policy = [
        path
        for path, answer in every(seen)
        if not is_file(path, answer) and "frame-ancestors 'none'" not in answer.header("Content-Security-Policy")
    ]
    assert without_policy == []
    assert [path for path, answer in every(seen) if answer.header("X-Content-Type-Options") != "nosniff"] == []


def test_scripts_are_allowed_by_nonce_and_never_inline(seen: dict[str, dict[str, Answer]]) -> None:
    nonces = set()
    for path, answer in every(seen):
        if "text/html" not in answer.header("Content-Type"):
            continue
        policy = answer.header("Content-Security-Policy")
        assert "frame-ancestors 'none'" in policy, path
        if "/statements/mail/preview" in path:
            # A mail as it is sent, with the inline styles that mail needs, in a sandbox where no script runs.
            assert policy.startswith("default-src 'none'; style-src 'unsafe-inline';"), path
            assert "script-src" not in policy, path
            assert "sandbox" in policy, path
            assert "<script" not in answer.text, path
            continue
        assert "unsafe-inline" not in policy, path
        assert "unsafe-eval" not in policy, path
        allowed = set(re.findall(r"'nonce-([^']+)'", policy))
        inline = re.findall(
            r"<script(?![^>]*\ssrc=)(?![^>]*type=\"application/(?:json|ld\+json)\")([^>]*)>", answer.text
        )
        used = {nonce for tag in inline for nonce in re.findall(r'nonce="([^"]+)"', tag)}
        assert len(inline) == 0 or used == allowed, path
        assert not re.search(r"<[^>]+\s(?:style|on[a-z]+)=\"", answer.text), path
        assert not nonces & used, f"{path} uses a nonce again"
        nonces |= used
    assert len(nonces) > 150


def test_what_is_private_is_not_stored(seen: dict[str, dict[str, Answer]]) -> None:
    kept = [
        path
        for path, answer in every(seen)
        if not is_file(path, answer) and "no-store" not in answer.header("Cache-Control")
    ]
    assert kept == []


def test_cookies_are_of_this_host_alone(port: int) -> None:
    cookies = Browser(port).get("/accounts/login/").headers.get_all("Set-Cookie", [])
    assert cookies
    for cookie in cookies:
        assert cookie.startswith("__Host-"), cookie
        for flag in ("Secure", "Path=/", "SameSite=Lax", "HttpOnly"):
            assert flag in cookie, cookie
        assert "Domain" not in cookie


def test_plain_http_is_led_to_https(port: int) -> None:
    for host in ("finops.example", "elsewhere.example"):
        plain = Browser(port).get("/accounts/login/", **{"X-Forwarded-Proto": "http", "Host": host})
        assert (plain.status, plain.header("Location")) == (301, f"{BASE}/accounts/login/")
    assert Browser(port).get("/healthz", **{"X-Forwarded-Proto": "http"}).status == 200


def test_pages_are_compressed_and_answers_of_the_api_are_not(port: int, shop: Shop) -> None:
    asking = {"Accept-Encoding": "gzip"}
    page = Browser(port).get("/accounts/login/", **asking)
    assert (page.header("Content-Encoding"), "Accept-Encoding" in page.header("Vary")) == ("gzip", True)
    assert Browser(port).get("/api/v1/schema", **asking).header("Content-Encoding") == ""
    # So that a guess cannot be read off the length of the same page.
    assert len({Browser(port).get("/accounts/login/", **asking).header("Content-Length") for _ in range(10)}) > 1


def test_static_files_are_compressed_and_kept_forever(port: int) -> None:
    (script,) = re.findall(r'src="(/static/js/app\.[^"]+)"', Browser(port).get("/accounts/login/").text)
    answer = Browser(port).get(script, **{"Accept-Encoding": "gzip"})
    assert answer.header("Content-Encoding") == "gzip"
    assert answer.header("Cache-Control") == "max-age=315360000, public, immutable"
