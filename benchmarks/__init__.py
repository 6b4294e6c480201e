"""How fast the executor is, as ratios to what it stands on: ``python -m benchmarks``, `make bench`.

Nothing here is imported by the product, and what measures it shares no code with it, except for
the bare proxy, which is there to show what the product's own client costs.
"""
