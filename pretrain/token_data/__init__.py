"""From the corpus to the token store: reading the corpus, encoders, writing, reading and checking the store.

Imported by the entries and every room above.
"""
