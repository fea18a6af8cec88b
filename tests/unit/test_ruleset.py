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
    assert difference(NET, opened, opened) == difference(NET, CLOSED, CLOSED) == ()


def test_ruleset_port_without_targets_is_not_there() -> None:
    assert difference(NET, CLOSED, port()) == ()
    assert difference(NET, port(ONE), port()) == difference(NET, port(ONE), CLOSED)


def test_ruleset_single_target_is_an_element_and_several_are_a_chain() -> None:
    assert difference(NET, CLOSED, port(ONE)) == (
        "add element inet devenv_0a1b2c published { 127.0.0.1 . tcp . 8000 : 10.213.0.2 . 80 }\n",
    )
    (opening,) = difference(NET, CLOSED, port(ONE, TWO))
    chain = opening.split()[4]
    assert opening.splitlines() == [
        f"add chain inet devenv_0a1b2c {chain}",
        f"flush chain inet devenv_0a1b2c {chain}",
        f"add rule inet devenv_0a1b2c {chain} meta l4proto tcp dnat ip to numgen inc mod 2"
        " map { 0 : 10.213.0.2 . 80, 1 : 10.213.0.3 . 80 }",
        f"add element inet devenv_0a1b2c shared {{ 127.0.0.1 . tcp . 8000 : goto {chain} }}",
    ]
    (closing,) = difference(NET, port(ONE, TWO), CLOSED)
    assert closing.splitlines() == [
        "delete element inet devenv_0a1b2c shared { 127.0.0.1 . tcp . 8000 }",
        f"flush chain inet devenv_0a1b2c {chain}",
        f"delete chain inet devenv_0a1b2c {chain}",
    ]


def test_ruleset_new_way_to_a_port_comes_before_the_old_one_goes() -> None:
    chain, element, clearing = difference(NET, port(ONE), port(ONE, TWO))
    assert (chain + element,) == difference(NET, CLOSED, port(ONE, TWO))
    assert clearing == "delete element inet devenv_0a1b2c published { 127.0.0.1 . tcp . 8000 }\n"
    assert difference(NET, port(ONE, TWO), port(ONE)) == (
        *difference(NET, CLOSED, port(ONE)),
        *difference(NET, port(ONE, TWO), CLOSED),
    )


def test_ruleset_port_with_other_targets_has_another_chain_before_and_its_own_for_a_while() -> None:
    commands = [
        [line.split()[:2] for line in each.splitlines()] for each in difference(NET, port(ONE, TWO), port(TWO, ONE))
    ]
    assert commands == [
        [["add", "chain"], ["flush", "chain"], ["add", "rule"]],
        [["delete", "element"], ["add", "element"]],
        [["flush", "chain"], ["delete", "chain"]],
    ]


def test_ruleset_port_that_closes_or_opens_while_another_moves_does_so_at_once() -> None:
    others = [port(ONE, TWO, number=number).published for number in (9000, 9001)]
    first, moving, last = difference(
        NET, Open(port(ONE, TWO).published + others[0]), Open(port(TWO, ONE).published + others[1])
    )
    assert "delete element inet devenv_0a1b2c shared { 127.0.0.1 . tcp . 8000, 127.0.0.1 . tcp . 9000 }" in moving
    assert (moving.count("delete chain"), moving.count("add chain")) == (1, 1)
    assert "900" not in first + last


def test_ruleset_difference_speaks_of_what_differs_only() -> None:
    before = Open(port(ONE).published, groups=(("10.213.0.2", 1), ("10.213.0.3", 1)))
    after = Open(port(ONE).published, groups=(("10.213.0.3", 1), ("10.213.0.4", 1)))
    (changing,) = difference(NET, before, after)
    assert changing.splitlines() == [
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
    assert len("".join(difference(NET, CLOSED, Open(groups=groups)))) < 60_000
