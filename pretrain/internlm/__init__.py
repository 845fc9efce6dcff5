"""InternLM checkpoints in the Llama layout: configuration, tensors, tokenizer.

Imported by convert_internlm.py.
"""
