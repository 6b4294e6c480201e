"""The computing, and what is refused. `pytest` in this folder: no container needed."""

import json
import os
import random

import knn
import pytest
from knn import BadInput, nearest, read


def ask(**fields: object) -> list[int]:
    return nearest(read(json.dumps(fields).encode()))


def test_the_nearest_first() -> None:
    dataset = [[0, 0], [1, 1], [2, 2], [8, 8], [9, 9], [1, 0]]
    assert ask(dataset=dataset, point=[1.2, 0.9], k=3, num_processes=2) == [1, 5, 2]
    assert ask(dataset=dataset, point=[9, 9], k=1) == [4]


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_any_number_of_processes_finds_the_same(processes: int) -> None:
    made = random.Random(7)
    dataset = [[made.randint(0, 4), made.randint(0, 4)] for _ in range(50)]  # many equally far
    point = [1.5, 2]
    squares = [sum((a - b) ** 2 for a, b in zip(row, point, strict=True)) for row in dataset]
    expected = sorted(range(50), key=lambda at: (squares[at], at))
    for k in (7, 50):
        asked = {"dataset": dataset, "point": point, "k": k, "num_processes": processes}
        assert ask(**asked) == expected[:k]


def test_more_processes_than_points() -> None:
    assert ask(dataset=[[3], [1]], point=[0], k=2, num_processes=3) == [1, 0]


def test_the_processes_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    pools = []

    class Pool(knn.ProcessPoolExecutor):
        def __init__(self, size: int, **more: object) -> None:
            pools.append((size, self))
            super().__init__(size, **more)
            self.ids = set()

        def submit(self, *work: object):
            future = super().submit(*work)
            self.ids |= set(self._processes)
            return future

    monkeypatch.setattr(knn, "ProcessPoolExecutor", Pool)
    ask(dataset=[[at] for at in range(40)], point=[20], k=2, num_processes=4)
    ((size, pool),) = pools
    assert size == 4
    assert pool.ids
    assert os.getpid() not in pool.ids


GOOD = {"dataset": [[0, 0], [1, 1]], "point": [0, 1], "k": 1, "num_processes": 1}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dataset": []}, '"dataset" must be a list'),
        ({"dataset": None}, '"dataset" must be a list'),
        ({"dataset": [1, 2]}, '"dataset" must be a list'),
        ({"dataset": [[0, 0], [1]]}, 'Point 1 of "dataset" has 1 coordinates, "point" 2'),
        ({"dataset": [[0, "1"], [1, 1]]}, '"dataset" must hold lists of numbers'),
        ({"dataset": [[0, True], [1, 1]]}, '"dataset" must hold lists of numbers'),
        ({"dataset": [[0, float("nan")], [1, 1]]}, '"dataset" must hold numbers from'),
        ({"dataset": [[0, 10**400], [1, 1]]}, '"dataset" must hold numbers from'),
        ({"point": [1e200, 0]}, '"point" must hold numbers from'),
        ({"point": []}, '"point" must hold lists of numbers'),
        ({"point": None}, '"point" must hold lists of numbers'),
        ({"k": 0}, '"k" must be a whole number from 1 to 2, not 0'),
        ({"k": 3}, '"k" must be a whole number from 1 to 2, not 3'),
        ({"k": "2"}, '"k" must be a whole number from 1 to 2, not "2"'),
        ({"k": True}, '"k" must be a whole number from 1 to 2, not true'),
        ({"num_processes": 0}, '"num_processes" must be a whole number from 1 to 32, not 0'),
        ({"num_processes": 10**6}, "not 1000000"),
        ({"num_processes": "x" * 99}, 'not "xxxx'),
    ],
)
def test_bad_input(change: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput) as caught:
        ask(**{**GOOD, **change})
    assert says in str(caught.value)
    assert len(str(caught.value)) < 140


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 10_000])
def test_no_json(body: bytes) -> None:
    with pytest.raises(BadInput, match="not JSON"):
        read(body)


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"null"])
def test_no_object(body: bytes) -> None:
    with pytest.raises(BadInput, match="must be a JSON object"):
        read(body)
