"""Which IP addresses are everybody's, so that nothing of the app's own network is behind them."""

from __future__ import annotations

import ipaddress

# The platform's own services, at an address that looks like anybody's (Microsoft, "What is IP address 168.63.129.16?").
_AZURE_PLATFORM = ipaddress.ip_address("168.63.129.16")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(text: str) -> bool:
    """Whether an address is public, and no private, loopback, link-local, multicast, reserved or unspecified one.

    Args:
        text: an IPv4 or IPv6 address; what is none is not public.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return _is_public(address)


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    inner = _embedded(address) if isinstance(address, ipaddress.IPv6Address) else None
    if inner is not None:
        return _is_public(inner)
    # Python's versions disagree on what is global; each of these was asked for by name.
    refused = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )
    return address.is_global and not refused and address != _AZURE_PLATFORM


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a gateway would go to instead."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
