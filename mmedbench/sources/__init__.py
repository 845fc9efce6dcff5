"""The source exams: recognise, read, check, split, count.

In: raw exam files. Out: benchmark records and what was left out. Imported by the entries and every other room.
"""
