"""Imported before Django is set up: the suite's own Postgres and Redis, and a database for each process of a run.

With DATABASE_URL, DATABASE_OWNER_URL and REDIS_URL set, those servers are used instead.
"""

import os
import re
from contextlib import ExitStack
from pathlib import Path

import django

from finops.embedded import servers

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
IS_CONTROLLER = not WORKER
RUN = os.environ.setdefault("FINOPS_TEST_RUN", str(os.getpid())) if IS_CONTROLLER else os.environ["FINOPS_TEST_RUN"]
PREFIX = "finops_test_"
TEMPLATE = f"{PREFIX}{RUN}_template"
DATABASE = f"{PREFIX}{RUN}_{WORKER or 'main'}"
_NAME = re.compile(r"^(\w+://[^/]*/)([^?]*)")

_stack = ExitStack()


def _use_database(name: str) -> None:
    for variable in ("DATABASE_URL", "DATABASE_WORKER_URL", "DATABASE_OWNER_URL"):
        if url := os.environ.get(variable):
            os.environ[variable] = _NAME.sub(rf"\g<1>{name}", url)


if IS_CONTROLLER:
    _stack.enter_context(servers("test", durable=False))
    found = _NAME.match(os.environ["DATABASE_URL"])
    assert found, "DATABASE_URL names no database"
    os.environ["FINOPS_TEST_EMPTY"] = found[2]
# The installation's own database, empty, with its schema's privileges.
EMPTY = os.environ["FINOPS_TEST_EMPTY"]
_use_database(DATABASE)
if not os.environ.get("SECRET_KEY_FILE"):
    os.environ.setdefault("SECRET_KEY", "only-for-tests-only-for-tests-only-for-tests-only-for-tests")
if not os.environ.get("ENCRYPTION_KEYS_FILE"):
    os.environ.setdefault("ENCRYPTION_KEYS", "only-for-tests-only-for-tests-only-for-tests-only-for-tests")
os.environ["LOG_LEVEL"] = "ERROR"
os.environ["BASE_URL"] = "http://testserver"
os.environ["STATIC_ROOT"] = str(Path(__file__).parent.parent / ".local" / "static-for-tests")
os.environ["ALLOWED_HOSTS"] = "testserver,127.0.0.1,localhost"
os.environ["DJANGO_SETTINGS_MODULE"] = "finops.settings"
django.setup()

from django.conf import settings  # noqa: E402

settings.PASSWORD_HASHERS = ["tests.hashers.OneRound", *settings.PASSWORD_HASHERS]

from finops import celery  # noqa: E402, F401  (tasks are sent through this application)
from tests import static  # noqa: E402

if IS_CONTROLLER:
    static.collect()

# The suite's other processes inherit the environment and must not read the settings before they come here.
del os.environ["DJANGO_SETTINGS_MODULE"]


def stop() -> None:
    _stack.close()
