"""What of the host is lent: resolvers and proxies on its loopback are reached at the gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from devenv.engine.native.host import lent

GATEWAY = "10.213.0.1"


@pytest.mark.parametrize(
    ("url", "seen", "service"),
    [
        ("http://127.0.0.1:3128", "http://10.213.0.1:3128", ("127.0.0.1", 3128)),
        ("http://localhost:3128/", "http://10.213.0.1:3128/", ("127.0.0.1", 3128)),
        ("localhost:3128", "10.213.0.1:3128", ("127.0.0.1", 3128)),
        ("HTTP://LOCALHOST", "HTTP://10.213.0.1", ("127.0.0.1", 80)),
        ("https://127.1.2.3/simple/?a=1", "https://10.213.0.1/simple/?a=1", ("127.1.2.3", 443)),
        ("socks5h://127.0.0.1", "socks5h://10.213.0.1", ("127.0.0.1", 1080)),
        ("http://user:p%40ss@127.0.0.1:8080/x", "http://user:p%40ss@10.213.0.1:8080/x", ("127.0.0.1", 8080)),
    ],
)
def test_through_leads_a_url_on_loopback_to_the_gateway(url: str, seen: str, service: tuple[str, int]) -> None:
    assert lent.through((("http_proxy", url),), GATEWAY) == ((("http_proxy", seen),), (service,))


@pytest.mark.parametrize(
    "url",
    ["http://proxy.example:3128", "http://localhost.example:80", "http://127.0.0.1.example", "http://10.0.0.1:127", ""],
)
def test_through_leaves_other_urls_alone(url: str) -> None:
    assert lent.through((("http_proxy", url),), GATEWAY) == ((("http_proxy", url),), ())


def test_through_leaves_no_proxy_alone() -> None:
    variables = (("no_proxy", "localhost,127.0.0.1"), ("NO_PROXY", "127.0.0.1"))

    assert lent.through(variables, GATEWAY) == (variables, ())


@pytest.mark.parametrize(
    ("own", "upstream", "inside"),
    [
        (
            "nameserver 9.9.9.9\nsearch corp\noptions ndots:2\n",
            "",
            "nameserver 9.9.9.9\nsearch corp\noptions ndots:2\n",
        ),
        ("nameserver 127.0.0.53\noptions edns0\n", "nameserver 9.9.9.9\n", "nameserver 10.213.0.1\noptions edns0\n"),
        ("nameserver 127.0.0.1\nnameserver 9.9.9.9\n", "", "nameserver 10.213.0.1\nnameserver 9.9.9.9\n"),
        ("nameserver ::1\n", "nameserver 9.9.9.9\n", "nameserver 9.9.9.9\n"),
        ("# nameserver 1.1.1.1\n", "", ""),
    ],
)
def test_resolv_conf_names_servers_that_a_container_reaches(
    tmp_path: Path, own: str, upstream: str, inside: str
) -> None:
    (tmp_path / "own").write_text(own)
    (tmp_path / "upstream").write_text(upstream)

    assert lent.resolv_conf(GATEWAY, str(tmp_path / "own"), str(tmp_path / "upstream")).decode() == inside


def test_resolv_conf_without_any_file_is_empty(tmp_path: Path) -> None:
    assert lent.resolv_conf(GATEWAY, str(tmp_path / "none"), str(tmp_path / "none")) == b""


def test_apt_settings_name_bundle_and_proxies_and_nothing_that_could_be_more() -> None:
    proxies = lent.proxy_variables({"http_proxy": "http://a:1", "HTTPS_PROXY": 'http://b"; Evil "1'})

    assert lent.apt_settings("/bundle.pem", proxies).decode().splitlines() == [
        f'Acquire::https::CaInfo "{lent.CERTIFICATES}";',
        'Acquire::http::Proxy "http://a:1";',
    ]
    assert lent.apt_settings("", ()) == b""


@pytest.mark.parametrize(
    ("texts", "old"),
    [
        ({}, False),
        ({"apt.conf.d/10old": 'Acquire::Check-Valid-Until "false";\n'}, True),
        ({"apt.conf": "acquire::check-valid-until 0;\n"}, True),
        (
            {
                "apt.conf.d/10old": 'Acquire::Check-Valid-Until "false";',
                "apt.conf.d/20": "Acquire::Check-Valid-Until yes;",
            },
            False,
        ),
        ({"apt.conf.d/10old": '// Acquire::Check-Valid-Until "false";\n'}, False),
    ],
)
def test_apt_age_is_the_hosts_last_word(tmp_path: Path, texts: dict[str, str], old: bool) -> None:
    (tmp_path / "apt.conf.d").mkdir()
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    assert bool(lent.apt_age(str(tmp_path))) is old
