"""The parts of bench.py: synthetic documents, tokenizing, training.

Imported by the bench*.py scripts only.
"""
