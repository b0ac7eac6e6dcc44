"""Addresses that a service connects to for a caller, against every way to write a private one."""

from __future__ import annotations

import pytest

from service.pushes import addresses
from service.pushes.errors import PushAddressRefused, PushFailed
from service.settings import Settings

PRIVATE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.0.1",
    "224.0.0.1",
    "255.255.255.255",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "203.0.114.9"]


def embed(address: str) -> list[str]:
    """Every IPv6 address that stands for an IPv4 address: as it is written, and by its hexadecimal digits."""
    first, second, third, fourth = (int(part) for part in address.split("."))
    high, low = f"{first:02x}{second:02x}", f"{third:02x}{fourth:02x}"
    return [
        f"::{address}",
        f"::ffff:{address}",
        f"::ffff:{high}:{low}",
        f"::ffff:0:{address}",
        f"64:ff9b::{address}",
        f"64:ff9b::{high}:{low}",
        f"2002:{high}:{low}::",
        f"2002:{high}:{low}:1:2:3:4:5",
        f"2606:4700::5efe:{address}",
        f"2606:4700::200:5efe:{address}",
    ]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_ipv4_address_is_one_in_every_ipv6_address_too(address: str) -> None:
    assert [text for text in (address, *embed(address)) if addresses.is_public(text)] == []


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_ipv4_address_is_one_in_every_ipv6_address_too(address: str) -> None:
    assert [text for text in (address, *embed(address)) if not addresses.is_public(text)] == []


@pytest.mark.parametrize(
    "address",
    [
        "::",
        "::1",
        "fc00::1",
        "fe80::1",
        "fe80::1%1",
        "fec0::1",  # site-local
        "ff02::1",
        "ff0e::1",  # multicast of the whole internet
        "64:ff9b:1::808:808",  # NAT64 of one network
        "64:ff9b:1:8:8:800:8:808",
        "2001:0:808:808::1",  # Teredo
        "2001:db8::1",
        "fe80::5efe:8.8.8.8",  # ISATAP on a link
    ],
)
def test_ipv6_addresses_of_no_public_machine_are_private(address: str) -> None:
    assert not addresses.is_public(address)


def test_public_ipv6_addresses_are_allowed() -> None:
    for address in ("2606:4700::1111", "2a00:1450:4001:80b::200e", "2001:4860:4860::8888"):
        assert addresses.is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:5000",
        "http://localhost",
        "http://[::1]",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1",
        "http://2130706433",
        "http://[::ffff:127.0.0.1]",
        "http://0.0.0.0",
        "http://0x7f.1",
        "http://0177.0.0.1",
    ],
)
def test_a_service_for_others_pushes_to_no_private_address(url: str) -> None:
    with pytest.raises(PushAddressRefused, match="GRAFT_PUSH_HOSTS"):
        addresses.check(url, Settings(host="0.0.0.0"))
    with pytest.raises(PushAddressRefused):
        addresses.check(url, Settings(auth="on"))
    addresses.check(url, Settings())


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://host/x",
        "host",
        "https://",
        "http://a:b@host",
        "http://h:x",
        "http://host/\x01",
        "http://host/ö",
        "http://ho st",
        "http://h\n.org",
        "http://127\u30020\u30020\u30021",
        "http://\uff4c\uff4fcalhost",
    ],
)
def test_no_other_kind_of_address_is_taken(url: str) -> None:
    with pytest.raises(PushAddressRefused):
        addresses.check(url, Settings())


def test_a_named_host_is_allowed_and_the_connection_goes_where_it_was_checked() -> None:
    settings = Settings(host="0.0.0.0", push_hosts="registry.internal, localhost")
    found = addresses.check("http://localhost:5000/mlflow/", settings)
    assert found.url in ("http://127.0.0.1:5000/mlflow", "http://[::1]:5000/mlflow")
    assert (found.host, found.netloc) == ("localhost", "localhost:5000")
    with pytest.raises(PushFailed, match="unknown"):
        addresses.check("http://no-such-host.invalid", settings)
