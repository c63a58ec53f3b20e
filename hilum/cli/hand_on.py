"""Commands that take a model from one hand to another: bundle, verify, keys, import."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from hilum.cli.show import say
from hilum.core.findings import INTENDED_USE

Sign = Annotated[
    Path | None, typer.Option("--sign", help="The private key that signs it; see hilum keys. Needs the extra sign.")
]


def bundle(
    model: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path, typer.Option(help="NAME.hilum")],
    public: Annotated[
        bool, typer.Option("--public", help="For everybody: refused where the terms of the data do not allow it.")
    ] = False,
    sign: Sign = None,
    metrics: Annotated[
        Path | None, typer.Option(help="metrics.json of an evaluation of this model, for the model card inside.")
    ] = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Also the network as an ONNX file inside, for use without Hilum.")
    ] = False,
    openvino: Annotated[
        bool, typer.Option("--openvino", help="Also as OpenVINO's graph, so that predicting need not convert it.")
    ] = False,
) -> None:
    """One file to hand a model on: plan, weights, cards, calibration, hashes and a golden pair.

    Example: hilum bundle run --out model.hilum
    """
    from hilum.verbs.bundle import bundle as verb

    card = verb(model, out, public=public, sign=sign, metrics=metrics, onnx=onnx, openvino=openvino)
    say(
        f"{out}: {card['task']} by {card['network']}, terms of the data: {card['terms_of_data']}. "
        f"Check: hilum verify {shlex.quote(str(out))}"
    )
    for words in card.get("conditions", []):
        say(words)


def verify(
    path: Annotated[Path, typer.Argument(help="A .hilum file.")],
    key: Annotated[
        Path | None,
        typer.Option(help="Trusted public keys, file or folder: one of them must have signed. Needs the extra sign."),
    ] = None,
    replaces: Annotated[
        Path | None, typer.Option(help="The bundle it comes in place of: says where that is a step back.")
    ] = None,
) -> None:
    """Is a bundle whole, who signed it, and does it compute what it did where it was made?

    Example: hilum verify model.hilum
    """
    from hilum.verbs.verify import verify as verb

    card = verb(path, key=key, replaces=replaces)
    say(f"{path} is whole: {card['files']} files, golden output within {card['golden_difference']:.1e}.")
    if card["signed_by"]:
        say(f"Signed by {card['signed_by']}.")
    else:
        say("Signed, but nobody was asked for: --key KEYS." if card["signed"] else "Not signed.")
    for name, value in card.get("graphs", {}).items():
        why = card["unverified"].get(name)
        say(f"{name} says the same within {value:.1e}." if why is None else f"{name} was not compared: {why}.")
    for name, value in card.get("runtimes", {}).items():
        # where little can be promised it is told and not judged
        say(f"By {name} the golden output differs by {value:.1e}.")
    for words in card["remarks"]:
        say(f"Look: {words}")
    say(INTENDED_USE)


def keys(
    name: Annotated[str, typer.Argument(help="Who signs; the files are called so.")],
    out: Annotated[Path, typer.Option(help="The folder for NAME.key and NAME.yaml.")],
    expires: Annotated[str | None, typer.Option(help="The last day the public key is trusted: 2028-12-31.")] = None,
) -> None:
    """A new pair of keys: NAME.key signs bundles and stays with you, NAME.yaml checks them and is handed on.

    Example: hilum keys radiology --out signing --expires 2028-12-31
    """
    from hilum.verbs.keys import keys as verb

    made = verb(name, out, expires=expires)
    say(f"{made['private']} signs: keep it to yourself, for whoever has it can sign as {made['name']}.")
    say(f"{made['public']} checks: hand it on by a way that others trust.")


def import_model(
    source: Annotated[
        Path, typer.Argument(help="An nnU-Net v2 results folder, a .safetensors or .pt file, a MONAI bundle.")
    ],
    out: Annotated[Path, typer.Option(help="A new run folder, or NAME.hilum.")],
    net: Annotated[str | None, typer.Option(help="The network that the weights are of, or name:key=value.")] = None,
    facts: Annotated[
        Path | None, typer.Option(help="What weights do not say (classes, patch, spacing, ...): a YAML or a plan.json.")
    ] = None,
    orientation: Annotated[
        str | None, typer.Option(help="nnU-Net: how the training files lay, as axis codes: LAS, RAS, LPS, ...")
    ] = None,
    configuration: Annotated[str | None, typer.Option(help="nnU-Net: 3d_fullres, ...; else the checkpoint's.")] = None,
    fold: Annotated[str | None, typer.Option(help="nnU-Net: 0, 1, ... or all; else 0.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key=value: a network option, or a dotted plan path.")
    ] = None,
    sign: Sign = None,
) -> None:
    """Weights that were trained elsewhere become a run or a bundle; nothing that comes with them is executed.

    Example: hilum import nnUNetTrainer__nnUNetPlans__3d_fullres --orientation LAS --out model.hilum
    """
    from hilum.core.plan import parse_setting
    from hilum.verbs.import_model import import_model as verb

    found = verb(
        source, out, net=net, facts=facts, orientation=orientation, configuration=configuration, fold=fold,
        settings=dict(parse_setting(pair) for pair in set_ or []), sign=sign,
    )  # fmt: skip
    say(f"{out}: {found['task']} by {found['network']}, {len(found['classes'])} classes. {found['sentence']}.")
    for words in found["notes"]:
        say(f"Look: {words}")
    say(f"Terms of the weights: {found['terms']}. Next, on labelled images that it has not seen:")
    say(f"  hilum evaluate {shlex.quote(str(out))} my_images --out evaluation")
