"""Which addresses a callback may go to."""

from __future__ import annotations

import pytest

from shared.public_addresses import is_public


@pytest.mark.parametrize("address", ["93.184.215.14", "20.50.1.2", "2a00:1450:4001:80b::200e", "64:ff9b::5db8:d70e"])
def test_addresses_that_everybody_can_reach_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "127.0.0.1",
        "127.9.9.9",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104  # nothing binds to it
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "168.63.129.16",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd12:3456::1",
        "ff02::1",
        "2001:db8::1",
    ],
)
def test_addresses_of_anybodys_own_network_are_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:168.63.129.16",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:a00:1::",
        "2001:0:5ef5:79fb:0:0:80ff:fffe",
    ],
)
def test_a_private_address_inside_another_is_not_public_either(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["", "localhost", "1", "0x7f000001", "127.1", "1.2.3.4.5"])
def test_what_is_no_address_is_not_public(address: str) -> None:
    assert not is_public(address)
