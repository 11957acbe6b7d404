"""Loaded before the package of the placements, so that `tests.…` can be imported there as everywhere."""
