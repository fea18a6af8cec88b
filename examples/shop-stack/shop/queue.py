"""Orders that wait to be packed, in Redis. It may lose all of them: the database knows which they are (`work` asks it)."""

from functools import cache

from django.conf import settings
from redis import Redis

ORDERS = "orders"
VIEWS = "views"


@cache
def server():
    return Redis.from_url(settings.REDIS_URL)


def put(number):
    server().rpush(ORDERS, number)


def take(seconds):
    """The number of the next order, None after so many seconds without one."""
    found = server().blpop(ORDERS, timeout=seconds)
    return int(found[1]) if found else None


def seen():
    """How often the catalogue was looked at, whichever replica showed it."""
    return server().incr(VIEWS)
