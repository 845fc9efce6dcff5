"""Text layers of PDF pages: characters, reading order, tables, whether the layer is right, paragraphs.

In: a page that pdfium opened. Out: its text. Imported by the room pdf.
"""
