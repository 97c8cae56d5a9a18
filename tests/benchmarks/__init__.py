"""What the store costs beside the barest honest program: `python -m tests.benchmarks`.

Each case does its work through the store and, in the same run and alternating, as raw DuckDB statements,
`joblib.load`, or the fitted objects in memory. Both do all that a user's call does (ids, JSON, hashing, fsync and
commit are inside), and each makes sure that its rows are there.
"""
