from django.db import migrations

from apps.core.encryption import decrypt, encrypt

NAMES = ("target", "secret", "previous_secret")


def change(apps, schema_editor, by):
    for channel in apps.get_model("alerts", "Channel").objects.using(schema_editor.connection.alias).order_by("pk"):
        for name in NAMES:
            setattr(channel, name, by(getattr(channel, name)))
        channel.save(update_fields=NAMES)


class Migration(migrations.Migration):
    dependencies = [("alerts", "0001_alerts")]

    operations = [
        migrations.RunPython(
            lambda apps, schema_editor: change(apps, schema_editor, encrypt),
            lambda apps, schema_editor: change(apps, schema_editor, decrypt),
        ),
    ]
