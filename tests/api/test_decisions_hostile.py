"""Characters and numbers that JSON can carry and a store cannot, in what is asked before and after a call."""

from decimal import Decimal

import pytest

from tests.api.test_decisions import COST, allowed, api, budget, figures, org, settle
from tests.api.test_leases import taken
from tests.world import make_event, unique

__all__ = ["api", "org"]  # fixtures

QUOTED = 'the "user" \\ of the 人'


def test_a_name_with_quotes_and_backslashes_settles(org, api):
    one = budget(org)
    body = allowed(api, estimate_usd="0.25", user=QUOTED)
    response = settle(api, body, user=QUOTED)
    assert (response.status_code, response.json()["status"]) == (200, "settled"), response.content
    assert figures(org, one) == (COST, 0, 0)


def test_a_lease_is_renewed_under_an_id_with_quotes(org, api):
    lease = taken(api, "0.01")
    given = {"request_id": QUOTED, "amount_usd": "0.01"}
    for _ in range(2):
        response = api.post(f"leases/{lease['lease_id']}/renew", given)
        assert (response.status_code, response.json()["decision"]) == (200, "allow"), response.content


def test_a_reason_with_quotes_is_noted(api):
    times = {"from": "2026-11-27T00:00:00Z", "to": "2026-11-27T01:00:00Z"}
    response = api.post("unavailable-allowances", {"events": 1, "amount_usd": "1", "reason": QUOTED, **times})
    assert response.status_code == 200, response.content


@pytest.mark.parametrize("bad", ["\x00", "\ud800"])
@pytest.mark.parametrize("field", ["user", "model", "event_id"])
def test_a_character_that_cannot_be_stored_settles_nothing(org, api, field, bad):
    one = budget(org)
    body = allowed(api, estimate_usd="0.25")
    event = make_event(**{field: f"{unique('name')}{bad}"})
    response = api.post(f"reservations/{body['reservation_id']}/settle", {"event": event})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_character"), response.content
    assert response.json()["param"] == f"event.{field}"
    assert figures(org, one) == (0, Decimal("0.25"), 0)
