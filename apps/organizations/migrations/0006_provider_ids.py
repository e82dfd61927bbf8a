"""Identity providers are known by an id that is new with every provider; until now by the organization's slug.

Addresses entered at providers keep the slug. Sessions that a provider began before end with this.
"""

import secrets

from django.db import migrations


def by_id(apps, schema_editor):
    _rename(apps, schema_editor, lambda connection: f"{connection.kind}:{secrets.token_hex(8)}")


def by_slug(apps, schema_editor):
    prefixes = {"oidc": "", "saml": "saml-"}
    _rename(apps, schema_editor, lambda connection: prefixes[connection.kind] + connection.organization.slug)


def _rename(apps, schema_editor, name_of):
    alias = schema_editor.connection.alias
    accounts = apps.get_model("socialaccount", "SocialAccount").objects.using(alias)
    connections = apps.get_model("organizations", "SsoConnection").objects.using(alias)
    for connection in connections.select_related("app", "organization"):
        before, connection.provider_id = connection.provider_id, name_of(connection)
        connection.app.provider_id = connection.provider_id
        connection.app.save(update_fields=["provider_id"])
        connection.save(update_fields=["provider_id"])
        accounts.filter(provider=before).update(provider=connection.provider_id)


class Migration(migrations.Migration):
    dependencies = [
        ("organizations", "0005_single_sign_on"),
        ("socialaccount", "0006_alter_socialaccount_extra_data"),
    ]

    operations = [migrations.RunPython(by_id, by_slug)]
