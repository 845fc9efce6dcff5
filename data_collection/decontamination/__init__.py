"""Exam questions in documents: the definition of a match, its compiled twin, the index, the report.

In: benchmark questions and documents. Out: which question was found where. Imported by decontaminate.py.
"""
