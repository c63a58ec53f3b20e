"""bundle: a finished run becomes one .hilum file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hilum.core.atomic import writing
from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.evaluation import model_card
from hilum.infer import bundle as bundles
from hilum.infer import bundled_graph, signature, system_bundle
from hilum.verbs.card import given
from hilum.verbs.verify import opened

CARD = "model_card.md"
# The card for people; card.json is the one for machines.


def bundle(
    model: Path | str,
    out: Path | str,
    *,
    public: bool = False,
    sign: Path | str | None = None,
    metrics: Path | str | None = None,
    onnx: bool = False,
    openvino: bool = False,
) -> dict[str, Any]:
    """Write `out` (NAME.hilum) from a run folder, verify it, and return its card.

    public: it is meant for everybody: refused (HIL-INFER-10) where the terms of its data do not surely allow that.
    sign: file of the private key that signs it. metrics: metrics.json of an evaluation of this model, for the model
    card inside; raters.json beside it is used where it lies there. onnx: also the network as graphs/net.onnx, for use
    without Hilum; refused (HIL-INFER-13) where an answer takes more than one network or one look. openvino: also the
    network, of a system every one, as OpenVINO's graph, so that whoever predicts with that need not convert it.
    """
    out = Path(out)
    if out.suffix != ".hilum":
        raise HilumError("HIL-INFER-09", f"{out.name} does not end in .hilum", "Name it NAME.hilum")
    run = Run(Path(model))
    if run.is_bundle:
        raise HilumError("HIL-INFER-09", f"{model} is a bundle already", "Copy the file")
    return packed(run, out, public=public, sign=sign, metrics=metrics, onnx=onnx, openvino=openvino)


def packed(
    run: Run,
    out: Path,
    *,
    public: bool = False,
    sign: Path | str | None = None,
    metrics: Path | str | None = None,
    onnx: bool = False,
    openvino: bool = False,
) -> dict[str, Any]:
    """The same from an opened run folder. The file takes its name once it is verified."""
    run.check_hashes()
    if out.exists():
        raise HilumError("HIL-CORE-03", f"{out} exists", "Choose another --out or remove it")
    if sign is not None:
        # a key that can not sign is better known before networks are converted than after
        signature.sign(b"", Path(sign))
    several = run.system is not None
    if onnx:
        _check_one(run)
    made = model_card.card(run, *given(metrics))
    more = {CARD: model_card.markdown(made).encode()}
    if onnx:
        from hilum.infer.runtimes.onnx import of_run

        more[bundled_graph.NAME] = of_run(run)
    if openvino and not several:
        more |= _converted(run)
    key = None if sign is None else Path(sign)
    # what does not say the same again is nothing to hand on
    with writing(out) as part, _called(part, out):
        # it is refused where something is there
        part.unlink()
        if several:
            card = system_bundle.write(run, part, public, more=more, key=key, of_each=_converted if openvino else None)
            system_bundle.verify(part)
        else:
            card = bundles.write(run, part, public, more=more, key=key)
            bundles.verify(part)
        opened(Run(part))
    return card


@contextmanager
def _called(part: Path, out: Path) -> Iterator[None]:
    """Errors about a file that has no name yet speak of the one that it was to have."""
    try:
        yield
    except HilumError as error:
        raise HilumError(error.code, error.seen.replace(part.name, out.name), error.remedy) from error


def _converted(run: Run) -> dict[str, bytes]:
    """OpenVINO's graph of a network, by name in its bundle."""
    from hilum.infer.runtimes.openvino import of_run

    return {f"graphs/{name}": content for name, content in of_run(run).items()}


def _check_one(run: Run) -> None:
    """Refuse a run whose answer is not that of one network asked once: a graph holds no more (HIL-INFER-13)."""
    if run.system is not None:
        seen = f"{run.path} is a system of several networks, and a graph holds one"
        raise HilumError("HIL-INFER-13", seen, "Bundle it without --onnx")
    known = run.calibration
    if known is not None and known.opinions.kind != "one":
        seen = f"An answer of {run.path} is the mean of several opinions ({known.opinions.kind}), a graph holds one"
        raise HilumError("HIL-INFER-13", seen, "Bundle it without --onnx, or calibrate it with --opinions one")
