"""What a data set is: facts per case that can be merged, and their summary (fingerprint.json)."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array, Case, Image, Measurement
from hilum.core.progress import Progress, quiet
from hilum.data.dataset import Dataset, listed
from hilum.data.labels import SHOWN, compare_grids
from hilum.planning import _intensity, _reach, _truth, _warned
from hilum.prepare import anatomy, modality
from hilum.prepare.grid import to_ras
from hilum.tasks import _labels

LATER = ("channels", "roles", "accept", "modality")
# Settings that came after the first runs: left out of the hash where they are empty, so that old runs know their data.
IMAGES = ("image", "fixed", "kspace")
# Roles of what a case is known by.
SAMPLES = 10_000
# Intensities kept per case and channel; their percentiles stand for the data set's.
MOST = 40_000_000
# Intensities kept in all, 160 MB: of many thousand cases fewer of each.
UNHASHED = (
    *("truth", "low", "files", "values", "coils", "operator", "even", "segments", "range", "vague", "content"),
    *("warnings", "bytes"),
)
# Of a case's row: came after the first runs, which would not know their data any more. See `_truth` of the first.
OUTSIDE = 0.5
# Pixels by which a box may stick out of its image: corners are rounded.


def fingerprint(
    dataset: Dataset, parts: dict[str, str], progress: Progress = quiet, kept: bool = False, task: str = ""
) -> dict[str, Any]:
    """Structure of every case; intensities and how images lie of the training part only: nothing of the test part.

    "anatomy": an average of the training images (see `prepare.anatomy`), or None; "warnings": sentences about images
    with values that are no numbers or of another range, and about what readers warned of; "hounsfield": for each
    channel whether it looks like CT; "range": its least and most value, labelled or not; "content": see `_reach`. None
    counts for the hash.
    kept: data of a run that is there: what is refused of new data alone is warned of. task: labels that it looks at, of
    the test part too, must lie on their images (HIL-N14): judged, they would count as not found.
    """
    rows, samples, odd = [], [], {}
    off: dict[str, HilumError] = {}
    blocks: list[Array] = []
    training = sum(parts[case.id] == "train" for case in dataset.cases)
    for number, case in enumerate(dataset.cases):
        row, values, block, odd[case.id], fault = case_facts(case)
        rows.append(row)
        if fault is not None and _looked_at(case, parts[case.id], dataset, task):
            off[case.id] = fault
        if parts[case.id] == "train" and values is not None:
            # so that all of them together fit into memory
            samples.append(values[:, : max(1, MOST // (training * len(values)))].copy())
        if parts[case.id] == "train" and block is not None and len(blocks) < anatomy.MOST:
            blocks.append(block)
        progress("look at the images", number + 1, len(dataset.cases), case.id)
    check_boxes(dataset, rows)
    mixed = _mixed(dataset, rows, kept)
    learned = [row for row in rows if parts[row["id"]] == "train"]
    facts = summary(rows, samples, dataset)
    facts |= _of_training(facts, learned, samples, blocks)
    strange = _warned.of_ranges(learned, _intensity.normalisation(facts), facts["channels"])
    told = _warned.of_numbers(odd) + _warned.of_reading(rows) + strange + mixed
    return facts | {"warnings": told + _off_grid(dataset, off, kept)}


def _of_training(
    facts: Mapping[str, Any], rows: list[dict[str, Any]], samples: list[Array], blocks: list[Array]
) -> dict[str, Any]:
    """What counts not for the hash. rows, samples, blocks: of the training part; raw data give no sample."""
    channels, profile = len(facts["channels"]), anatomy.learn(blocks)
    sampled = [(row["labels"], own) for row, own in zip((r for r in rows if "range" in r), samples, strict=True)]
    labelled = [own for labels, own in sampled if (labels is None or max(labels) > 0) and len(own) == channels]
    # where a label is empty the sample was of the whole image, air and all; the hash goes on counting it
    fewer = 0 < len(labelled) < len(samples) and any(labels and max(labels) > 0 for labels, _ in sampled)
    return {
        "intensity": _intensities(labelled) if fewer else facts["intensity"],
        "anatomy": None if profile is None else profile.data(),
        "hounsfield": _reach.hounsfield(rows, channels),
        "range": _reach.whole(rows, channels),
        "content": _reach.usual_content(rows),
    }


def case_facts(case: Case) -> tuple[dict[str, Any], Array | None, Array | None, int, HilumError | None]:
    """One case's row, sampled intensities (C, n), of the foreground where there is a label, its coarse block, how many
    of its voxels are no numbers, and why its label does not lie on it.
    """
    role = next((r for r in ("image", "fixed", "kspace") if r in case.items), None)
    if role is None:
        raise HilumError("HIL-DATA-08", f"Case {case.id} has no image", "Add one or leave the case out")
    item = case.read(role)
    row: dict[str, Any] = {"id": case.id, "class": case.klass, "labels": None, "boxes": None, "hash": _hash(item)}
    row |= {"even": True} if _even(item) else {}
    if isinstance(item, Measurement):
        return row | _raw(case, item) | _warned.by_reader(item), None, None, 0, None
    odd = _warned.no_numbers(case, item)
    image: Image = to_ras(item)
    facts = {"shape": list(image.shape), "spacing": [round(s, 6) for s in image.spacing], "channels": len(image.array)}
    row |= facts | {"physical": image.affine is not None, "modality": image.meta.get("modality", "")}
    if "channel_files" in item.meta:
        row["files"] = item.meta["channel_files"]
    row |= {"vague": True} if modality.vague(item) else {}
    inside = np.ones(image.shape, dtype=bool)
    label = _labels.stored(case) if "label" in case.items else None
    # before they are turned: near 45 degrees a hair's difference gives another order of axes
    fault = None if label is None or role != "image" else _fault(case, item, label)
    row["bytes"] = [item.array.itemsize, 0 if label is None else label.array.itemsize]
    # what was read is not held beside its copy
    del item
    label = None if label is None else to_ras(label)
    row |= _warned.by_reader(image, label)
    if label is not None:
        row |= _of_label(label)
        if label.shape == image.shape and (label.array[0] > 0).any():
            inside = label.array[0] > 0
    if case.boxes is not None:
        row |= {"boxes": len(case.boxes), "listed": True}
    row |= {"truth": _truth.digest(case, label), "low": [_reach.low(channel) for channel in image.array]}
    row["range"] = [_reach.ends(channel) for channel in image.array]
    row |= {"content": _reach.content(image.array)} if image.dims == 3 else {}
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(case.id.encode()).digest()[:8], "little"))
    values = np.stack([rng.choice(channel[inside], SAMPLES) for channel in image.array])
    return row, values.astype(np.float32), anatomy.block(image), odd, fault


def _of_label(label: Image) -> dict[str, Any]:
    """What a row says of a label."""
    values, counts = np.unique(label.array, return_counts=True)
    row: dict[str, Any] = {"labels": {int(v): int(n) for v, n in zip(values, counts, strict=True)}}
    row["boxes"] = int((values != 0).sum())
    if label.meta.get("classes"):
        # what a DICOM SEG calls its segments
        row["segments"] = {str(v): str(n).strip() for v, n in label.meta["classes"].items()}
    return row


def _fault(case: Case, image: Image, label: Image) -> HilumError | None:
    """The refusal of a label that does not lie on its image (HIL-N14)."""
    try:
        compare_grids(image, label, f"Case {case.id}")
    except HilumError as error:
        # its traceback would keep the arrays
        return error.with_traceback(None)
    return None


def _looked_at(case: Case, part: str, dataset: Dataset, task: str) -> bool:
    """Whether the task learns from the label of a case, or is judged by it."""
    if task == "detect":
        return case.boxes is None or dataset.settings.ignore is not None
    # registration need not learn from labels
    return task == "segment" or (task == "register" and part != "train" and _judged(case, dataset))


def _judged(case: Case, dataset: Dataset) -> bool:
    """Whether a registration may be judged by the label of a case: of listed pairs only where both images have one."""
    labelled = {c.id for c in dataset.cases if "label" in c.items}
    return not dataset.pairs or any(case.id in pair and labelled.issuperset(pair) for pair in dataset.pairs)


def _off_grid(dataset: Dataset, off: Mapping[str, HilumError], kept: bool) -> list[str]:
    """Refuse labels that do not lie on their images (HIL-N14), all listed; of data that are `kept` a warning.

    off: why each does not, by case.
    """
    if not off:
        return []
    first = next(iter(off.values()))
    seen = "; ".join(fault.seen for fault in list(off.values())[:SHOWN])
    if len(off) > 1:
        more = f"; and {len(off) - SHOWN} more" if len(off) > SHOWN else ""
        seen = f"{len(off)} labels in {dataset.folder} do not lie on their images: {seen}{more}"
    if not kept:
        raise HilumError("HIL-N14", seen, first.remedy)
    return [f"HIL-N14: {seen}"]


def _raw(case: Case, item: Measurement) -> dict[str, Any]:
    """What a row says of raw data. shape: of a slice; values: of all slices and coils. The digests are `_truth`'s."""
    coils = int(item.array.shape[-3]) if item.array.ndim > 2 else 1
    row: dict[str, Any] = {"shape": list(item.array.shape[-2:]), "spacing": [1.0, 1.0], "channels": 1}
    row |= {"physical": False, "truth": _truth.digest(case, target=item.target)}
    return row | {"values": int(item.array.size), "coils": coils, "operator": _truth.of_operator(item.operator)}


def _mixed(dataset: Dataset, rows: list[dict[str, Any]], kept: bool) -> list[str]:
    """Refuse DICOM SEGs that number their segments differently (HIL-N15), as numbers run anew in every file; of data
    that are `kept` a warning.

    Where the settings name what the values mean, they do.
    """
    if dataset.settings.labels or dataset.settings.classes:
        return []
    named, numbers, twice = dict[str, dict[str, str]](), dict[str, dict[str, str]](), set[str]()
    for row in rows:
        own = [(number, name.casefold(), name) for number, name in row.get("segments", {}).items()]
        twice |= {key for key, count in Counter(key for _, key, _ in own).items() if count > 1}
        for number, key, name in own:
            named.setdefault(number, {}).setdefault(key, f"{name} ({row['id']})")
            numbers.setdefault(key, {}).setdefault(number, f"{number} ({row['id']})")
    odd = [f"{number} is {', '.join(found.values())}" for number, found in sorted(named.items()) if len(found) > 1]
    # one name for several objects of one file is no other numbering
    several = {key: found for key, found in sorted(numbers.items()) if len(found) > 1 and key not in twice}
    odd += [f"{key} is {', '.join(found.values())}" for key, found in several.items()]
    if not odd:
        return []
    seen = f"SEGs of {dataset.folder} number their segments differently: {listed(odd)}"
    if not kept:
        raise HilumError(
            "HIL-N15", seen, "Export all with the same segments in the same order; or, where a number does mean one "
            "thing, name it in a dataset.yaml: `labels: {tumour: 1}`, or `{tumour: nonzero}`",
        )  # fmt: skip
    return [f"HIL-N15: {seen}"]


def check_boxes(dataset: Dataset, rows: list[dict[str, Any]]) -> None:
    """Refuse boxes that reach beyond their picture (HIL-T10), all cases listed; no task learns boxes of volumes."""
    odd = []
    for case, row in zip(dataset.cases, rows, strict=True):
        if case.boxes is None or case.boxes.shape[1:] != (5,) or len(row["shape"]) != 2:
            continue
        low, high = case.boxes[:, 1:3], case.boxes[:, 3:]
        out = ((low < -OUTSIDE) | (high > np.array(row["shape"]) + OUTSIDE)).any(axis=1)
        if out.any():
            corners = ", ".join(f"{v:g}" for v in case.boxes[out][0, 1:])
            size = " x ".join(map(str, row["shape"]))
            odd.append(f"{case.id} ({int(out.sum())} of {len(case.boxes)} in {size} pixels, the first is {corners})")
    if odd:
        raise HilumError(
            "HIL-T10", f"{len(odd)} of {len(rows)} cases in {dataset.folder} have boxes beyond their image: "
            f"{listed(odd)}",
            "Are rows and columns swapped? low0 and high0 count rows. Mend boxes.csv, or leave the cases out",
        )  # fmt: skip


def check_dims(rows: list[dict[str, Any]], folder: Path) -> int:
    """Refuse pictures beside volumes (HIL-N10). Returns the dimensions of all."""
    names = {len(row["shape"]): row["id"] for row in reversed(rows)}
    if len(names) > 1:
        told = ", ".join(f"{name!r} is {dims}-D" for dims, name in sorted(names.items()))
        raise HilumError("HIL-N10", f"{folder} mixes 2-D and 3-D images ({told})", "Put them into two data sets")
    return next(iter(names))


def check_channels(rows: list[dict[str, Any]], folder: Path) -> int:
    """Refuse images of another number of channels (HIL-T10), all listed; a picture may be grey or colour.

    Not where channels have files of their own: then one of them alone is no grey picture of the three. Returns the
    number that most have.
    """
    usual: int = Counter(row["channels"] for row in rows).most_common(1)[0][0]
    apart = any("files" in row for row in rows)
    odd = [
        f"{row['id']} ({row['channels']})"
        for row in rows
        if row["channels"] != usual
        and (apart or {row["channels"], usual} != {1, 3} or len(row["shape"]) != 2 or row["physical"])
    ]
    if odd:
        raise HilumError(
            "HIL-T10", f"{len(odd)} of {len(rows)} cases in {folder} have another number of channels than {usual}: "
            f"{listed(odd)}",
            "Give images of the same channels, or list the cases under leave_out in a dataset.yaml",
        )  # fmt: skip
    return usual


def hashed(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a case's row counts for the hash."""
    return {key: value for key, value in row.items() if key not in UNHASHED}


def content_hash(case: Case) -> str | None:
    """What the image of a case is, whatever it is called: a hash of its shape and values.

    None without an image, and of one of one value: black slices are nobody's, and tell no two data sets to be one.
    """
    role = next((r for r in IMAGES if r in case.items), None)
    item = None if role is None else case.read(role)
    return None if item is None or _even(item) else _hash(item)


def seen(rows: Sequence[Mapping[str, Any]], parts: Mapping[str, str]) -> dict[str, str]:
    """{hash of an image: part} of the cases in a fingerprint, without those of one value. parts: by case.

    An image that lies in two parts, as an accepted leak (HIL-T09), was learned from.
    """
    found: dict[str, str] = {}
    for part in ("test", "val", "train"):
        found |= {row["hash"]: part for row in rows if parts[row["id"]] == part and not row.get("even")}
    return found


def _even(item: Image | Measurement) -> bool:
    """Whether every channel of an image, or all of raw data, is of one value."""
    apart = isinstance(item, Image)
    first = item.array[(slice(None),) * apart + (slice(1),) * (item.array.ndim - apart)]
    return bool((item.array == first).all())


def _hash(item: Image | Measurement) -> str:
    array = np.ascontiguousarray(item.array)
    found = hashlib.blake2b(repr(array.shape).encode(), digest_size=16)
    # as they lie: their bytes would be a copy
    found.update(array.reshape(-1).data)
    return found.hexdigest()


def summary(rows: list[dict[str, Any]], samples: list[Array], dataset: Dataset) -> dict[str, Any]:
    """The fingerprint: rows and what follows from them."""
    dims, channels = check_dims(rows, dataset.folder), check_channels(rows, dataset.folder)
    usual = [s for s in samples if len(s) == channels] or [np.zeros((channels, 1), np.float32)]
    modalities = Counter(row.get("modality", "") for row in rows)
    settings, boxes = dataset.settings.model_dump(), dict(dataset.box_classes)
    out = {
        "data": dataset.name,
        "layout": dataset.layout,
        "dims": dims,
        "physical": all(row["physical"] for row in rows),
        "channels": _channel_names(channels, dataset.settings.channels),
        "modality": dataset.settings.modality or modalities.most_common(1)[0][0],
        "label_values": sorted({v for row in rows for v in (row["labels"] or {})}),
        "intensity": _intensities(usual),
        "settings": settings | {"classes": {str(k): v for k, v in settings["classes"].items()}},
        "cases": rows,
    }
    # what the folder is called and its terms do not change what the data are; nor do facts that came later
    inside = {k: v for k, v in out.items() if k not in ("data", "settings")} | {"cases": [hashed(row) for row in rows]}
    meaning = {k: v for k, v in settings.items() if k not in ("folder", "terms") and (v or k not in LATER)}
    # what boxes are called stood among the settings in the first runs
    meaning["classes"] = meaning["classes"] or boxes
    out["hash"] = hashlib.sha256(json.dumps([inside, meaning], sort_keys=True).encode()).hexdigest()
    return out | ({"box_classes": {str(k): v for k, v in boxes.items()}} if boxes else {})


def _channel_names(count: int, named: list[str]) -> list[str]:
    """The names that the settings give, where they give as many as there are."""
    if len(named) == count:
        return named
    return ["image"] if count == 1 else [f"channel {i}" for i in range(count)]


def _intensities(samples: list[Array]) -> list[dict[str, float]]:
    """For each channel what samples (C, n) of several images say together."""
    return [_channel(values) for values in np.concatenate(samples, axis=1)]


def _channel(values: Array) -> dict[str, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"mean": 0.0, "std": 1.0, "low": 0.0, "high": 1.0, "p005": 0.0, "p995": 1.0}
    p005, p995 = np.percentile(finite, [0.5, 99.5])
    facts = {"mean": finite.mean(), "std": finite.std(), "low": finite.min(), "high": finite.max()}
    return {k: round(float(v), 6) for k, v in (facts | {"p005": p005, "p995": p995}).items()}
