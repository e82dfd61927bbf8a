"""The site's settings with the yardstick of `bench.plain` beside its own pages."""

from finops.settings import *  # noqa: F403

ROOT_URLCONF = "bench.plain"
