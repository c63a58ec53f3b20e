"""A signature says who made a bundle: every way in which it does not is refused by its own sentence (M05)."""

import base64
import errno
import hashlib
import json
import os
import stat
import sys
import warnings
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
import yaml

from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.infer import bundle, signature
from hilum.infer.predictor import open_predictor
from hilum.verbs.verify import verify

Trained = Callable[[str], Run]
Pair = tuple[Path, Path]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    pytest.importorskip("cryptography")
    return signature.make_pair("radiology", tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def signed(trained: Trained, pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signed") / "model.hilum"
    bundle.write(trained("classify"), path, key=pair[0])
    return path


def changed(path: Path, new: Path, files: dict[str, bytes | None]) -> Path:
    """The archive with these members put in, or left out where None."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(new, "w") as archive:
        kept = {name: old.read(name) for name in old.namelist()} | files
        for name, content in kept.items():
            if content is not None:
                archive.writestr(name, content)
    return new


def refused(path: Path, keys: Path | None) -> str:
    with pytest.raises(HilumError) as error:
        bundle.verify(path, keys)
    assert error.value.code == "HIL-M05"
    return error.value.seen


def listed(path: Path, public: Path, **more: object) -> Path:
    """A file of keys with one more fact about the key."""
    line = yaml.safe_load(public.read_text())["keys"][0]
    path.write_text(yaml.safe_dump({"keys": [line | more]}))
    return path


def test_a_signed_bundle_is_verified_by_its_key_and_by_a_folder_of_keys(signed: Path, pair: Pair) -> None:
    assert bundle.verify(signed, pair[1])["signed_by"] == "radiology"
    assert bundle.verify(signed, pair[1].parent)["signed_by"] == "radiology"
    found = bundle.verify(signed)
    assert found["signed"] and found["signed_by"] is None


def test_the_same_run_and_key_give_the_same_bytes(signed: Path, trained: Trained, pair: Pair, tmp_path: Path) -> None:
    bundle.write(trained("classify"), tmp_path / "again.hilum", key=pair[0])
    assert (tmp_path / "again.hilum").read_bytes() == signed.read_bytes()


def test_m05_a_bundle_without_a_signature_is_refused_where_one_is_asked_for(
    trained: Trained, signed: Path, pair: Pair, tmp_path: Path
) -> None:
    bundle.write(trained("classify"), tmp_path / "plain.hilum")
    assert not bundle.verify(tmp_path / "plain.hilum")["signed"]
    assert "not signed" in refused(tmp_path / "plain.hilum", pair[1])
    assert "not signed" in refused(changed(signed, tmp_path / "a.hilum", {"signature.json": None}), pair[1])


def test_m05_another_key_is_refused(signed: Path, tmp_path: Path) -> None:
    _, other = signature.make_pair("stranger", tmp_path)
    assert "none of the 1 trusted" in refused(signed, other)


def test_m05_a_revoked_and_an_expired_key_are_refused(signed: Path, pair: Pair, tmp_path: Path) -> None:
    assert "revoked on 2026-01-02" in refused(signed, listed(tmp_path / "a.yaml", pair[1], revoked=date(2026, 1, 2)))
    assert "expired on 2020-05-01" in refused(signed, listed(tmp_path / "b.yaml", pair[1], expires="2020-05-01"))
    # in the folder the same key is there twice, and the bad news counts
    listed(tmp_path / "b.yaml", pair[1])
    assert "revoked" in refused(signed, tmp_path)


def test_a_key_is_good_on_its_last_day_and_not_after_it(pair: Pair) -> None:
    keys = [signature.read_keys(pair[1])[0].model_copy(update={"expires": date(2027, 3, 1)})]
    made = signature.sign(b"manifest", pair[0])
    assert signature.check(made, b"manifest", keys, Path("x"), date(2027, 3, 1)) == "radiology"
    with pytest.raises(HilumError, match="expired"):
        signature.check(made, b"manifest", keys, Path("x"), date(2027, 3, 2))


def resealed(signed: Path, path: Path) -> Path:
    """With another card, and a manifest that fits."""
    with zipfile.ZipFile(signed) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        card = json.loads(archive.read("card.json"))
    text = json.dumps(card | {"terms_of_weights": "CC0"}).encode()
    manifest["card.json"] = hashlib.sha256(text).hexdigest()
    files = {"card.json": text, "manifest.json": json.dumps(manifest).encode()}
    return changed(signed, path, files)


def test_m05_contents_changed_after_signing_are_refused(signed: Path, pair: Pair, tmp_path: Path) -> None:
    """An attacker writes a manifest that fits; the signature then does not, whether or not somebody gives a key."""
    path = resealed(signed, tmp_path / "a.hilum")
    for keys in (None, pair[1]):
        assert "does not fit its manifest" in refused(path, keys)
    assert open_predictor(signed).plan
    with pytest.raises(HilumError, match="does not fit its manifest") as error:
        open_predictor(path)
    assert error.value.code == "HIL-M05"


def test_a_signature_that_can_not_be_looked_at_is_said(
    signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verify(signed)["remarks"] == []
    path = resealed(signed, tmp_path / "a.hilum")
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    (words,) = verify(path)["remarks"]
    assert words.startswith("The signature was not checked") and ".[sign]" in words
    assert open_predictor(path).plan


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"format": 2}', b'{"format": 1, "algorithm": "none"}'])
def test_m05_a_signature_that_is_none_is_refused(text: bytes, signed: Path, pair: Pair, tmp_path: Path) -> None:
    assert "can not be read" in refused(changed(signed, tmp_path / "a.hilum", {"signature.json": text}), pair[1])


def test_m05_a_short_or_foreign_signature_is_refused(signed: Path, pair: Pair, tmp_path: Path) -> None:
    with zipfile.ZipFile(signed) as archive:
        made = json.loads(archive.read("signature.json"))
    short = made | {"signature": made["signature"][:20]}
    path = changed(signed, tmp_path / "a.hilum", {"signature.json": json.dumps(short).encode()})
    assert "can not be read" in refused(path, pair[1])
    other = made | {"signature": base64.b64encode(bytes(64)).decode()}
    path = changed(signed, tmp_path / "b.hilum", {"signature.json": json.dumps(other).encode()})
    assert "does not fit" in refused(path, pair[1])


def test_m05_a_signature_over_other_words_is_none(pair: Pair) -> None:
    """What the key signs for another purpose can not be passed off as a signature of a bundle."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    private = load_pem_private_key(pair[0].read_bytes(), None)
    made = json.loads(signature.sign(b"manifest", pair[0]))
    made["signature"] = base64.b64encode(private.sign(b"manifest")).decode()  # type: ignore[union-attr, call-arg]
    with pytest.raises(HilumError, match="does not fit"):
        signature.check(json.dumps(made).encode(), b"manifest", signature.read_keys(pair[1]), Path("x"))


def test_m05_a_manifest_that_lists_fewer_files_than_the_archive_is_refused(signed: Path, tmp_path: Path) -> None:
    path = changed(signed, tmp_path / "a.hilum", {"more.txt": b"unlisted"})
    assert "more.txt" in refused(path, None)
    with pytest.raises(HilumError) as error:
        Run(path).check_hashes()
    assert error.value.code == "HIL-M05"


def test_m05_two_members_of_one_name_are_refused(signed: Path, tmp_path: Path) -> None:
    path = changed(signed, tmp_path / "a.hilum", {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("plan.json", archive.read("plan.json"))
    assert "plan.json" in refused(path, None)


def test_the_private_key_is_for_its_owner_alone_and_never_overwritten(pair: Pair) -> None:
    if os.name == "posix":
        assert stat.S_IMODE(pair[0].stat().st_mode) == 0o600
    before = pair[0].read_bytes()
    with pytest.raises(HilumError) as error:
        signature.make_pair("radiology", pair[0].parent)
    assert error.value.code == "HIL-CORE-03" and pair[0].read_bytes() == before
    assert b"PRIVATE" in before and "PRIVATE" not in pair[1].read_text()


def test_a_private_key_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def full(handle: int) -> None:
        seen.append([p.name for p in tmp_path.glob("*.key")])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        signature.make_pair("radiology", tmp_path)
    # it has no name of its own before it lies on the disk, and nothing is left of it
    assert seen == [[]] and not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_key_is_written_where_the_file_system_has_no_hard_links(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography")

    def refused(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refused)
    private, public = signature.make_pair("radiology", tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["radiology.key", "radiology.yaml"]
    made, keys = signature.sign(b"manifest", private), signature.read_keys(public)
    assert signature.check(made, b"manifest", keys, Path("x")) == "radiology"
    if os.name == "posix":
        assert stat.S_IMODE(private.stat().st_mode) == 0o600
    # a name that somebody took meanwhile stays his
    before = private.read_bytes()
    with pytest.raises(FileExistsError):
        signature._write_private(private, b"another")
    assert private.read_bytes() == before and len(list(tmp_path.iterdir())) == 2


def test_a_key_that_can_not_be_linked_for_another_reason_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space"):
        signature._write_private(tmp_path / "a.key", b"words")
    assert not list(tmp_path.iterdir())


def test_what_is_no_key_is_refused(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "text.key").write_text("words")
    for path in (tmp_path / "text.key", tmp_path / "nothing.key", pair[1]):
        with pytest.raises(HilumError) as error:
            signature.sign(b"", path)
        assert error.value.code == "HIL-INFER-33"
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "nothing", tmp_path / "empty", tmp_path / "text.key"):
        with pytest.raises(HilumError) as error:
            signature.read_keys(path)
        assert error.value.code == "HIL-INFER-32"
    (tmp_path / "day.yaml").write_text("keys: [{name: a, key: AAAA, revoked: 2027-02-30}]")
    with pytest.raises(HilumError) as error:
        signature.read_keys(tmp_path / "day.yaml")
    assert error.value.code == "HIL-INFER-32"
    with pytest.raises(HilumError) as error:
        signature.check(b"[" * 100_000, b"", [], tmp_path)
    assert error.value.code == "HIL-M05"
    (tmp_path / "short.yaml").write_text("keys: [{name: a, key: AAAA}]")
    with pytest.raises(HilumError, match="32 bytes"):
        signature.read_keys(tmp_path / "short.yaml")
    line = {"name": "a", "key": base64.b64encode(bytes(32)).decode(), "trusted": True}
    (tmp_path / "words.yaml").write_text(yaml.safe_dump({"keys": [line]}))
    with pytest.raises(HilumError, match="trusted"):
        signature.read_keys(tmp_path / "words.yaml")


def test_hidden_files_in_a_folder_of_keys_are_passed_over(pair: Pair, tmp_path: Path) -> None:
    """What macOS and copying leave there made every bundle refused."""
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / "radiology.yaml").write_bytes(pair[1].read_bytes())
    (folder / "._radiology.yaml").write_bytes(b"\x00\x05\x16\x07")
    (folder / ".part-ab12.yaml").write_text("keys: [{na")
    assert [key.name for key in signature.read_keys(folder)] == ["radiology"]
    # one that is named is meant
    with pytest.raises(HilumError, match="HIL-INFER-32"):
        signature.read_keys(folder / ".part-ab12.yaml")


def test_keys_that_are_nested_without_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("keys: " + "[" * 20_000)
    with pytest.raises(HilumError, match="HIL-INFER-32"):
        signature.read_keys(tmp_path / "a.yaml")


def test_a_missing_package_is_one_sentence(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    with pytest.raises(HilumError, match=r"\.\[sign\]") as error:
        signature.sign(b"", pair[0])
    assert error.value.code == "HIL-INFER-31"
