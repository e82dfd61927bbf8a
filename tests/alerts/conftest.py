from tests.alerts.fixtures import allowed, desk, hook, mail  # noqa: F401
