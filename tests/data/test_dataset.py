"""dataset.yaml says what a folder can not; what it says wrongly is refused."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.data.dataset import ACCEPTED, Settings, open_dataset, patient
from hilum.data.store import Store
from hilum.io import raster


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    for number in range(3):
        array = np.random.default_rng(number).integers(0, 255, (1, 8, 8)).astype(np.uint8)
        raster.write(path / f"p{number}_x.png", Image(array))
    return path


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def code(path: Path) -> str:
    with pytest.raises(HilumError) as error:
        open_dataset(path)
    return error.value.code


def test_it_may_lie_in_the_folder_or_elsewhere(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HILUM_DATA", raising=False)
    written(folder / "dataset.yaml", "terms: CC0\n")
    assert open_dataset(folder).settings.terms == "CC0"
    beside = written(tmp_path / "mine.yaml", "folder: pictures\nterms: CC-BY\n")
    found = open_dataset(beside)
    assert found.folder == folder and found.settings.terms == "CC-BY" and found.name == "pictures"
    assert code(written(tmp_path / "elsewhere" / "mine.yaml", "folder: pictures\n")) == "HIL-DATA-01"


def test_hilum_data_names_the_folder_of_folders(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "elsewhere" / "mine.yaml", "folder: pictures\n")
    monkeypatch.setenv("HILUM_DATA", str(tmp_path))
    assert open_dataset(path).folder == folder
    monkeypatch.setenv("HILUM_DATA", str(tmp_path / "wrong"))
    assert code(path) == "HIL-DATA-01"


def test_a_folder_may_be_named_by_the_way_up(folder: Path) -> None:
    assert open_dataset(written(folder / "splits" / "a.yaml", "folder: ..\n")).folder.resolve() == folder.resolve()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("foldr: x\n", "HIL-PLAN-02"),
        ("labels: {a: everything}\n", "HIL-PLAN-03"),
        ("classes: {x: y}\n", "HIL-PLAN-03"),
        ("labels: {any: [0, 1]}\n", "HIL-PLAN-03"),
        ("layout: strange\n", "HIL-CORE-02"),
        ("leave_out: [nobody]\n", "HIL-DATA-06"),
        ("- a\n- b\n", "HIL-DATA-03"),
        ("accept: [leaks]\n", "HIL-PLAN-03"),
        ("accept: [D24]\n", "HIL-PLAN-03"),
        ("modality: MRX\n", "HIL-DATA-17"),
        ("a: [\n", "HIL-DATA-03"),
        ("a: " + "[" * 20_000, "HIL-DATA-03"),
        ("a: !!python/object/apply:os.getcwd []\n", "HIL-DATA-03"),
    ],
)
def test_what_it_says_wrongly_is_refused(text: str, wanted: str, folder: Path) -> None:
    written(folder / "dataset.yaml", text)
    assert code(folder) == wanted


def test_a_small_file_with_an_endless_value_is_refused_in_one_sentence(folder: Path) -> None:
    rows = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in itertools.pairwise("abcdefghi")]
    written(folder / "dataset.yaml", f"folder: {{{', '.join(rows)}}}\n")
    with pytest.raises(HilumError) as error:
        open_dataset(folder)
    assert error.value.code == "HIL-PLAN-03" and len(error.value.seen) < 1000


@pytest.mark.parametrize("rule", [0, [0]])
def test_the_background_is_no_class_also_where_somebody_names_it(rule: Any) -> None:
    # as nnU-Net writes its dataset.json
    assert Settings(labels={"background": rule, "tumour": 1}).labels == {"tumour": 1}
    assert Settings(labels={"background": rule}).labels == {}


def test_accepted_codes_are_written_with_or_without_hil() -> None:
    assert Settings(accept=["t09", "HIL-D21"]).accept == ["T09", "D21"] and Settings().accept == []


def test_a_code_that_nothing_asks_for_is_refused_with_those_that_can_be_accepted(folder: Path) -> None:
    with pytest.raises(HilumError, match=r"--accept: 'HIL-D12' can not .* here; this can: D21 \(a slice is missing"):
        open_dataset(folder, accept=["HIL-D12"])
    with pytest.raises(HilumError, match=r"T09 is accepted in a dataset\.yaml"):
        open_dataset(folder, accept=["T09"])
    with pytest.raises(HilumError, match=r"T04 is accepted by --accept of train"):
        open_dataset(folder, accept=["T04"])
    written(folder / "dataset.yaml", "accept: [D30]\n")
    with pytest.raises(HilumError, match=r"this can: D21 \(a slice is missing\), T09 \([^)]*\)\)"):
        open_dataset(folder)
    # as runs of before have it
    assert Settings(accept=["T09", "T04", "T09"]).accept == ["T09", "T04", "T09"]


def test_what_can_be_accepted_is_asked_for_somewhere() -> None:
    formats = {code for card in catalogue.cards("hilum.io").values() for code in card.get("accepts", ())}
    # T09: two parts (data/leaks.py, data/splits.py); T04: other versions (verbs/train.py)
    assert set(ACCEPTED) == formats | {"T04", "T09"}


def test_leave_out(folder: Path) -> None:
    written(folder / "dataset.yaml", "leave_out: [p1_x]\n")
    assert [c.id for c in open_dataset(folder).cases] == ["p0_x", "p2_x"]
    written(folder / "dataset.yaml", "leave_out: [p0_x, p1_x, p2_x]\n")
    assert code(folder) == "HIL-DATA-02"


def test_an_empty_file_changes_nothing(folder: Path) -> None:
    written(folder / "dataset.yaml", "\n")
    assert open_dataset(folder).settings == Settings()


def test_patients_from_the_case_name() -> None:
    assert patient(Settings(), "a") is None
    assert patient(Settings(patients="case"), "a") == "a"
    assert patient(Settings(patients=r"^(p\d+)_"), "p1_x") == "p1"
    for rule, wanted in (
        (r"^(q\d+)", "HIL-DATA-06"),
        ("p1", "HIL-DATA-06"),
        (r"q(\d+)|p\d+", "HIL-DATA-06"),
        ("(", "HIL-DATA-03"),
    ):
        with pytest.raises(HilumError) as error:
            patient(Settings(patients=rule), "p1_x")
        assert error.value.code == wanted


def test_the_store_prepares_once_and_forgets_the_oldest() -> None:
    calls: list[str] = []

    def prepare(case: Case) -> dict[str, np.ndarray]:
        calls.append(case.id)
        return {"x": np.zeros(100, np.uint8)}

    store = Store(prepare, limit=250)
    a, b, c = (Case(n, n, {}) for n in "abc")
    assert store(a) is store(a)
    store(b), store(a), store(c), store(a), store(b)
    assert calls == ["a", "b", "c", "b"], "a was used last, so b went when c came"


def test_the_store_serves_two_threads_while_it_forgets() -> None:
    def prepare(case: Case) -> dict[str, np.ndarray]:
        return {"x": np.full(100, int(case.id), np.uint8)}

    store, cases = Store(prepare, limit=250), [Case(str(n), "", {}) for n in range(6)]

    def ask(start: int) -> bool:
        return all(int(store(cases[k % 6])["x"][0]) == k % 6 for k in range(start, start + 5000))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(4)))
