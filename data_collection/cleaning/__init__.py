"""Clean one document: repair encoding, drop boilerplate lines, mask contacts, reject repetition.

In: a text. Out: the cleaned text with counts, or the reason for its rejection. Imported by filtering, web and corpus.
"""
