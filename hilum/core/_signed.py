"""The signature in a bundle: its form, and whether it fits the manifest. Whose it is, `infer.signature` says."""

import base64
import binascii
import json
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from hilum.core.errors import HilumError
from hilum.core.extras import install
from hilum.core.plan import Strict, checked

NAME = "signature.json"
SEAL = b"Hilum bundle manifest, signature 1\n"
# Goes before what is signed, so that a signature made for another purpose fits nothing here.
LENGTHS = {"key": 32, "signature": 64}
# Bytes of an Ed25519 public key and of a signature.


def raw(text: str, what: str) -> bytes:
    """The bytes of a base64 text; ValueError where there are not as many as a key or a signature has."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("it is not base64") from error
    if len(found) != LENGTHS[what]:
        raise ValueError(f"an Ed25519 {what} has {LENGTHS[what]} bytes, not {len(found)}")
    return found


class Signature(Strict):
    """signature.json of a bundle; key and signature are base64."""

    format: int = Field(ge=1, le=1)
    algorithm: str = Field(pattern="^ed25519$")
    key: str
    signature: str

    @field_validator("key", "signature")
    @classmethod
    def _whole(cls, value: str, info: Any) -> str:
        raw(value, info.field_name)
        return value


def parsed(signature: bytes, path: Path) -> Signature:
    """What signature.json says; refused (HIL-M05) where it is none."""
    try:
        data = json.loads(signature)
        if not isinstance(data, dict):
            raise ValueError("it is no object")
        return checked(Signature, data, NAME)
    except (ValueError, RecursionError, HilumError) as error:
        seen = error.seen if isinstance(error, HilumError) else f"{NAME} is not JSON"
        raise HilumError("HIL-M05", f"The signature of {path} can not be read: {seen}", "Copy it again") from error


def fits(found: Signature, manifest: bytes) -> bool:
    """Whether the key that it names signed these bytes."""
    from cryptography.exceptions import InvalidSignature

    public = library().Ed25519PublicKey.from_public_bytes(raw(found.key, "key"))
    try:
        public.verify(raw(found.signature, "signature"), SEAL + manifest)
    except InvalidSignature:
        return False
    return True


def library() -> Any:
    """The Ed25519 part of `cryptography`; that it is missing is one sentence (HIL-INFER-31)."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise HilumError(
            "HIL-INFER-31", "Signatures need the package cryptography, which is not installed", install("sign")
        ) from error
    return ed25519


def unchecked() -> str:
    """Why signatures are not looked at here; "" where they are."""
    try:
        library()
    except HilumError as error:
        return f"{error.seen}. {error.remedy}"
    return ""


def check(signature: bytes, manifest: bytes, path: Path) -> None:
    """Refuse (HIL-M05) a signature that does not fit by the key in it: the bundle was changed after it was signed.

    That it fits proves nothing: anybody can sign anew. Where signatures are not looked at, nothing is.
    """
    if not unchecked() and not fits(parsed(signature, path), manifest):
        raise HilumError(
            "HIL-M05", f"The signature of {path} does not fit its manifest: it was changed after it was signed",
            "Do not use it, and ask its maker for another",
        )  # fmt: skip
