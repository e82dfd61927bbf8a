#!/usr/bin/env python
"""Django's commands; with no DATABASE_URL they run on the project's own Postgres and Redis."""

import os
import sys

from django.core.management import execute_from_command_line

from finops import celery  # noqa: F401  (tasks are sent through this application)
from finops.cluster import EmbeddedError
from finops.embedded import servers


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "finops.settings")
    try:
        with servers():
            execute_from_command_line(sys.argv)
    except EmbeddedError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
