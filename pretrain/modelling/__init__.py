"""The model and its parts: loading, attention within documents, loss, optimizer, schedule.

Imported by train_lm.py, plan.py and the rooms above.
"""
