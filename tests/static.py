"""Pages name their static files by content, so those are collected before the first page is rendered."""

import fcntl
import hashlib
from pathlib import Path

import vl_convert
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command


def collect() -> None:
    """Build and collect the static files: once, and again when one of their sources changed."""
    root = Path(settings.STATIC_ROOT)
    root.parent.mkdir(exist_ok=True)
    with root.with_suffix(".sources").open("a+") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        mark.seek(0)
        if mark.read() != _fingerprint() or not (root / "staticfiles.json").exists():
            call_command("build_charts_js", verbosity=0)
            call_command("collectstatic", interactive=False, verbosity=0)
            mark.truncate(0)
            mark.write(_fingerprint())


def _fingerprint() -> str:
    """Changes with every source of a static file."""
    seen = hashlib.sha256(vl_convert.__version__.encode())
    for finder in get_finders():
        for path, storage in finder.list([]):
            found = Path(storage.path(path)).stat()
            seen.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode())
    return seen.hexdigest()
