"""What no endpoint reads, whichever it is: an answer that is no fault of ours, at once, and short."""

import pytest

from tests.api.tenants import make_api, make_org


@pytest.fixture
def api():
    return make_api(make_org())


def a_list_of(count, value):
    return f'{{"rates": [{", ".join([value] * count)}]}}'.encode()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"rates": "' + b"x" * 2**20 + b'"}', 413, "body_too_large"),
        (a_list_of(10_002, "{}"), 413, "body_too_large"),
        (a_list_of(2, "{}"), 400, "invalid"),
        (b"[" * 100_000, 400, "not_json"),
        (b'{"rates": NaN}', 400, "not_json"),
        (b'{"rates": ' + b"9" * 5_000 + b"}", 400, "not_json"),
        (b"\xff", 400, "not_json"),
    ],
    ids=["large", "many values", "two values", "deep", "not a number", "digits", "not UTF-8"],
)
def test_a_body_has_bounds(api, body, status, code):
    response = api.post("statements/rates", body)
    assert (response.status_code, response.json()["code"]) == (status, code)


def test_a_comma_is_counted_however_a_charset_spells_it(api):
    body = a_list_of(10_002, "{}").replace(b",", b"+ACw-")
    # Not `post`, which would spell it once more.
    response = api.client.generic(
        "POST", "/api/v1/statements/rates", body, content_type="application/json; charset=utf-7", headers=api.headers
    )
    assert (response.status_code, response.json()["code"]) == (400, "not_json")


def test_a_refusal_repeats_only_the_beginning_of_a_value(api):
    adjustment = {"kind": "x" * 10**6, "month": "2026-01", "team": None, "name": "n", "amount_usd": "1", "reason": "r"}
    response = api.post("statements/adjustments", adjustment)
    assert response.json()["detail"].startswith('"xxx')
    response_of_name = api.post("allocations", {"percents": {"x" * 10**6: 7}})
    assert max(len(response.content), len(response_of_name.content)) < 2_000


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("statements?" + "a=1&" * 1_001, 400, "parameter_invalid"), ("nothing%0Ahere", 404, "not_found")],
    ids=["too many parameters", "a line feed in the path"],
)
def test_an_address_that_no_view_reads_is_a_problem_too(api, path, status, code):
    response = api.get(path)
    assert (response.status_code, response.headers["Content-Type"]) == (status, "application/problem+json")
    assert response.json()["code"] == code
