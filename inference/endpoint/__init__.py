"""Evaluation through an OpenAI-compatible endpoint: flags, report, vLLM server.

Imported by eval.py and the evaluation room. The client itself is endpoint_client.py.
"""
