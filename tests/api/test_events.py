from decimal import Decimal

from tests.world import World, make_event


def test_it_stores_prices_and_counts_an_event_once(world: World) -> None:
    event = make_event(team="search", workflow="rag")
    first = world.acme.api.send(event)
    assert (first["accepted"], first["unpriced"], first["results"]) == (1, 0, [])
    second = world.acme.api.send(event)
    assert (second["accepted"], second["duplicates"]) == (0, 1)
    total = world.acme.api.get("spend").json()["total"]
    assert total["events"] == 1
    assert Decimal(total["cost_usd"]) == Decimal("0.0045")
