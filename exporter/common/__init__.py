"""The modules that every room may use: errors, text, time, safe files, documents with places, addresses."""
