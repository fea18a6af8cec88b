"""How Python's packages are called: a name, or a requirement, as people write them → the name that locks and indexes have."""

import re


def normal(name: str) -> str:
    """PEP 503's form; of any other name, something alike only for what is alike."""
    return re.sub("[-_.]+", "-", name).lower()


def named(requirement: str) -> str:
    """The name in a requirement (PEP 508): `Django[argon2]>=5.2` → `django`."""
    return normal(re.split(r"[^\w.-]", requirement.strip(), maxsplit=1, flags=re.ASCII)[0])
