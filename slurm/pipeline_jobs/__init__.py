"""The whole run as Slurm jobs: recipe, steps, what is missing, submission, status.

Imported by pipeline.py.
"""
