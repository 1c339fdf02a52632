"""Work that others made, replayed: which caches keep what is worth keeping.

`hits` (every policy and peer on every trace), `arbitration` (many caches under one budget that changes) and
`selfsizing` (a day of changing load) are sections of the benchmark suite; `README.md` says where traces
come from. `python -m benchmarks.traces --help` runs them alone.
"""
