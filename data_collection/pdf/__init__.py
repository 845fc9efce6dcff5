"""Text from PDFs: text layer, page layout, recognition (OCR), paragraphs.

In: PDF files. Out: one text per page and per document. Imported by ocr.py and the benchmarks.
"""
