import django.db.models.deletion
from django.db import migrations, models

import mailer.models


class Migration(migrations.Migration):
    initial = True

    dependencies = ()

    operations = (
        migrations.CreateModel(
            name="Mail",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("mailbox", models.CharField(db_index=True, max_length=43)),
                ("to", models.EmailField(max_length=254, verbose_name="To")),
                ("subject", models.CharField(max_length=200)),
                ("message", models.TextField(blank=True)),
                ("sent_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "ordering": ("-sent_at", "-pk"),
            },
        ),
        migrations.CreateModel(
            name="MailFile",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("name", models.CharField(max_length=255)),
                (
                    "document",
                    models.FileField(
                        storage=mailer.models.sent_storage,
                        upload_to=mailer.models.unguessable,
                    ),
                ),
                (
                    "mail",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="files",
                        to="mailer.mail",
                    ),
                ),
            ],
            options={
                "ordering": ("name",),
            },
        ),
    )
