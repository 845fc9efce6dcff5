"""The languages of the corpus, in the order of the reports."""

LANGUAGES = ("en", "zh", "ja", "fr", "ru", "es", "de", "ar")  # ISO 639-1
