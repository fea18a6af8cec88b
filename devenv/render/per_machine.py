"""A Debian package → what its install scripts make for one machine alone, and how an image does without.

A key, a certificate or the number of a database cluster in an image would be the same for everybody who pulls it, and another
one each time the image is built. So images don't have them; whoever runs one has them made there, by a command.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple


class PerMachine(NamedTuple):
    """What one machine has of its own. `packages`: whose install scripts make it, a regular expression over the whole name.

    `before`: shell that keeps them from it, "" where nothing can. `made`: what find(1) takes for what they made all the same.
    `again`: what makes it in a container.
    """

    packages: str
    what: str
    before: str
    made: str
    again: str


PER_MACHINE = (
    # createcluster.d is read after what debconf makes. The file stays: another server may be added in a later layer.
    PerMachine(
        r"postgresql-common|postgresql-\d+",
        "a database cluster",
        "mkdir -p /etc/postgresql-common/createcluster.d"
        " && echo create_main_cluster = false > /etc/postgresql-common/createcluster.d/image.conf",
        "",
        "pg_createcluster VERSION main",
    ),
    PerMachine(
        r"mariadb-server(-\d+\.\d+)?", "a database", "", "/var/lib/mysql -mindepth 1", "mariadb-install-db --user=mysql"
    ),
    PerMachine(
        "slapd", "a directory", "echo slapd slapd/no_configuration boolean true | debconf-set-selections", "", "slapadd"
    ),
    PerMachine("openssh-server", "host keys", "", "/etc/ssh -name 'ssh_host_*_key*'", "ssh-keygen -A"),
    # The link is named after the subject, which is the host's name.
    PerMachine(
        "ssl-cert",
        "a certificate and its key",
        "",
        r"/etc/ssl \( -name 'ssl-cert-snakeoil.*' -o -lname '*ssl-cert-snakeoil.pem' \)",
        "make-ssl-cert generate-default-snakeoil",
    ),
    PerMachine("bind9", "the key of rndc", "", "/etc/bind -name rndc.key", "rndc-confgen -a"),
    PerMachine("munge", "a key", "", "/etc/munge -name munge.key", "mungekey"),
    PerMachine("rabbitmq-server", "a cookie", "", "/var/lib/rabbitmq -name .erlang.cookie", "rabbitmq-server"),
    PerMachine(
        "varnish", "a secret", "", "/etc/varnish -name secret", "cat /proc/sys/kernel/random/uuid > /etc/varnish/secret"
    ),
)


def left_out(packages: Collection[str]) -> tuple[PerMachine, ...]:
    """What the install scripts of these packages would make."""
    return tuple(one for one in PER_MACHINE if any(re.fullmatch(one.packages, name) for name in packages))
