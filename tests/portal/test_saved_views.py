"""Views of the explorer that people save: an address with a name, for oneself or for the organization."""

from typing import Any

import pytest
from django.test import Client

from apps.audit.models import AuditEntry
from apps.core.tenancy import tenant
from apps.organizations.models import Membership
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.reports import views
from apps.reports.models import View
from tests.portal.conftest import HOSTILE_NAME, Shop, client_of, make_person, make_shop
from tests.portal.reading import Page, attribute, get
from tests.world import make_event

QUERY = "group_by=model&chart=line&not.user=u&range=7d"


@pytest.fixture
def shop() -> Shop:
    return make_shop()


@pytest.fixture
def bob(shop: Shop) -> Client:
    return client_of(shop.bob)


def save(client: Client, shop: Shop, name: str = "Models", query: str = QUERY, **fields: str) -> Any:
    return client.post(shop.url("views"), {"name": name, "query": query, **fields})


def stored(shop: Shop) -> list[View]:
    with tenant(shop.org):
        return list(View.objects.for_org(shop.org).order_by("pk"))


def menu(client: Client, shop: Shop) -> list[str]:
    """Addresses of the views that the explorer offers."""
    page = get(client, shop.url("spend"))
    links = [attribute(link, "href") or "" for link in page.find("a")]
    return [link for link in links if link.startswith(shop.url("spend?group_by=model&chart=line"))]


def test_a_view_is_saved_opened_renamed_and_deleted(shop: Shop, bob: Client) -> None:
    shop.api.send(make_event(user="v"))
    opened = save(bob, shop)
    assert opened.status_code == 302
    (view,) = stored(shop)
    assert opened["Location"] == shop.url(f"spend?{view.query}")
    assert "Model" in get(bob, opened["Location"]).text
    assert menu(bob, shop) == [opened["Location"]]
    assert bob.post(shop.url(f"views/{view.pk}/rename"), {"name": " By model "}).status_code == 302
    assert [one.name for one in stored(shop)] == ["By model"]
    assert "By model" in get(bob, shop.url("views")).text
    bob.post(shop.url(f"views/{view.pk}/delete"))
    assert stored(shop) == []
    with tenant(shop.org):
        actions = AuditEntry.objects.for_org(shop.org).filter(action__startswith="views.").order_by("sequence")
        assert [entry.action for entry in actions] == ["views.saved", "views.renamed", "views.deleted"]


def test_a_relative_range_stays_relative_and_days_stay_days(shop: Shop, bob: Client) -> None:
    save(bob, shop)
    save(bob, shop, "Days", "from=2026-01-02&to=2026-01-03")
    relative, absolute = stored(shop)
    assert "range=7d" in relative.query
    assert "from=2026-01-02&to=2026-01-03" in absolute.query
    assert "moving on with time" in get(bob, shop.url("views?save=range%3D7d")).text
    assert "moving on" not in get(bob, shop.url("views?save=from%3D2026-01-02%26to%3D2026-01-03")).text


def test_only_what_the_explorer_reads_is_saved(shop: Shop, bob: Client) -> None:
    response = save(bob, shop, query="group_by=colour&next=//evil.example&team=search&add=x")
    assert response["Location"] == shop.url("spend?group_by=team&team=search")


def test_what_is_shared_is_seen_by_others_who_cannot_change_it(shop: Shop, bob: Client) -> None:
    save(bob, shop)
    other = make_person("eve")
    add_member(org=shop.org, user=other, role=Role.VIEWER, actor=None)
    eve, (view,) = client_of(other), stored(shop)
    assert menu(eve, shop) == []
    bob.post(shop.url(f"views/{view.pk}/share"))
    assert len(menu(eve, shop)) == 1
    assert shop.bob.email in get(eve, shop.url("views")).text
    for act in ("rename", "unshare", "delete"):
        assert eve.post(shop.url(f"views/{view.pk}/{act}"), {"name": "Eve's"}).status_code == 404
        assert f"{view.pk}/{act}" not in get(eve, shop.url("views")).html
    alice = client_of(shop.alice)
    assert alice.post(shop.url(f"views/{view.pk}/unshare")).status_code == 302
    assert menu(eve, shop) == []
    # What is not shared is nobody else's to change, an owner's neither.
    assert alice.post(shop.url(f"views/{view.pk}/delete")).status_code == 404


@pytest.mark.parametrize(("name", "says"), [
    ("  ", "A name has 1 to 100 characters"),
    ("n" * 101, "A name has 1 to 100 characters"),
    ("a\0b", "A name has 1 to 100 characters"),
    ("Taken", "There is a view 'Taken' already"),
])  # fmt: skip
def test_a_name_that_will_not_do_is_refused_by_its_field(shop: Shop, bob: Client, name: str, says: str) -> None:
    save(bob, shop, "Taken")
    save(bob, shop, "Other")
    _, other = stored(shop)
    for response in (
        save(bob, shop, name, shared="on"),
        bob.post(shop.url(f"views/{other.pk}/rename"), {"name": name}),
    ):
        assert response.status_code == 400
        assert says in response.content.decode().replace("&#x27;", "'")
    assert [view.name for view in stored(shop)] == ["Taken", "Other"]


def test_after_a_refusal_what_was_typed_is_still_there(shop: Shop, bob: Client) -> None:
    save(bob, shop, "Taken")
    response = save(bob, shop, "Taken", shared="on")
    response.status_code = 200
    page = Page(response)
    fields = {attribute(field, "name"): field for field in page.find("input")}
    assert attribute(fields["name"], "value") == "Taken"
    assert "checked" in dict(fields["shared"].attributes)
    assert "not.user=u" in (attribute(fields["query"], "value") or "")


def test_there_is_a_limit_for_each_person(shop: Shop, bob: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "VIEWS_MAX", 2)
    assert [save(bob, shop, name).status_code for name in "abc"] == [302, 302, 400]
    assert save(client_of(shop.alice), shop).status_code == 302


def test_an_address_that_is_too_long_is_refused(shop: Shop, bob: Client) -> None:
    long = "&".join(f"tags.{number}={'x' * 250}" for number in range(20))
    response = save(bob, shop, query=long)
    assert response.status_code == 400
    assert "4000 at most" in response.content.decode()


def test_names_are_text(shop: Shop, bob: Client) -> None:
    save(bob, shop, HOSTILE_NAME)
    for page in ("views", "spend"):
        assert "<script>alert" not in get(bob, shop.url(page)).html


def test_what_somebody_shared_who_left_is_made_an_admins_own(shop: Shop, bob: Client) -> None:
    save(bob, shop, shared="on")
    save(bob, shop, name="Mine")
    shared, private = stored(shop)
    alice = client_of(shop.alice)
    take = shop.url(f"views/{shared.pk}/take")
    assert alice.post(take).status_code == 404, "its maker is here"
    Membership.objects.filter(organization=shop.org, user=shop.bob).delete()
    engineer = make_person("engineer")
    add_member(org=shop.org, user=engineer, role=Role.ENGINEER, actor=None)
    assert client_of(engineer).post(take).status_code == 404
    assert alice.post(shop.url(f"views/{private.pk}/take")).status_code == 404
    page = get(alice, shop.url("views"))
    assert f"{shop.bob.email} no longer a member" in page.text
    assert "Make it yours" in page.text
    save(alice, shop)
    refused = alice.post(take, {"name": "Models"})
    assert (refused.status_code, "There is a view" in refused.content.decode()) == (400, True)
    own = next(view for view in stored(shop) if view.maker_id == shop.alice.pk)
    alice.post(shop.url(f"views/{own.pk}/rename"), {"name": "Other"})
    assert alice.post(take).status_code == 302
    assert {(view.name, view.maker_id) for view in stored(shop)} == {
        ("Models", shop.alice.pk), ("Other", shop.alice.pk), ("Mine", shop.bob.pk),
    }  # fmt: skip
    page = get(alice, shop.url("views"))
    assert "no longer a member" not in page.text
