from django.db import migrations

import apps.usage.models

METERS = (
    "audio_cache_read_tokens",
    "image_cache_read_tokens",
    "video_milliseconds",
    "file_searches",
    "code_sessions",
    "pages",
)
SUMS = (
    "posting", "delta", "hourrollup", "dayrollup", "userdelta", "userhourrollup", "userdayrollup", "rundelta", "run",
    "seal",
)  # fmt: skip
ADD = ", ".join(f"ADD COLUMN {meter} bigint NOT NULL DEFAULT 0" for meter in METERS)
DROP = ", ".join(f"DROP COLUMN {meter}" for meter in METERS)


class Migration(migrations.Migration):
    dependencies = [("usage", "0001_facts")]

    operations = [
        migrations.RunSQL(
            f"ALTER TABLE usage_event {ADD}, ADD COLUMN usage_sent jsonb",
            reverse_sql=f"ALTER TABLE usage_event {DROP}, DROP COLUMN usage_sent",
        ),
        *(
            migrations.AddField(
                model_name=table,
                name=meter,
                field=apps.usage.models.Count(decimal_places=0, default=0, max_digits=38),
            )
            for table in SUMS
            for meter in METERS
        ),
    ]
