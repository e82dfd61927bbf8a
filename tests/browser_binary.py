"""The Chromium that the browser tests drive: found, or installed from Debian where that is allowed.

`python -m tests.browser_binary` prints its path, or says what to install and exits with 1.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_chromium() -> Path | None:
    """$CHROMIUM if it is set, else the first of the usual names on the PATH."""
    chosen = os.environ.get("CHROMIUM")
    for name in (chosen,) if chosen else NAMES:
        if found := shutil.which(name):
            return Path(found)
    return None


def install_chromium() -> None:
    """Debian's package; apt-get shows its progress and says why it fails."""
    sys.stdout.write("Installing Debian's chromium for the browser tests\n")
    sys.stdout.flush()
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        subprocess.run(["apt-get", *command], env=environment, stdin=subprocess.DEVNULL, check=False)


def main() -> int:
    """The command line; returns the exit status."""
    may_install = os.geteuid() == 0 and shutil.which("apt-get") and not os.environ.get("CHROMIUM")
    if find_chromium() is None and may_install:
        install_chromium()
    if found := find_chromium():
        sys.stdout.write(f"Browser tests use {found}\n")
        return 0
    if chosen := os.environ.get("CHROMIUM"):
        sys.stderr.write(f"CHROMIUM is {chosen!r}, which is no program: name one, or unset it.\n")
    else:
        sys.stderr.write(
            "The browser tests need Chromium and found none. Install it (on Debian: "
            "apt-get install chromium), or set CHROMIUM to its path.\n"
        )
    return 1


if __name__ == "__main__":
    sys.exit(main())
