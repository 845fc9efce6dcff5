"""One evaluation: flags, inputs, prompts, answers, scoring, the result folder.

Imported by eval.py and the commands that read a finished evaluation.
"""
