"""Clean one document: repair encoding, drop boilerplate lines, mask contacts, reject repetition.

In: a text. Out: the cleaned text with counts, or the reason to reject it. Imported by filtering, web and corpus.
"""
