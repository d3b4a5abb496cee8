"""Statistics that assume nothing of a distribution: medians, quartiles, order statistics of paired ratios."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

TAIL = 0.025  # at each end: a 95 % interval


@dataclass(frozen=True)
class Ratio:
    """How much faster one contender was than another, in rounds that were measured in turns.

    Attributes:
        of_medians: Ratio of the two medians.
        median: Median of the ratios of the pairs.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    of_medians: float
    median: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """The farther end of the interval from 1: how unlike two equal contenders looked."""
        return max(abs(self.high - 1), abs(self.low - 1))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median, from order statistics; of fewer than 6 values, the smallest and the largest.

    The median lies outside of the k-th smallest and k-th largest of n values with probability 2 P(B < k), where B is
    binomial (n, 1/2).
    """
    ordered, count = sorted(values), len(values)
    cut, below = 0, 0.0
    while True:
        below += math.comb(count, cut) / 2**count
        if below > TAIL:
            break
        cut += 1
    cut = max(cut, 1)
    return ordered[cut - 1], ordered[count - cut]


def compare(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Pair the samples round by round."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, high = interval(ratios)
    return Ratio(statistics.median(ours) / statistics.median(theirs), statistics.median(ratios), low, high)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
