"""A model behind an OpenAI-compatible endpoint: flags, requests, report, a vLLM server of our own.

Imported by eval.py and the evaluation room.
"""
