"""How pictures are decoded, format by format, and checked before they are."""
