"""How fast a key of a service signs, for the measurements of key stores."""

import time
from collections.abc import Callable


def signatures_a_second(sign: Callable[[bytes], bytes], count: int) -> float:
    """Of ``count`` messages, one after another."""
    begun = time.perf_counter()
    for number in range(count):
        sign(b"a checkpoint of %d entries" % number)
    return count / (time.perf_counter() - begun)
