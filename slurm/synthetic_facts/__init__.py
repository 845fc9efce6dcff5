"""The knowledge check: invented facts, the commands of the check, verdict and report.

Imported by knowledge_check.py, knowledge_breakage.py and knowledge_world.py.
"""
