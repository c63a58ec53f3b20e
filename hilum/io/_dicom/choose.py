"""One volume of those that lie at a path: the only one, or the one asked for; never a guess."""

from hilum.core.errors import HilumError
from hilum.io._dicom.patients import person
from hilum.io._dicom.series import Triage, Volume


def choose(found: Triage, series: str | None = None, volume: str | None = None) -> Volume:
    """The one volume, or the one asked for by SeriesInstanceUID and key.

    Refused: nothing there (the first file's own reason, or HIL-D31), several to choose from (HIL-D27 for series, the
    reason of the split within one series: D25, D26, D30).
    """
    _something(found)
    left = [one for one in found.volumes if series is None or one.series_uid == series]
    if not left:
        known = ", ".join(dict.fromkeys(one.series_uid for one in found.volumes))
        raise HilumError("HIL-D27", f"{found.path} has no series {series}", f"It has: {known}")
    if volume is not None:
        named = [one for one in left if one.key == volume]
        if not named:
            keys = ", ".join(one.key for one in left)
            raise HilumError("HIL-D27", f"{found.path} has no volume {volume!r}", f"It has: {keys}")
        return named[0]
    if len(left) == 1:
        return left[0]
    shown = "; ".join(map(_shown, left[:6])) + ("; ..." if len(left) > 6 else "")
    if len({_series_of(one) for one in left}) == 1:
        main = [one for one in left if not one.localiser]
        if len(main) == 1:
            return main[0]
        raise HilumError(
            left[0].why or "HIL-D27", f"{found.path} holds {len(left)} volumes in one series: {shown}",
            f'{_apart(left)}; in Python also choose one, for example volume="{left[0].key}"',
        )  # fmt: skip
    uids = list(dict.fromkeys(one.series_uid for one in left))
    raise HilumError(
        "HIL-D27", f"{found.path} holds {len({_series_of(one) for one in left})} series: {shown}",
        f'{_apart(left)}; in Python also choose one, for example series="{uids[0]}" or volume="{left[0].key}"',
    )  # fmt: skip


def _apart(several: list[Volume]) -> str:
    """How whoever reads by a command or a table gets one of them alone; volumes may share a multi-frame file."""
    files = [file for one in several for file in set(one.files)]
    if len(set(files)) < len(files):
        return "Export each as a series of its own"
    return "Put the files of each into a folder of its own"


def _something(found: Triage) -> None:
    if found.volumes:
        return
    if found.quarantined:
        raise found.quarantined[0][1]
    kinds = f" ({', '.join(sorted({kind for _, kind in found.others}))})" if found.others else ""
    raise HilumError("HIL-D31", f"{found.path} holds no DICOM image{kinds}", "Give a folder with a CT or MR series")


def _series_of(one: Volume) -> tuple[str, ...]:
    return one.patient, one.study_uid, one.series_uid, *person(one.slices[0])


def _shown(one: Volume) -> str:
    of = f", {one.apart}" if one.apart else ""
    return f"{one.key} ({one.description or one.modality or 'no name'}{of}, {len(one.slices)} slices)"
