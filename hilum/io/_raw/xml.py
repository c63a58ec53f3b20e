"""XML from inside other files: without document types or entities, of a size that fits its purpose."""

from typing import Any

from hilum.core.errors import HilumError


def parsed(raw: bytes, most: int, code: str) -> Any:
    """The root element; too long, a document type, an entity or damage is refused with `code`."""
    import xml.etree.ElementTree as ElementTree

    if len(raw) > most:
        raise HilumError(code, f"The XML header has {len(raw)} bytes, more than {most}", "Export it again")
    try:
        # read by us as UTF-8, so that no other encoding can hide what is looked for
        text = raw.decode("utf-8").lstrip("\ufeff").rstrip("\0")
        if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
            raise HilumError(code, "The XML header defines a document type or entities", "Remove them")
        return ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise HilumError(code, f"The XML header is damaged ({error})", "Export it again") from error
