"""The k nearest neighbours of a point, computed by several processes."""

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

MOST_PROCESSES = 32
LARGEST = 1e150
"""Of a coordinate: its square is a number still."""


class BadInput(ValueError):
    """What was asked for can't be computed; the text says why."""


@dataclass(frozen=True)
class Question:
    """A request, checked.

    `dataset` has a row for each point, `point` the same number of columns.
    """

    dataset: np.ndarray
    point: np.ndarray
    k: int
    num_processes: int = 1


def read(body: bytes) -> Question:
    """Read a request: a JSON object of `dataset`, `point`, `k` and maybe `num_processes`."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"The request is not JSON: {error}.") from None
    if not isinstance(asked, dict):
        raise BadInput('The request must be a JSON object with "dataset", "point" and "k".')
    rows = asked.get("dataset")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) for row in rows):
        raise BadInput('"dataset" must be a list of points, each a list of numbers.')
    point = _numbers("point", [asked.get("point")])
    for at, row in enumerate(rows):
        if len(row) != point.shape[1]:
            raise BadInput(
                f'Point {at} of "dataset" has {len(row)} coordinates, "point" {point.shape[1]}.'
            )
    return Question(
        dataset=_numbers("dataset", rows),
        point=point[0],
        k=_whole("k", asked.get("k"), len(rows)),
        num_processes=_whole("num_processes", asked.get("num_processes", 1), MOST_PROCESSES),
    )


def _numbers(name: str, rows: list) -> np.ndarray:
    for row in rows:
        if not isinstance(row, list) or not row or not {type(x) for x in row} <= {int, float}:
            raise BadInput(f'"{name}" must hold lists of numbers, and none that is empty.')
    try:
        numbers = np.array(rows, dtype=np.float64)
    except OverflowError:  # a whole number of 400 digits
        numbers = np.array(np.inf)
    if not (np.abs(numbers) <= LARGEST).all():
        raise BadInput(f'"{name}" must hold numbers from {-LARGEST} to {LARGEST}.')
    return numbers


def _whole(name: str, value: object, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise BadInput(f'"{name}" must be a whole number from 1 to {most}, not {_short(value)}.')
    return value


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def nearest(question: Question) -> list[int]:
    """Name the nearest points by their places in the dataset, the nearest first.

    Of points equally far the one that comes first in the dataset comes first here, too: so the
    answer does not depend on the number of processes.
    """
    parts = np.array_split(question.dataset, min(question.num_processes, len(question.dataset)))
    if len(parts) == 1:
        indices, _ = _nearest_of(parts[0], question.point, question.k, 0)
        return [int(index) for index in indices]
    starts = np.cumsum([0, *(len(part) for part in parts[:-1])])
    with ProcessPoolExecutor(len(parts), mp_context=CONTEXT) as pool:
        work = [
            pool.submit(_nearest_of, part, question.point, question.k, int(start))
            for part, start in zip(parts, starts, strict=True)
        ]
        found = [future.result() for future in work]
    indices = np.concatenate([places for places, _ in found])
    distances = np.concatenate([squares for _, squares in found])
    order = np.lexsort((indices, distances))[: question.k]
    return [int(index) for index in indices[order]]


def _nearest_of(
    part: np.ndarray, point: np.ndarray, k: int, start: int
) -> tuple[np.ndarray, np.ndarray]:
    """One process's work: the places and squared distances of the k nearest of its part."""
    squares = ((part - point) ** 2).sum(axis=1)
    order = np.argsort(squares, kind="stable")[:k]
    return order + start, squares[order]


# Not forked from the server, whose threads may hold locks meanwhile: from a process that has done
# nothing yet but import numpy.
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["knn"])
