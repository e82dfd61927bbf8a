"""The Celery application; workers refuse to start as a database role that could see past the walls."""

import os
import sys

from celery import Celery
from celery.signals import celeryd_after_setup, worker_init, worker_ready
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "finops.settings")

from finops import watching  # noqa: F401  (reads the settings)

app = Celery("finops")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@app.on_after_configure.connect
def load_schedule(sender: Celery, **_: object) -> None:
    from finops.schedule import SCHEDULE

    sender.conf.beat_schedule = SCHEDULE


@celeryd_after_setup.connect
def take_one_queue(**_: object) -> None:
    """Tasks that this process sends to other queues would else be taken from there too, after a lost connection."""
    app.amqp.queues.select(settings.QUEUES[settings.QUEUE])


@worker_ready.connect
def make_partitions(**_: object) -> None:
    """A changed retention needs its partitions before its first events, not at the next tick."""
    if settings.QUEUE == "long":
        app.send_task("usage.maintain_partitions")


@worker_init.connect
def check_role(**_: object) -> None:
    """Leave before the first task where the process has the wrong rights. Celery swallows all but SystemExit here."""
    from apps.core.startup import refuse_unsafe_role

    try:
        if settings.PROCESS != "worker":
            raise ImproperlyConfigured("A worker needs the rights of finops_worker: set FINOPS_PROCESS=worker.")
        refuse_unsafe_role()
    except ImproperlyConfigured as error:
        sys.exit(str(error))
