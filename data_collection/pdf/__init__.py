"""Text from PDFs: files, processes, recognition (OCR), running heads, report.

In: PDF files. Out: one text per page and per document. Imported by ocr.py and the benchmarks.
"""
