"""Supervised fine-tuning: model, adapter, Trainer, checkpoints, validation, card.

Imported by train.py and merge.py.
"""
