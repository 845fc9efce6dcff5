"""Inputs and measures of benchmarks and tests: scans, lost text of text layers, planted duplicates, planted questions.

Imported by the bench_*.py scripts and the tests only.
"""
