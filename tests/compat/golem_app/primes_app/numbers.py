"""The work itself; blocks."""

from typing import List, Set

import golem_task_api as api


def primes(first: int, last: int, excluded: Set[int]) -> List[int]:
    """Find the primes from `first` on, below `last`."""
    found = []
    for number in range(max(first, 2), last):
        if api.threading.Executor.is_shutting_down():
            raise RuntimeError("interrupted")
        if number not in excluded and all(number % other for other in range(2, number)):
            found.append(number)
    return found
