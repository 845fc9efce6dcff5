"""What happens around the training steps: flags, validation, log, ranks, spikes, lock, model card.

Imported by train_lm.py, plan.py and loss_picture.py.
"""
