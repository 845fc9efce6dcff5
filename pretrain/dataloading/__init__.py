"""Training windows from token stores: packing, layouts, mixtures, the plan of a run.

In: token stores. Out: batches of token ids. Imported by train_lm.py and the training room.
"""
