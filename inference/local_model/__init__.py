"""A model on this machine: loading, generation in batches, log-probabilities, identity.

In: prompts. Out: texts or log-probabilities. Imported by the entries and the rooms above.
"""
