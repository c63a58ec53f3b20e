"""Tiles of whole slides."""
