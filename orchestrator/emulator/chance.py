"""Which of several possible things happens: a counter-based generator, so that a seed tells the whole
story."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b

__all__ = ["Chance", "fraction", "hexdigits", "whole"]


def whole(seed: int, *labels: str | int) -> int:
    """A 64-bit number that depends on the seed and the labels alone."""
    text = "\x1f".join([str(seed), *map(str, labels)])
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def fraction(seed: int, *labels: str | int) -> float:
    """A number in ``[0, 1)`` that depends on the seed and the labels alone."""
    return (whole(seed, *labels) >> 11) / (1 << 53)


def hexdigits(seed: int, *labels: str | int, digits: int = 32) -> str:
    """Up to 64 hexadecimal digits that depend on the seed and the labels alone."""
    text = "\x1f".join([str(seed), *map(str, labels)])
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()[:digits]


class Chance:
    """Draws in order, one counter per label: adding a draw under one label moves no other label's luck."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._drawn: Counter[str] = Counter()

    def fraction(self, label: str) -> float:
        """The next number in ``[0, 1)`` under this label."""
        self._drawn[label] += 1
        return fraction(self._seed, label, self._drawn[label])

    def happens(self, label: str, probability: float) -> bool:
        """Whether the next event under this label takes place; a probability of 0 draws nothing."""
        return probability > 0 and self.fraction(label) < probability
