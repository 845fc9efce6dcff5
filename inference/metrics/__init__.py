"""Scores: letters read from answers, accuracy with intervals, rationale metrics.

In: answers and references. Out: numbers with n. Imported by the entries and the evaluation room.
"""
