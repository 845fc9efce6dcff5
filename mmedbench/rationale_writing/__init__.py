"""Rationales written by a language model: jobs, prompt, requests.

In: questions without rationales. Out: answers of an endpoint, each paid for once. Imported by rationales.py.
"""
