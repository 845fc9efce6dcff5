"""Documents from saved web sites, web archives (WARC) and existing corpora.

In: HTML, WARC, zip, JSON lines, parquet. Out: cleaned corpus records. Imported by websites.py and existing_corpora.py.
"""
