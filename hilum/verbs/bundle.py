"""bundle: a finished run becomes one .hilum file."""

from pathlib import Path
from typing import Any

from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.evaluation import model_card
from hilum.infer import bundle as bundles
from hilum.infer import bundled_graph, signature, system_bundle
from hilum.verbs.card import given

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
    """The same from an opened run folder."""
    run.check_hashes()
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
    key = None if sign is None else Path(sign)
    if several:
        card = system_bundle.write(run, out, public, more=more, key=key, of_each=_converted if openvino else None)
    else:
        more |= _converted(run) if openvino else {}
        card = bundles.write(run, out, public, more=more, key=key)
    try:
        (system_bundle if several else bundles).verify(out)
    except BaseException:
        # what does not say the same again is nothing to hand on
        out.unlink(missing_ok=True)
        raise
    return card


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
