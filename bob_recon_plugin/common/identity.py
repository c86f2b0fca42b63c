"""Which recognition model: its name and the hash of its weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Identity:
    """Name of a recognition model, hash of its weights file, length of its embeddings.

    ``sha256`` and ``embedding_size`` are None if they are not known without loading the model.
    """

    name: str
    sha256: str | None = None
    embedding_size: int | None = None

    def same_as(self, other: Identity) -> bool:
        """Whether both are the same model, by their hashes if both are known, else by their names.

        Examples
        --------
        >>> Identity("a", "0F").same_as(Identity("b", "0f"))
        True
        >>> Identity("a", "0f").same_as(Identity("a", "0e"))
        False
        >>> Identity("a").same_as(Identity("a", "0e"))
        True
        """
        if self.sha256 is not None and other.sha256 is not None:
            return self.sha256.lower() == other.sha256.lower()
        return self.name == other.name
