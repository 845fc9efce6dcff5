"""The source exams: recognise, read, check, split, count.

In: raw exam files. Out: benchmark records and what was omitted. Imported by the entries and every other room.
"""
