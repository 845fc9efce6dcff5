"""Training examples: questions, conversations and replayed text as tokens, mixed and batched.

In: MMedBench records, instruction files, corpus text. Out: batches with the loss on the completions.
Imported by train.py and sft_training.
"""
