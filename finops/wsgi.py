"""The site's entry point; it refuses to serve as a database role that could see past the walls."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "finops.settings")

application = get_wsgi_application()

from apps.core.startup import refuse_unsafe_role  # noqa: E402  (needs the configured registry)
from apps.pricing.selectors import load_catalog  # noqa: E402
from finops import celery, figures  # noqa: E402, F401  (tasks are sent through this application)

refuse_unsafe_role()
figures.push_from_time_to_time()
# A decision is answered within a second, also the first one: what it estimates by is read now.
load_catalog()
