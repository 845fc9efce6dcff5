"""Which documents are medical and in which language: the keyword rule, its compiled twin, language identification.

In: texts or Arrow columns. Out: scores, decisions and the parquet files of one unit.
Imported by the entries, web and pdf.
"""
