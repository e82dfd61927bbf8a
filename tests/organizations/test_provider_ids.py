"""The migration that gives identity providers ids of their own: who was known by one is known still."""

from importlib import import_module
from types import SimpleNamespace

from allauth.socialaccount.models import SocialAccount
from django.apps import apps
from django.db import connections

from apps.organizations import sso
from apps.organizations.models import SsoConnection
from tests.api.tenants import make_org
from tests.identity import SAML, certificate
from tests.portal.conftest import make_person
from tests.world import unique

migration = import_module("apps.organizations.migrations.0006_provider_ids")
EDITOR = SimpleNamespace(connection=connections["owner"])


def ids_of(org, person):
    connection = SsoConnection.objects.select_related("app").get(organization=org)
    return {connection.provider_id, connection.app.provider_id, SocialAccount.objects.get(user=person).provider}


def test_there_and_back():
    # The migration renames all; names by slug of others, made to clash, are not what is asked here.
    SsoConnection.objects.all().delete()
    oidc, saml = make_org(), make_org()
    sso.connect_oidc(
        org=oidc, server_url="https://id.example", client_id="x", client_secret="y", default_role="viewer", actor="a"
    )
    sso.connect_saml(org=saml, certificate=certificate(), actor="a", **SAML)
    people = {}
    for org in (oidc, saml):
        people[org.pk] = make_person("carol")
        known = SsoConnection.objects.get(organization=org).provider_id
        SocialAccount.objects.create(user=people[org.pk], provider=known, uid=unique("uid"))
    migration.by_slug(apps, EDITOR)
    assert ids_of(oidc, people[oidc.pk]) == {oidc.slug}
    assert ids_of(saml, people[saml.pk]) == {f"saml-{saml.slug}"}
    migration.by_id(apps, EDITOR)
    (first,), (second,) = ids_of(oidc, people[oidc.pk]), ids_of(saml, people[saml.pk])
    assert (first.split(":")[0], second.split(":")[0], first != second) == ("oidc", "saml", True)
