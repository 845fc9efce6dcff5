"""Human review of rationales: sample, database, web page, agreement, export.

In: a benchmark with rationales. Out: verdicts. Imported by review.py.
"""
