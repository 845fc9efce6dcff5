"""Checkpoints: written atomically, hashed, read by any number of ranks; tensor files.

Imported by train_lm.py, export_model.py, average_checkpoints.py and convert_internlm.py.
"""
