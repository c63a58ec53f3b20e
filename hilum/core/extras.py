"""The optional parts of Hilum, its extras in pyproject.toml: how one of them is installed."""


def command(extra: str) -> str:
    """What is typed in Hilum's folder. It does not name hilum, which in a public registry may be somebody else's.

    constraints.txt also brings a package up that is too old.
    """
    return f'.venv/bin/pip install -c constraints.txt -e ".[{extra}]"'


def install(extra: str) -> str:
    """The remedy where a package of an extra is missing or too old: install("onnx")."""
    return f"Install it, in Hilum's folder: {command(extra)}"
