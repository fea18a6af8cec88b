"""nft text from values: what is open, what leads from one state to another, what an edition is made of."""

from __future__ import annotations

from devenv.engine.native.slot.address import Network, parse_subnet
from devenv.engine.native.slot.ruleset import CLOSED, Lent, Open, Published, difference, edition, rule_counts, rules

NET = Network("dv0a1b2c", parse_subnet("10.213.0.0/20"))
ONE, TWO = ("10.213.0.2", 80), ("10.213.0.3", 80)


def port(*targets: tuple[str, int], address: str = "127.0.0.1", number: int = 8000) -> Open:
    return Open((Published(address, "tcp", number, targets),))


def test_ruleset_difference_of_the_same_is_nothing() -> None:
    opened = Open(port(ONE, TWO).published, (Lent("udp", 53, "127.0.0.53"),), (("10.213.0.2", 1),))
    assert difference(NET, opened, opened) == difference(NET, CLOSED, CLOSED) == ""


def test_ruleset_port_without_targets_is_not_there() -> None:
    assert difference(NET, CLOSED, port()) == ""
    assert difference(NET, port(ONE), port()) == difference(NET, port(ONE), CLOSED)


def test_ruleset_single_target_is_an_element_and_several_are_a_chain() -> None:
    assert difference(NET, CLOSED, port(ONE)) == (
        "add element inet devenv_0a1b2c published { 127.0.0.1 . tcp . 8000 : 10.213.0.2 . 80 }\n"
    )
    assert difference(NET, port(ONE), port(ONE, TWO)).splitlines() == [
        "delete element inet devenv_0a1b2c published { 127.0.0.1 . tcp . 8000 }",
        "add chain inet devenv_0a1b2c to_127.0.0.1_tcp_8000",
        "flush chain inet devenv_0a1b2c to_127.0.0.1_tcp_8000",
        "add rule inet devenv_0a1b2c to_127.0.0.1_tcp_8000 meta l4proto tcp dnat ip to numgen inc mod 2"
        " map { 0 : 10.213.0.2 . 80, 1 : 10.213.0.3 . 80 }",
        "add element inet devenv_0a1b2c shared { 127.0.0.1 . tcp . 8000 : goto to_127.0.0.1_tcp_8000 }",
    ]


def test_ruleset_port_with_other_targets_changes_its_rule_alone() -> None:
    changed = difference(NET, port(ONE, TWO), port(TWO, ONE))
    assert "element" not in changed
    assert changed.count("add rule") == 1


def test_ruleset_difference_speaks_of_what_differs_only() -> None:
    before = Open(port(ONE).published, groups=(("10.213.0.2", 1), ("10.213.0.3", 1)))
    after = Open(port(ONE).published, groups=(("10.213.0.3", 1), ("10.213.0.4", 1)))
    assert difference(NET, before, after).splitlines() == [
        "delete element inet devenv_0a1b2c group { 10.213.0.2 }",
        "delete element inet devenv_0a1b2c members { 10.213.0.2 . 0x1 }",
        "add element inet devenv_0a1b2c group { 10.213.0.4 : 0x1 }",
        "add element inet devenv_0a1b2c members { 10.213.0.4 . 0x1 }",
    ]


def test_ruleset_edition_is_the_rules_and_not_what_is_open() -> None:
    assert edition(NET) == edition(Network(*NET))
    assert edition(NET) != edition(NET._replace(bridge="dv0a1b2d"))
    assert "8000" in rules(NET, port(ONE, TWO, address="0.0.0.0"))


def test_ruleset_counts_every_rule_of_every_chain() -> None:
    assert rule_counts(NET)["genuine"] == rule_counts(NET)["itself"] == 3
    assert {"arrive", "local", "vouch", "through", "inward", "lend", "leave"} < set(rule_counts(NET))


def test_ruleset_of_a_thousand_is_as_long_as_it_must_be() -> None:
    groups = tuple((NET.address(slot), 1 + slot // 5) for slot in range(1000))
    assert len(difference(NET, CLOSED, Open(groups=groups))) < 60_000
