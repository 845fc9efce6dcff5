"""Near duplicates: MinHash signatures, candidate pairs, clusters.

In: finished folders of documents. Out: the list of documents to remove. Imported by deduplicate.py and the benchmarks.
"""
