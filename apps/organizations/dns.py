"""What the domain name system says."""

from collections.abc import Sequence

import dns.exception
import dns.nameserver
import dns.resolver
from django.conf import settings

LOOK_UP_SECONDS = 5


def txt_records(name: str) -> Sequence[str]:
    """The texts of a name's TXT records; none where there is no such name, or no answer in five seconds."""
    resolver = dns.resolver.Resolver(configure=not settings.DNS_SERVERS)
    if settings.DNS_SERVERS:
        resolver.nameservers = [_server(text) for text in settings.DNS_SERVERS]
    try:
        answer = resolver.resolve(name, "TXT", lifetime=LOOK_UP_SECONDS, search=False)
    except (dns.exception.DNSException, OSError, UnicodeError):
        return []
    return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]


def _server(text: str) -> dns.nameserver.Nameserver:
    """192.0.2.53, or 192.0.2.53:5353."""
    host, _, port = text.partition(":") if text.count(":") == 1 else (text, "", "")
    return dns.nameserver.Do53Nameserver(host, int(port or 53))
