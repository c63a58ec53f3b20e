"""Blocks that really are shared by several networks; what one paper needs stays in that paper's file."""
