"""Keys: what a token holds, one a subject."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def subjects_key(seed: int, subject: object) -> int:
    """Key that a system issues to a subject, in [0, 2**128).

    Parameters
    ----------
    seed : int
        Of the system: another seed gives everyone another key.
    subject : object
        Subject id; its text counts.

    Examples
    --------
    >>> subjects_key(0, "anna") == subjects_key(0, "anna")
    True
    >>> len({subjects_key(0, "anna"), subjects_key(1, "anna"), subjects_key(0, "bert")})
    3
    """
    return _hashed(f"subject/{seed}/{subject}")


def attackers_key(seed: int) -> int:
    """Key that the system issues to the attacker, who is none of its other subjects."""
    return _hashed(f"attacker/{seed}")


def places(keys: Iterable[int]) -> dict[int, list[int]]:
    """Places of each key, in the order in which keys come first.

    Examples
    --------
    >>> places([5, 3, 5])
    {5: [0, 2], 3: [1]}
    """
    found: dict[int, list[int]] = {}
    for place, key in enumerate(keys):
        found.setdefault(key, []).append(place)
    return found


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
