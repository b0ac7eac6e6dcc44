"""Addresses that a caller names and this service connects to: which are allowed, against request forgery (SSRF).

A private address may be that of a machine that only this one reaches, such as a cloud's metadata. So it is allowed
where only users of this machine can ask for it, or where GRAFT_PUSH_HOSTS names its host. A name is resolved once, and
the connection goes to the address that was checked: a name that changes between the two (DNS rebinding) gains nothing.
An IPv6 address that stands for an IPv4 address is as public as that one.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from service.pushes.errors import PushAddressRefused, PushFailed

if TYPE_CHECKING:
    from service.settings import Settings

PORTS = {"http": 80, "https": 443}
EMBEDDING = {
    ip_network("::/96"): 0,  # IPv4-compatible (RFC 4291)
    ip_network("::ffff:0:0/96"): 0,  # IPv4-mapped (RFC 4291)
    ip_network("::ffff:0:0:0/96"): 0,  # IPv4-translated (RFC 7915)
    ip_network("64:ff9b::/96"): 0,  # NAT64 (RFC 6052), as DNS64 gives for public servers in networks without IPv4
    ip_network("2002::/16"): 80,  # 6to4 (RFC 3056)
}
"""IPv6 networks whose addresses stand for an IPv4 address, and the bits behind that."""
LOCAL_NAT64 = ip_network("64:ff9b:1::/48")
"""NAT64 of one network (RFC 8215), which alone knows the place of the IPv4 address."""
ISATAP = 0x5EFE
"""Bits 64 to 95 of an address that stands for the IPv4 address behind them, but for the bit that says which are public
(RFC 5214)."""


@dataclass(frozen=True)
class Address:
    """A checked address: where to connect, and the name that the server goes by."""

    url: str
    """With the IP address in place of the name."""
    host: str
    """The name, for certificates."""
    netloc: str
    """Name and port, for the header Host."""


def check(url: str, settings: Settings) -> Address:
    """Check and resolve an address. Raises PushAddressRefused, PushFailed."""
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise PushAddressRefused(
            f"{url[:200]!r} has characters that no address has; write a name as xn--… and others as %XX."
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise PushAddressRefused(f"{url:.200} is no address.") from None
    if parts.scheme not in PORTS or not host:
        raise PushAddressRefused(f"{url:.200} must begin with https:// or http:// and a host.")
    if parts.username is not None or parts.query or parts.fragment:
        raise PushAddressRefused("The address has a user, a query or a fragment; send a token or username beside it.")
    number = port or PORTS[parts.scheme]
    try:
        found = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise PushFailed(f"The name {host:.200} is unknown; check the address.") from None
    resolved = str(found[0][4][0])
    is_allowed = host in settings.allowed_push_hosts or (settings.is_local and not settings.asks_for_keys)
    if not is_allowed and not all(is_public(str(entry[4][0])) for entry in found):
        raise PushAddressRefused(
            f"{host:.200} is an address of a private network. The operator of this service allows it by "
            f"GRAFT_PUSH_HOSTS={host:.200}"
        )
    place = f"[{resolved}]:{number}" if ":" in resolved else f"{resolved}:{number}"
    path = parts.path.rstrip("/")
    return Address(urlunsplit((parts.scheme, place, path, "", "")), host, parts.netloc)


def is_public(address: str) -> bool:
    """Check that an IP address belongs to one machine of the public internet, and that an IPv4 address in it does."""
    found = ip_address(address)
    if isinstance(found, IPv4Address):
        return found.is_global and not found.is_multicast
    bits = int(found)
    for network, behind in EMBEDDING.items():
        if found in network:
            return is_public(str(IPv4Address(bits >> behind & 0xFFFFFFFF)))
    if bits >> 32 & 0xFDFFFFFF == ISATAP and not is_public(str(IPv4Address(bits & 0xFFFFFFFF))):
        return False
    return found.is_global and not (found.is_multicast or found.is_site_local or found in LOCAL_NAT64)
