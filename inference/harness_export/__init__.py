"""Files of an exported task folder for other harnesses.

Imported (or copied into the export) by export_harness.py.
"""
