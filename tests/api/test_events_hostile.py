"""Every body of the hostile corpus, sent as a client would: the one right answer, and only its good events stored."""

import tracemalloc
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest
import time_machine
from pytest_django.plugin import blocking_manager_key

from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.usage.models import Event, EventKey
from apps.usage.services import reconcile, roll_up
from tests.api.tenants import make_api, make_org
from tests.database import as_worker
from tests.ingest.hostile import ACCEPTED, Answered, Case, Refused, hostile_cases
from tests.world import Api, make_event

NOW = datetime.now(UTC)
CASES = hostile_cases(NOW)
LARGE = [case for case in CASES if len(case.body) > 2**20 or "bomb" in case.name]
PEAK_BYTES_MAX = 64 * 2**20


@pytest.fixture(scope="module")
def corpus_org(request: pytest.FixtureRequest) -> Organization:
    """One organization for the whole corpus: its event ids are unique."""
    with request.config.stash[blocking_manager_key].unblock():
        return make_org()


@pytest.fixture(scope="module")
def corpus_api(request: pytest.FixtureRequest, corpus_org: Organization) -> Api:
    with request.config.stash[blocking_manager_key].unblock():
        return make_api(corpus_org, "ingest")


def send(api: Api, case: Case) -> Any:
    headers = {"Content-Type": case.content_type}
    if case.content_encoding:
        headers["Content-Encoding"] = case.content_encoding
    with time_machine.travel(NOW, tick=False):
        return api.post("events", case.body, **headers)


def stored(org: Organization) -> int:
    with tenant(org):
        events = Event.objects.for_org(org).count()
        assert EventKey.objects.for_org(org).count() == events
        return events


def outcomes(answer: dict[str, Any], count: int) -> tuple[str, ...]:
    """For each event in order `accepted`, or the code of its rejection."""
    codes = {one["index"]: one["code"] for one in answer["results"] if one["status"] == "rejected"}
    return tuple(codes.get(index, ACCEPTED) for index in range(count))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_answers_a_hostile_body_and_stores_its_good_events(
    corpus_org: Organization, corpus_api: Api, case: Case
) -> None:
    before = stored(corpus_org)
    response = send(corpus_api, case)
    answer = response.json()
    match case.expected:
        case Refused(status, code):
            assert (response.status_code, answer["code"]) == (status, code)
            assert response["Content-Type"] == "application/problem+json"
            assert stored(corpus_org) == before
        case Answered(expected):
            assert response.status_code == 202
            assert outcomes(answer, len(expected)) == expected
            good = expected.count(ACCEPTED)
            assert (answer["accepted"], answer["rejected"]) == (good, len(expected) - good)
            assert stored(corpus_org) == before + good


@pytest.mark.parametrize("case", LARGE, ids=lambda case: case.name)
def test_its_memory_stays_flat(api: Api, case: Case) -> None:
    tracemalloc.start()
    try:
        send(api, case)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The test client holds the body a second time; a server reads it from the socket.
    assert peak - len(case.body) < PEAK_BYTES_MAX


def test_it_sums_the_largest_numbers_there_are(org: Organization, api: Api) -> None:
    largest = {"usage": {"input_tokens": 10**12, "output_tokens": 10**12}, "step": 10**12, "attempt": 10**12}
    assert api.send(*(make_event(**largest, run_id="largest") for _ in range(1000)))["accepted"] == 1000
    with as_worker():
        roll_up(org)
        assert reconcile(org).agrees
    total = api.get("spend").json()["total"]
    assert (total["input_tokens"], total["retries"]) == (10**15, 1000)


def test_it_answers_a_body_that_breaks_off(api: Api) -> None:
    class Broken(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise ConnectionResetError

    wire = {"wsgi.input": Broken()}
    response = api.client.generic("POST", "/api/v1/events", b"[]", headers=api.headers, **wire)
    assert (response.status_code, response.json()["code"]) == (400, "body_unreadable")
