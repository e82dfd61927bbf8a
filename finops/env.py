"""Environment variables, read with a type; an odd value stops the start with a sentence.

A variable that is set to nothing counts as unset, as in an env file that lists every name.
"""

import os
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

TRUE = ("1", "true", "yes", "on")
KEY_LENGTH_MIN = 32
FALSE = ("0", "false", "no", "off")


def env_str(name: str, default: str | None = None, *, choices: Sequence[str] = ()) -> str:
    """The variable's text; without a default it must be set."""
    value = os.environ.get(name) or default
    if value is None:
        allowed = f" to {_either(choices)}" if choices else ""
        raise ImproperlyConfigured(f"{name} is not set: set it{allowed} (.env.example describes each variable).")
    if choices and value not in choices:
        raise ImproperlyConfigured(f"{name} is {value!r}: it must be {_either(choices)}.")
    return value


def env_file(name: str) -> Path | None:
    """The file that the variable names; None where it names none."""
    path = Path(os.environ[name]) if os.environ.get(name) else None
    if path is not None and not path.is_file():
        raise ImproperlyConfigured(f"{name} is {str(path)!r}: there is no such file.")
    return path


def env_bool(name: str, default: bool) -> bool:
    """True for 1, true, yes, on; False for 0, false, no, off; in any case."""
    value = os.environ.get(name, "").strip().lower()
    if value and value not in TRUE + FALSE:
        raise ImproperlyConfigured(f"{name} is {value!r}: it must be {_either(TRUE + FALSE)}.")
    return value in TRUE if value else default


def env_int(name: str, default: int, *, minimum: int | None = None, maximum: int | None = None) -> int:
    """A whole number between minimum and maximum, both included."""
    text = os.environ.get(name) or str(default)
    wanted = "a whole number"
    if minimum is not None:
        wanted += f", {minimum} or more" if maximum is None else f" from {minimum} to {maximum}"
    elif maximum is not None:
        wanted += f", {maximum} or less"
    try:
        value = int(text)
    except ValueError:
        raise ImproperlyConfigured(f"{name} is {text!r}: it must be {wanted}.") from None
    if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
        raise ImproperlyConfigured(f"{name} is {value}: it must be {wanted}.")
    return value


def env_list(name: str, default: Sequence[str] = ()) -> list[str]:
    """Texts separated by commas; blanks around them are dropped, empty ones refused."""
    value = os.environ.get(name)
    if not value:
        return list(default)
    items = [item.strip() for item in value.split(",")]
    if not all(items):
        raise ImproperlyConfigured(f"{name} is {value!r}: it must be values separated by single commas.")
    return items


def env_networks(name: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks in CIDR notation, separated by commas; none where it is not set."""
    texts = env_list(name)
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is {','.join(texts)!r}: {error}; write networks as 10.2.0.0/16.") from None


def env_secret(name: str, default: str | None = None, *, length_min: int = 0) -> str:
    """A secret from the variable, or from the file that the variable with _FILE at its end names."""
    value, path = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if value and path:
        raise ImproperlyConfigured(f"{name} and {name}_FILE are both set: keep one of them.")
    if path:
        value = _read_secret(f"{name}_FILE", Path(path))
    if not value and default is None:
        raise ImproperlyConfigured(f"{name} is not set: set it, or {name}_FILE to a file that holds it.")
    if value and len(value) < length_min:
        raise ImproperlyConfigured(f"{name} has {len(value)} characters: write a random text of {length_min} or more.")
    return value or default or ""


def env_keys(name: str, secret: str) -> list[str]:
    """The keys that a secret holds, the newest first, separated by commas; each is 32 random characters or more."""
    keys = [key.strip() for key in secret.split(",")]
    # No message repeats one.
    if any(len(key) < KEY_LENGTH_MIN for key in keys):
        raise ImproperlyConfigured(
            f"{name} holds a key that is shorter than {KEY_LENGTH_MIN} characters: write long random texts, the newest"
            " first, with single commas between them."
        )
    if len(set(keys)) < len(keys):
        raise ImproperlyConfigured(f"{name} holds the same key twice: keep one of them.")
    return keys


def database_from_url(url: str, *, variable: str = "DATABASE_URL", pool_max: int | None = None) -> dict[str, Any]:
    """An entry of Django's DATABASES for postgresql://user:password@host:port/name?option=value.

    A socket's folder is given as ?host=/folder. Other libpq options go to OPTIONS as they are.
    With pool_max each process shares at most that many connections among its threads.
    """
    shape = "it must look like postgresql://user:password@host:5432/name"
    # The URL holds a password, so no message repeats it.
    if not url.startswith(("postgresql://", "postgres://")):
        raise ImproperlyConfigured(f"{variable} is not a Postgres URL: {shape}.")
    try:
        parts: dict[str, Any] = dict(conninfo_to_dict(url))
    except ProgrammingError:
        raise ImproperlyConfigured(f"{variable} cannot be read by libpq: {shape}.") from None
    if not parts.get("dbname"):
        raise ImproperlyConfigured(f"{variable} names no database: {shape}.")
    entry = {
        "ENGINE": "apps.core.postgres",
        "NAME": parts.pop("dbname"),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", ""),
        "HOST": parts.pop("host", ""),
        "PORT": str(parts.pop("port", "")),
    }
    if pool_max is not None:
        parts["pool"] = {"min_size": 1, "max_size": pool_max, "timeout": 3}
    # A connection that Postgres closed meanwhile is replaced, not handed out; the pool looks after its own.
    return entry | {"OPTIONS": parts, "CONN_HEALTH_CHECKS": pool_max is None}


def _read_secret(variable: str, path: Path) -> str:
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(f"{variable} is {str(path)!r}, which cannot be read: {error}.") from error
    if not value:
        raise ImproperlyConfigured(f"{variable} is {str(path)!r}, which is empty: it must hold the secret.")
    return value


def _either(values: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(values[:-1]), values[-1])))
