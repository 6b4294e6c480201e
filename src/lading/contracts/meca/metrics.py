"""``GET /metrics``: what a served host counts, for Prometheus (text format 0.0.4)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from lading.host.capacity import Capacity, Resources
    from lading.host.pool import Pool

__all__ = ["Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """Counters and histograms of one executor.

    Parameters
    ----------
    pool : Pool
    capacity : Capacity
        Looked at when somebody asks, never kept in step by hand.
    """

    def __init__(self, pool: Pool, capacity: Capacity) -> None:
        self._registry = CollectorRegistry()
        calls = Counter(
            "lading_executions",
            "Executions by outcome: success, or the kind of error.",
            ["outcome"],
            registry=self._registry,
        )
        seconds = Histogram(
            "lading_execution_seconds",
            "Seconds from the request until the reply, by how its container was got.",
            ["start"],
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._calls = calls
        self._succeeded = calls.labels("success")
        self._cold = seconds.labels("cold")
        self._warm = seconds.labels("warm")
        self._gauges(pool, capacity)

    def _gauges(self, pool: Pool, capacity: Capacity) -> None:
        def gauge(name: str, text: str, read: Callable[[], float]) -> None:
            Gauge(name, text, registry=self._registry).set_function(read)

        containers = Gauge(
            "lading_containers", "Warm containers.", ["state"], registry=self._registry
        )
        for state in ("idle", "busy", "starting"):
            containers.labels(state).set_function(partial(_count, pool, state))
        gauge("lading_waiting", "Requests that wait for room.", lambda: pool.admission.waiting)
        for verb, of in (("reserved", lambda: capacity.used), ("lent", lambda: capacity.total)):
            gauge(f"lading_{verb}_cores", f"Cores {verb}.", partial(_part, of, "cpus"))
            gauge(f"lading_{verb}_memory_bytes", f"Memory {verb}.", partial(_part, of, "memory"))
            gauge(f"lading_{verb}_gpus", f"GPUs {verb}.", partial(_part, of, "gpus"))

    def succeeded(self, seconds: float, *, cold: bool) -> None:
        """Count a success."""
        self._succeeded.inc()
        (self._cold if cold else self._warm).observe(seconds)

    def failed(self, error: BaseException) -> None:
        """Count a failure, by its kind."""
        self._calls.labels(type(error).__name__).inc()

    def render(self) -> bytes:
        """Write everything in the text format."""
        return generate_latest(self._registry)


def _count(pool: Pool, state: str) -> int:
    return sum(getattr(status, state) for status in pool.snapshot().keys.values())


def _part(of: Callable[[], Resources], name: str) -> float:
    return float(getattr(of(), name))
