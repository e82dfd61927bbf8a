from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_audit")]

    operations = [
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["organization_id", "at", "sequence"], name="audit_by_time"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["organization_id", "actor", "at", "sequence"], name="audit_by_actor"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["organization_id", "action", "at", "sequence"], name="audit_by_action"),
        ),
    ]
