"""Benchmarks of ebbcache beside everything that one would pick instead: `python -m benchmarks`."""
