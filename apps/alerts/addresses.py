"""Which addresses on the network a message may go to: pure rules over texts and numbers.

The lists are those of the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and its updates), written
out, because what `ipaddress` calls global changes between Python versions.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from apps.core.errors import DomainError

URL_LENGTH_MAX = 2000
HTTPS_PORT = 443

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC_4 = [
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
]  # fmt: skip
# Only global unicast is ever public; inside it, tunnels (Teredo, 6to4) may end anywhere, and the rest is reserved.
_UNICAST_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = [
    IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
]  # fmt: skip
# The last label is never a number: 127.1, 0x7f.1 and 2130706433 are addresses in disguise to some resolvers.
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_LAST_LABEL = r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LAST_LABEL}")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes. `host` is a name or an address without brackets, `path` has the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def is_plain(self) -> bool:
        """Whether it is https on its own port."""
        return self.scheme == "https" and self.port == HTTPS_PORT

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = HTTPS_PORT if self.scheme == "https" else 80
        return host if self.port == default else f"{host}:{self.port}"


def is_public(address: Address) -> bool:
    """Whether the address is reached over the public internet and is nobody's own network."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return address in _UNICAST_6 and not any(address in network for network in _NOT_PUBLIC_6)


def is_allowed(address: Address, target: Target, networks: Sequence[Network]) -> bool:
    """Whether the target may be reached at this address: a named network on any port, the public one by https only."""
    return any(address in network for network in networks) or (target.is_plain and is_public(address))


def read_url(url: str) -> Target:
    """Where a URL leads. Raises `DomainError` (`url_invalid`) for one that two readers could read differently.

    Refused are other schemes than http and https, names and passwords in it, fragments, characters that are not plain
    ASCII, and hosts that are neither a name of letters, digits and hyphens nor an address in its one usual spelling.
    """
    if len(url) > URL_LENGTH_MAX:
        raise _invalid(f"it has {len(url)} characters, more than {URL_LENGTH_MAX}")
    if not _PRINTABLE.fullmatch(url) or any(mark in url for mark in '\\<>"^`{|}'):
        raise _invalid("it holds a character that must be percent-encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _invalid("it cannot be read") from None
    if parts.scheme not in ("https", "http"):
        raise _invalid("it must begin with https://")
    if "@" in parts.netloc or "#" in url:
        raise _invalid("it must hold neither a user, a password nor a #fragment")
    if parts.netloc.endswith(":") or port == 0:
        raise _invalid("its port cannot be read")
    host = _read_host(parts.hostname or "", in_brackets="[" in parts.netloc)
    port = port or (HTTPS_PORT if parts.scheme == "https" else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, path)


def address_of(host: str) -> Address | None:
    """The address that a host is, None where it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _read_host(host: str, *, in_brackets: bool) -> str:
    address = address_of(host)
    if address is not None and "%" not in host and in_brackets == (address.version == 6):
        return str(address)
    if in_brackets or len(host) > 253 or not _NAME.fullmatch(host) or not all(map(_is_clear, host.split("."))):
        raise _invalid(f"'{host[:64]}' is no host: write a name such as hooks.example.com")
    return host


def _is_clear(label: str) -> bool:
    """Whether a punycode label stands for the text that it decodes to, and for no other."""
    if label[2:4] != "--":
        return True
    if not label.startswith("xn--"):
        return False
    try:
        return label.encode().decode("idna").encode("idna").decode() == label
    except UnicodeError:
        return False


def _invalid(why: str) -> DomainError:
    return DomainError("url_invalid", f"This URL cannot be used: {why}.", param="target")
