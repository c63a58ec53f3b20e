"""Who made a bundle: an Ed25519 signature over its manifest, and the keys that a reader trusts.

The manifest holds the SHA-256 of every other file, so one signature over its bytes covers them all. A public key that
travels in the bundle proves nothing: it only says which of the reader's own keys to look for. A signature says who made
a bundle, not that the model is good, and not when: a maker's clock is no proof, so a key that has expired or was
revoked is trusted for nothing any more, whenever it signed.
"""

import base64
import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, field_validator

from hilum.core import _signed
from hilum.core._signed import SEAL, fits, library, parsed, raw
from hilum.core.atomic import UNFINISHED, write_text
from hilum.core.errors import HilumError
from hilum.core.plan import Strict, checked

NAME = _signed.NAME
KEYS = (".yaml", ".yml", ".json")
LINKLESS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
# What file systems without hard links say when one is asked for: FAT, exFAT, some network drives.


class Key(Strict):
    """A public key: whose it is, its 32 bytes as base64, and from when on it is trusted no more."""

    name: str = Field(min_length=1)
    key: str
    expires: date | None = None
    revoked: date | None = None

    @field_validator("key")
    @classmethod
    def _thirty_two_bytes(cls, value: str) -> str:
        raw(value, "key")
        return value


class Keys(Strict):
    """A file of keys."""

    keys: list[Key]


def make_pair(name: str, folder: Path, expires: date | None = None) -> tuple[Path, Path]:
    """Write a new private key (NAME.key, readable by its owner only) and public key (NAME.yaml); both paths.

    Nothing is overwritten (HIL-CORE-03).
    """
    ed25519 = library()
    private_path, public_path = folder / f"{name}.key", folder / f"{name}.yaml"
    for path in (private_path, public_path):
        if path.exists():
            raise HilumError("HIL-CORE-03", f"{path} exists, and a key is never overwritten", "Choose another name")
    private = ed25519.Ed25519PrivateKey.generate()
    folder.mkdir(parents=True, exist_ok=True)
    _write_private(private_path, _pem(private))
    line: dict[str, Any] = {"name": name, "key": base64.b64encode(private.public_key().public_bytes_raw()).decode()}
    line |= {} if expires is None else {"expires": expires}
    write_text(public_path, yaml.safe_dump({"keys": [line]}, sort_keys=False, allow_unicode=True))
    return private_path, public_path


def _pem(private: Any) -> bytes:
    """The private key as an unencrypted PKCS8 PEM, which other programs read too."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    text: bytes = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return text


def _write_private(path: Path, text: bytes) -> None:
    """Make the file, whole or not at all, with mode 0600; FileExistsError where there is one by now."""
    # a file of mkstemp is its owner's alone
    handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        _published(name, path)
    finally:
        # half a key is none; where it took its place by its own name, there is none left
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def _published(part: str, path: Path) -> None:
    """The whole file `part` gets its name; FileExistsError where that is taken."""
    try:
        os.link(part, path)
    except OSError as error:
        if error.errno not in LINKLESS:
            raise
        # whoever makes the empty file has the name; then it is replaced at once by the whole one
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            os.replace(part, path)
        except OSError:
            os.unlink(path)
            raise


def sign(manifest: bytes, keyfile: Path) -> bytes:
    """signature.json for a bundle with this manifest. keyfile: a private Ed25519 key in PEM, without a password."""
    private = _private(keyfile)
    made = {
        "format": 1,
        "algorithm": "ed25519",
        "key": base64.b64encode(private.public_key().public_bytes_raw()).decode(),
        "signature": base64.b64encode(private.sign(SEAL + manifest)).decode(),
    }
    return json.dumps(made, indent=1).encode()


def _private(path: Path) -> Any:
    """The private key of a PEM file; anything else is refused (HIL-INFER-33)."""
    ed25519 = library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    remedy = "Make a pair with: hilum keys NAME --out FOLDER"
    try:
        found = load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError as error:
        raise HilumError("HIL-INFER-33", f"There is no private key at {path}", remedy) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        seen = f"{path} is not a private key in PEM without a password"
        raise HilumError("HIL-INFER-33", seen, remedy) from error
    if not isinstance(found, ed25519.Ed25519PrivateKey):
        raise HilumError("HIL-INFER-33", f"{path} is a private key of another kind than Ed25519", remedy)
    return found


def read_keys(path: Path) -> list[Key]:
    """The trusted keys of a file, or of every .yaml, .yml and .json file of a folder but hidden ones; none: refused."""
    if not path.exists():
        raise HilumError("HIL-INFER-32", f"There is no file or folder of keys at {path}", "Check the path")
    # what others leave in folders: ._x.yaml of macOS, .part-x.yaml of a file that is still being copied
    there = [p for p in path.iterdir() if not p.name.startswith(".")] if path.is_dir() else []
    files = sorted(p for p in there if p.suffix in KEYS and p.is_file()) if path.is_dir() else [path]
    found = [key for file in files for key in _keys_of(file)]
    if not found:
        raise HilumError("HIL-INFER-32", f"{path} holds no keys", f"Put in the files ({', '.join(KEYS)}) of hilum keys")
    return found


def _keys_of(file: Path) -> list[Key]:
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # a day that is none, 2027-02-30, is a plain ValueError
        raise HilumError("HIL-INFER-32", f"{file} is not a file of keys ({error})", "Mend it") from error
    if not isinstance(data, dict):
        words = "Give the .yaml file that hilum keys wrote, or a folder of them"
        raise HilumError("HIL-INFER-32", f"{file} is not a file of public keys", words)
    return checked(Keys, data, str(file)).keys


def check(signature: bytes | None, manifest: bytes, keys: Sequence[Key], path: Path, today: date | None = None) -> str:
    """The name of the trusted key that signed the manifest; everything else is refused, each by its sentence (HIL-M05).

    signature: the bytes of signature.json, None where the bundle has none. today: in UTC; now unless given.
    """
    today = today or datetime.now(UTC).date()
    if signature is None:
        raise HilumError(
            "HIL-M05", f"{path} is not signed, and a signature was asked for",
            "Ask its maker for a signed one (hilum bundle --sign), or verify it without --key",
        )  # fmt: skip
    found = parsed(signature, path)
    # as bytes: one key can be written as several base64 texts
    wanted = raw(found.key, "key")
    own = [key for key in keys if raw(key.key, "key") == wanted]
    if not own:
        raise HilumError(
            "HIL-M05", f"{path} is signed with the key {found.key}, which is none of the {len(keys)} trusted ones",
            "Do not use it, unless its maker confirms that key by a way you trust",
        )  # fmt: skip
    library()
    # in a folder one file may know the key still as good and another one as revoked: the bad news counts
    for key in own:
        _still_trusted(key, path, today)
    if not fits(found, manifest):
        raise HilumError(
            "HIL-M05", f"The signature of {path} by {own[0].name!r} does not fit its manifest", "Do not use it"
        )
    return own[0].name


def _still_trusted(key: Key, path: Path, today: date) -> None:
    if key.revoked is not None:
        raise HilumError(
            "HIL-M05", f"{path} is signed by {key.name!r} with a key that was revoked on {key.revoked}",
            "Do not use it; ask its maker for one that is signed with the new key",
        )  # fmt: skip
    if key.expires is not None and key.expires < today:
        raise HilumError(
            "HIL-M05", f"{path} is signed by {key.name!r} with a key that expired on {key.expires}",
            "Ask its maker for one that is signed with the new key",
        )  # fmt: skip
