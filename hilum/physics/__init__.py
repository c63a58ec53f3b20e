"""Acquisition operators with adjoints, and what surrounds them: masks, coils, noise. Torch is loaded when asked."""
