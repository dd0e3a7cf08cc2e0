"""Which addresses the gateway dials: the one that answers is judged, however it is spelled."""

import pytest

from hand_adapters.dialer import permitted


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700:4700::1111"])
def test_public_addresses_are_dialled(address):
    assert permitted(address, private_network=False)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "::1",
        "fd00::1",
        "fec0::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "2002:7f00:1::",
        "64:ff9b::a00:1",
    ],
)
def test_private_addresses_need_the_operators_word(address):
    assert not permitted(address, private_network=False)
    assert permitted(address, private_network=True)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "100.100.100.200",
        "192.0.0.192",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "240.0.0.1",
        "255.255.255.255",
        "::7f00:1",
        "2130706433",
        "0x7f000001",
        "127.1",
        "localhost",
        "",
    ],
)
def test_metadata_and_nonsense_are_never_dialled(address):
    assert not permitted(address, private_network=True)
    assert not permitted(address, private_network=False)
