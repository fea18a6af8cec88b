#!/usr/bin/env python3
"""Whether the shop works as a whole: `devenv test` asks the replicas by name; outside, the published port:

    python3 smoke.py http://$(devenv port web 8000)

Needs nothing but Python.
"""

import itertools
import json
import socket
import sys
import time
from urllib.parse import urlencode, urlsplit
from urllib.request import ProxyHandler, build_opener

TRIES = 60
PATIENCE = 20.0


class Shop:
    """The site at an address; where a name stands for several, each in turn."""

    def __init__(self, url):
        parts = urlsplit(url)
        found = socket.getaddrinfo(parts.hostname, parts.port or 80, socket.AF_INET, socket.SOCK_STREAM)
        self.addresses = itertools.cycle(sorted({f"{address[0]}:{address[1]}" for *_, address in found}))
        self.opener = build_opener(ProxyHandler({}))

    def ask(self, path, **form):
        data = urlencode(form).encode() if form else None
        with self.opener.open(f"http://{next(self.addresses)}{path}", data, timeout=10) as answer:
            return answer.read().decode()


def replicas(shop):
    """The names of those that answer."""
    return {json.loads(shop.ask("/health/"))["replica"] for _ in range(TRIES)}


def packed(shop, number):
    """Wait until the worker has packed an order."""
    end = time.monotonic() + PATIENCE
    while json.loads(shop.ask(f"/orders/{number}/"))["packed"] is None:
        assert time.monotonic() < end, f"order {number} isn't packed after {PATIENCE:g} s: does the worker run?"
        time.sleep(0.05)


def main(url):
    shop = Shop(url)
    names = replicas(shop)
    assert len(names) > 1, f"only {names} answered"
    assert "Assam" in shop.ask("/"), "the catalogue is empty: did `migrate` run?"
    order = json.loads(shop.ask("/orders/", product="Assam", quantity=1))
    packed(shop, order["number"])
    print(f"ok: {', '.join(sorted(names))} answer; order {order['number']} was placed and packed")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://web:8000")
