"""Documents from files: parquet, JSON lines, text, zip, the Hugging Face hub; and the corpus record.

In: paths. Out: record batches, or corpus records. Imported by every room.
"""
