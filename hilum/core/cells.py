"""What a spreadsheet makes of a cell."""


def is_formula(cell: str) -> bool:
    """Whether a spreadsheet would run the cell: =, @, or a sign before something that is no number."""
    if cell[:1] in ("=", "@"):
        return True
    if cell[:1] not in ("+", "-") or not any(c.isalnum() for c in cell):
        # "+" and "--" are ordinary findings
        return False
    try:
        float(cell.replace(",", ".", 1))
    except ValueError:
        return True
    return False
