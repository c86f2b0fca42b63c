"""Keys on the tokens of subjects and of the attacker."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def subjects_key(seed: int, subject: object) -> int:
    """Return the key that a system issues to a subject, in [0, 2**128).

    Parameters
    ----------
    seed : int
        Seed of the system; another seed gives other keys.
    subject : object
        Subject id, converted to text.

    Examples
    --------
    >>> subjects_key(0, "anna") == subjects_key(0, "anna")
    True
    >>> len({subjects_key(0, "anna"), subjects_key(1, "anna"), subjects_key(0, "bert")})
    3
    """
    return _hashed(f"subject/{seed}/{subject}")


def attackers_key(seed: int) -> int:
    """Return the key that the system issues to the attacker, different from every subject's."""
    return _hashed(f"attacker/{seed}")


def rows_by_key(keys: Iterable[int]) -> dict[int, list[int]]:
    """Return the row numbers of each key; keys in the order of their first row.

    Examples
    --------
    >>> rows_by_key([5, 3, 5])
    {5: [0, 2], 3: [1]}
    """
    found: dict[int, list[int]] = {}
    for row, key in enumerate(keys):
        found.setdefault(key, []).append(row)
    return found


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
