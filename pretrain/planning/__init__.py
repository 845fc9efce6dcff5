"""What a run costs: FLOPs, memory of weights and optimizer, activations.

In: a model configuration. Out: bytes, FLOPs, days. Imported by plan.py, the log and the benchmarks.
"""
