"""The corpus itself: sorting, shards, removal lists, token counts, card, picture, upload.

In: finished folders of documents. Out: `<out>/<iso>/<source>/part-*.parquet`.
Imported by build_corpus.py and make_corpus.py.
"""
