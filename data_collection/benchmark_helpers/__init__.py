"""Synthetic inputs for benchmarks and tests: scans, planted duplicates, planted questions.

Imported by the bench_*.py scripts and the tests only.
"""
