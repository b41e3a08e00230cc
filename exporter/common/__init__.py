"""What every room may use: errors, text, time, safe files, documents with places, addresses."""
