"""What Debian's install scripts make for one machine alone is in no image: it is the same when built again, and made in a container."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import New

pytestmark = [pytest.mark.engine, pytest.mark.network]

LISTED = """
ls -A /etc/ldap/slapd.d /etc/munge /etc/ssl/private /var/lib/ldap /var/lib/mysql /var/lib/postgresql /etc/postgresql | grep -v :
ls -d /etc/ssh/*host* /etc/bind/rndc.key /etc/ssl/certs/*snakeoil* /etc/varnish/secret /var/lib/rabbitmq/.erlang.cookie
find /etc/ssl/certs -xtype l
"""
MADE = {
    "openssh-server": ("ssh-keygen -A", "/etc/ssh/ssh_host_rsa_key"),
    "ssl-cert": ("make-ssl-cert generate-default-snakeoil", "/etc/ssl/private/ssl-cert-snakeoil.key"),
    "bind9": ("rndc-confgen -a", "/etc/bind/rndc.key"),
    "mariadb-server": ("mariadb-install-db --user=mysql", "/var/lib/mysql/ibdata1"),
    "munge": ("mungekey", "/etc/munge/munge.key"),
    "postgresql": ("pg_createcluster 15 main", "/var/lib/postgresql/15/main/PG_VERSION"),
    "rabbitmq-server": ("", ""),
    "slapd": ("", ""),
    "varnish": ("cat /proc/sys/kernel/random/uuid > /etc/varnish/secret", "/etc/varnish/secret"),
}
"""What makes it in a container, and where. The others are told what they shall be when they start."""


@pytest.mark.parametrize(
    "packages",
    [("openssh-server", "ssl-cert"), pytest.param(tuple(MADE), marks=[pytest.mark.soak, pytest.mark.timeout(900)])],
    ids=["few", "all"],
)
def test_keys_and_databases_are_made_where_an_image_runs(new: New, packages: tuple[str, ...]) -> None:
    place = new(manifest=f"name: servers\nfrom: bootstrap:bookworm\napt: [{', '.join(packages)}]\n")
    place("build")
    assert "every step gave the same bytes again" in place("build", "--check").out
    assert place.attempt("run", "--", "sh", "-c", LISTED).out.split() == []
    made = [MADE[one] for one in packages if MADE[one][0]]
    place("run", "--", "sh", "-ec", "\n".join(f"{command}\ntest -s {path}" for command, path in made))


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_what_java_trusts_is_the_same_when_built_again(new: New) -> None:
    place = new(manifest="name: java\nfrom: bootstrap:bookworm\napt: [default-jre-headless]\n")
    place("build")
    assert "every step gave the same bytes again" in place("build", "--check").out
    said = place("run", "--", "keytool", "-list", "-cacerts", "-storepass", "changeit").out
    assert "Your keystore contains 1" in said
