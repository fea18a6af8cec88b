"""Slots become disjoint id ranges, addresses and names; subnets and name servers are chosen."""

from __future__ import annotations

import itertools

import pytest

from devenv.engine.native.slot import ids
from devenv.engine.native.slot.address import (
    Network,
    Subnet,
    bridge_name,
    candidates,
    choose,
    mac,
    nameservers,
    parse_subnet,
)

NETWORK = Network("dv0a1b2c", parse_subnet("10.213.16.0/20"))


def test_ids_ranges_are_disjoint_and_within_the_unused_space() -> None:
    starts = [ids.host_start(slot) for slot in range(ids.LIMIT)]
    assert starts[0] == 0x70000000
    assert all(after - before == 65536 for before, after in itertools.pairwise(starts))
    assert starts[-1] + ids.COUNT <= 0x7FFD0000


def test_ids_stores_take_other_blocks_of_slots_as_long_as_there_are_any() -> None:
    blocks: list[int] = []
    for seed in (5, 5, 0x123456, *range(100)):
        first = next(ids.order((), blocks, seed))
        blocks.append(first // ids.BLOCK)
    assert len(set(blocks[:64])) == len(blocks[:64]) == 64
    everything = list(ids.order({3, 7}, {7, 9}, 12))
    assert sorted(everything) == list(range(ids.LIMIT))
    ranked = list(dict.fromkeys(number // ids.BLOCK for number in everything))
    assert (ranked[0], ranked[1], ranked[-2:]) == (3, 12, [7, 9])  # its own, then by the seed; what others have last


def test_ids_links_of_other_stores_are_told_from_ours_and_from_any_others() -> None:
    assert NETWORK.foreign_slot("dvffffff-130") == 130
    for link in (NETWORK.link(3), "dvffffff", "eth0", "veth-3", "dvffffff-x", "dvdoctor-3x"):
        assert NETWORK.foreign_slot(link) is None, link


def test_ids_extent_is_a_uid_map_line() -> None:
    assert str(ids.extent(3)) == "0 1879244800 65536"


@pytest.mark.parametrize("slot", [-1, ids.LIMIT])
def test_ids_number_that_is_no_slot_is_refused(slot: int) -> None:
    with pytest.raises(ValueError, match="is not in"):
        ids.host_start(slot)


def test_ids_every_slot_has_an_address_in_a_20_and_no_more() -> None:
    assert NETWORK.gateway == "10.213.16.1"
    assert NETWORK.address(0) == "10.213.16.2"
    assert NETWORK.address(ids.LIMIT - 1) == "10.213.31.254"
    with pytest.raises(ValueError, match="no address"):
        NETWORK.address(ids.LIMIT)


def test_ids_names_fit_the_kernel_and_lead_back_to_the_slot() -> None:
    longest = NETWORK.link(ids.LIMIT - 1)
    assert len(longest) <= 15
    assert NETWORK.slot(longest) == ids.LIMIT - 1
    assert NETWORK.slot("dv0a1b2c") is None
    assert NETWORK.slot("dvffffff-3") is None
    assert NETWORK.slot("dv0a1b2c-x") is None


def test_ids_stores_with_different_run_folders_have_different_bridges() -> None:
    one, other = bridge_name("/run/devenv"), bridge_name("/var/tmp/a/run")
    assert one != other
    assert len(one) == 8


def test_ids_mac_is_local_unicast_and_unique_per_address() -> None:
    assert mac("10.213.16.2") == "02:64:0a:d5:10:02"


def test_ids_subnet_chosen_overlaps_nothing_taken() -> None:
    first, second = [subnet for subnet, _ in zip(candidates(0), range(2), strict=False)]
    taken = [parse_subnet("0.0.0.0/0"), Subnet(first.base + 256, 24)]
    assert choose(candidates(0), taken) == second
    assert choose(candidates(0), [parse_subnet("10.0.0.0/8"), parse_subnet("172.16.0.0/12")]) is None


def test_ids_subnets_offered_are_all_private_whatever_the_seed() -> None:
    private = [parse_subnet("10.0.0.0/8"), parse_subnet("172.16.0.0/12")]
    offered = list(candidates(12345))
    assert len(set(offered)) == len(offered) > 50
    assert all(any(subnet.overlaps(network) for network in private) for subnet in offered)


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.256", "1.2.3.4/33", "fe80::1", "a.b.c.d"])
def test_ids_text_that_is_no_subnet_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid literal|not an IPv4|could not"):
        parse_subnet(text)


@pytest.mark.parametrize(
    ("resolv_conf", "upstream", "expected"),
    [
        ("nameserver 192.0.2.53\nnameserver 192.0.2.53\n", "", (("192.0.2.53",), "")),
        ("nameserver 127.0.0.53\noptions edns0\n", "nameserver 192.0.2.1\n", (("10.213.16.1",), "127.0.0.53")),
        ("nameserver 127.0.0.1\nnameserver 192.0.2.1\n", "", (("10.213.16.1", "192.0.2.1"), "127.0.0.1")),
        ("nameserver fe80::1%eth0\n", "nameserver 192.0.2.1\n", (("192.0.2.1",), "")),
        ("# nothing\nnameserver\n", "", ((), "")),
    ],
)
def test_ids_nameservers_are_those_a_container_can_reach(
    resolv_conf: str, upstream: str, expected: tuple[tuple[str, ...], str]
) -> None:
    assert nameservers(resolv_conf, upstream, NETWORK.gateway) == expected
