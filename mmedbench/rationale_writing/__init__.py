"""Rationales written by a language model: the questions to ask, the prompt, checks of the answers.

In: questions without rationales. Out: requests for endpoint_client.py, and judged answers. Imported by rationales.py.
"""
