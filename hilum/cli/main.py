"""hilum: the command line. It only edits the plan and calls the verbs; here, and only here, things are printed."""

import atexit
import gc
import io
import json
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hilum import __version__
from hilum.cli import hand_on
from hilum.core.errors import HilumError, Stopped
from hilum.core.findings import INTENDED_USE

app = typer.Typer(
    help="Medical images in, findings with their doubt stated, out as standard objects (DICOM, NIfTI)."
    f"\n\n{INTENDED_USE}",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Data = Annotated[Path, typer.Argument(help="A data folder, a dataset.yaml or a CSV.")]
Model = Annotated[Path, typer.Argument(help="A run folder or a .hilum file.")]
Task = Annotated[str, typer.Option(help="segment, classify, detect, register, reconstruct or generate.")]
Minutes = Annotated[float | None, typer.Option(help="Training time; frozen into steps after a short timing.")]
Steps = Annotated[int | None, typer.Option(help="Training steps, instead of minutes.")]
Seed = Annotated[int, typer.Option(help="Of the split, the weights and the batches.")]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="key=value: a network option, or a dotted plan path (learning.rate=0.001, plan.batch=4)."
    ),
]
Accept = Annotated[
    list[str] | None, typer.Option(help="A fault that is known and meant, by its code, as D21 (a slice is missing).")
]
Memory = Annotated[
    str | None, typer.Option(help="The most memory to plan for on processors, such as 4GB; else most of what is free.")
]
Out = Annotated[Path, typer.Option(help="A new or empty folder.")]
Again = Annotated[Path, typer.Option(help="A new or empty folder, or that of the same call.")]

MISUSED: type[Exception] = typer.BadParameter.__bases__[0]
# What is raised for words that a command does not take: of typer itself, or in earlier versions of click.


def _settings(pairs: list[str] | None) -> dict[str, Any]:
    from hilum.core.plan import parse_setting

    return dict(parse_setting(p) for p in pairs or [])


def _version(asked: bool) -> None:
    if asked:
        print(f"hilum {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which Hilum this is.")
    ] = False,
) -> None:
    pass


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="A data folder, a dataset.yaml, a CSV, a study or one image.")],
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with pictures to this file, which must not exist.")
    ] = None,
    accept: Accept = None,
) -> None:
    """What is there: cases, roles, geometry, range, labels, problems and remedies, and the tasks it fits.

    Example: hilum inspect my_images --html my_images.html
    """
    from hilum.cli import show
    from hilum.verbs.inspect import inspect as verb

    with show.bars() as progress:
        found = verb(path, html=html, accept=tuple(accept or ()), progress=progress)
    print(json.dumps(found, indent=1)) if as_json else show.inspected(found)


@app.command()
def plan(
    data: Data,
    task: Task,
    out: Annotated[Path, typer.Option(help="The plan, such as plan.json; must not exist.")],
    net: Annotated[str | None, typer.Option(help="A network, or name:key=value.")] = None,
    minutes: Minutes = None,
    steps: Steps = None,
    seed: Seed = 0,
    memory: Memory = None,
    set_: Sets = None,
) -> None:
    """Look at the data and write plan.json: readable, and yours to edit.

    Example: hilum plan my_images --task segment --minutes 20 --out plan.json
    """
    from hilum.cli import show
    from hilum.verbs.plan import plan as verb

    with show.bars() as progress:
        made = verb(
            data,
            task,
            out,
            net=net,
            minutes=minutes,
            steps=steps,
            seed=seed,
            memory=memory,
            settings=_settings(set_),
            progress=progress,
        )
    show.planned(made, data, out)


@app.command()
def train(
    data: Data,
    task: Task,
    out: Annotated[Path, typer.Option(help="A new or empty folder; with --resume that of the run.")],
    plan: Annotated[Path | None, typer.Option(help="A plan.json; else one is made.")] = None,
    net: Annotated[str | None, typer.Option(help="A network, or name:key=value.")] = None,
    minutes: Minutes = None,
    steps: Steps = None,
    seed: Annotated[int | None, typer.Option(help="Of the split, the weights and the batches; 0 unless given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in --out from its last checkpoint.")] = False,
    start: Annotated[
        Path | None, typer.Option(help="Weights to begin from: a run, a bundle, a .safetensors or .pt file.")
    ] = None,
    memory: Memory = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    devices: Annotated[int, typer.Option(help="Processes or GPUs that share every batch.")] = 1,
    track: Annotated[
        str | None, typer.Option(help="tensorboard, mlflow, or both with a comma: the curve there too, in the run.")
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            help="A fault that is known and meant, by its code: T04 (other versions than the run began with)."
        ),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(help="Networks that share the classes: how many, or a YAML file {group: [class names]}."),
    ] = None,
    set_: Sets = None,
) -> None:
    """Learn from a data set and leave a run folder (10 minutes unless said otherwise).

    Example: hilum train my_images --task segment --minutes 12 --out run
    """
    from hilum.cli import show
    from hilum.verbs.train import train as verb

    with show.bars() as progress:
        verb(
            data, task, out, plan=plan, net=net, minutes=minutes, steps=steps, seed=seed,
            resume=resume, start=start, memory=memory, accelerator=accelerator, devices=devices,
            track=track, accept=tuple(accept or ()), groups=groups, settings=_settings(set_),
            progress=show.watched(progress, out / "training.html"),
        )  # fmt: skip
    words = ["hilum", "evaluate", str(out), str(data), "--out", f"{out}-evaluation"]
    show.say(f"The run is in {out}. Next: {shlex.join(words)}")


@app.command()
def evaluate(
    model: Model,
    data: Data,
    out: Out,
    part: Annotated[str | None, typer.Option(help="train, val or test of the run's own data; default test.")] = None,
    runtime: Annotated[str, typer.Option(help="What computes, as of predict; torch-cuda for a card.")] = "torch",
    coarse: Annotated[
        Path | None, typer.Option(help="As of predict: judge the model where this one says to look.")
    ] = None,
) -> None:
    """Judge a run or bundle: metrics with intervals, and a report to open.

    The run's own data: its test part. Other data: every labelled case.
    Example: hilum evaluate run my_images --out evaluation
    """
    from hilum.cli import show
    from hilum.verbs.evaluate import evaluate as verb

    with show.bars() as progress:
        found = verb(model, data, out, part=part, runtime=runtime, coarse=coarse, progress=progress)
    show.evaluated(found, out)


@app.command()
def compare(
    data: Data,
    task: Task,
    nets: Annotated[str, typer.Option(help="Networks, separated by commas; options as name:key=value.")],
    out: Again,
    seeds: Annotated[int, typer.Option(help="Runs per network; the first seed is 0, or `--set plan.seed`.")] = 1,
    minutes: Minutes = None,
    steps: Steps = None,
    memory: Memory = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    set_: Sets = None,
) -> None:
    """Several networks on the same data, split and budget (200 steps unless said otherwise); it can be continued.

    Example: hilum compare my_images --task classify --nets resnet,densenet,vit --steps 300 --out comparison
    """
    from hilum.cli import show
    from hilum.verbs.compare import apart
    from hilum.verbs.compare import compare as verb

    with show.bars() as progress:
        found = verb(
            data,
            task,
            apart(nets),
            out,
            seeds=seeds,
            minutes=minutes,
            steps=steps,
            memory=memory,
            accelerator=accelerator,
            settings=_settings(set_),
            progress=progress,
        )
    show.compared(found, out)


@app.command()
def predict(
    model: Model,
    out: Again,
    inputs: Annotated[list[Path] | None, typer.Argument(help="Images, folders, or CSVs with columns of roles.")] = None,
    fixed: Annotated[Path | None, typer.Option(help="For registration: the image that stays.")] = None,
    moving: Annotated[Path | None, typer.Option(help="For registration: the image that moves.")] = None,
    memory: Annotated[
        str | None, typer.Option(help="Most that the process may hold while it finds masks, for example 2GB.")
    ] = None,
    runtime: Annotated[
        str,
        typer.Option(
            help="What computes: torch, torch-channels-last, torch-bf16, torch-cuda, torch-cuda-half, onnx, openvino, "
            "openvino-bf16, openvino-int8; auto takes the fastest that agrees with torch, where there is much to do."
        ),
    ] = "auto",
    format: Annotated[str, typer.Option(help="nifti, or dicom (SEG, SR, registration) for DICOM images.")] = "nifti",
    wide: Annotated[bool, typer.Option("--wide", help="Also masks that miss little of what is there.")] = False,
    maps: Annotated[bool, typer.Option("--maps", help="Also where a mask is doubtful, as images.")] = False,
    order: Annotated[
        str, typer.Option(help="Of worklist.csv: arrival, or doubt (what needs a person first).")
    ] = "arrival",
    roi: Annotated[
        str | None, typer.Option(help="Of a system of networks: the classes that are wanted, with commas.")
    ] = None,
    coarse: Annotated[
        Path | None, typer.Option(help="A run or bundle of masks at a larger spacing: look around what it finds only.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Several processes (local:4), or a Dask scheduler of your own (tcp://host:8786).")
    ] = None,
    accept: Accept = None,
) -> None:
    """Use a run or bundle on images; a bad input costs that input only. Repeat the call to go on.

    Example: hilum predict model.hilum scan.nii.gz --out found
    """
    from hilum.cli import show
    from hilum.verbs.predict import predict as verb

    with show.bars() as progress:
        found = verb(
            model, list(inputs or []), out, fixed=fixed, moving=moving,
            memory=memory, runtime=runtime, format=format, wide=wide, maps=maps, order=order,
            roi=tuple(name.strip() for name in roi.split(",")) if roi else (), coarse=coarse,
            cluster=cluster,
            accept=tuple(accept or ()), progress=progress,
        )  # fmt: skip
    show.predicted(found, out)


@app.command()
def generate(
    model: Model,
    count: Annotated[int, typer.Option(help="How many images.")],
    out: Out,
    seed: Annotated[int, typer.Option(help="The same seed gives the same images.")] = 0,
) -> None:
    """New images from a generator.

    Example: hilum generate run --count 16 --out made
    """
    from hilum.cli import show
    from hilum.verbs.generate import generate as verb

    with show.bars() as progress:
        found = verb(model, count, out, seed=seed, progress=progress)
    show.say(f"{len(found['files'])} images in {out}. {found['note']}")


app.command()(hand_on.bundle)
app.command()(hand_on.verify)
app.command()(hand_on.keys)
app.command("import")(hand_on.import_model)


@app.command()
def calibrate(
    model: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Data,
    error: Annotated[
        float | None,
        typer.Option(
            help="Share of patients whose result may be accepted and wrong; sets, intervals and wide masks may miss as "
            "much. The smaller, the more validation patients it takes: 9 at 0.1, 19 at 0.05. At first 0.1."
        ),
    ] = None,
    acceptable: Annotated[
        float | None,
        typer.Option(help="From when a result is right: Dice or F1 of boxes (0.7 at first), PSNR in dB (30)."),
    ] = None,
    opinions: Annotated[
        str | None,
        typer.Option(
            help="Whose mean an answer is: one (at first; this drops an ensemble), views (of the image), dropout or "
            "dropout:N."
        ),
    ] = None,
    with_: Annotated[
        list[Path] | None, typer.Option("--with", help="Another run, same plan and split: an ensemble. Repeat it.")
    ] = None,
    runtime: Annotated[
        str | None, typer.Option(help="What computes; auto: the fastest that agrees. At first torch.")
    ] = None,
) -> None:
    """Learn anew, on the validation part, which answers of a run are accepted, flagged or sent to a person.

    `hilum train` has done so with the defaults. What is not given stays as it was the last time.
    Example: hilum calibrate run my_images --error 0.05 --opinions views
    """
    from hilum.cli import show
    from hilum.verbs.calibrate import calibrate as verb

    with show.bars() as progress:
        found = verb(
            model, data, error=error, acceptable=acceptable, opinions=opinions, others=with_ or (), runtime=runtime,
            progress=progress,
        )  # fmt: skip
    show.calibrated(found)


@app.command()
def quantise(model: Annotated[Path, typer.Argument(help="A run or a system of masks.")], data: Data) -> None:
    """Make a graph of eight bits for --runtime openvino-int8, and measure on the validation part what it costs.

    Example: hilum quantise run my_images
    """
    from hilum.cli import show
    from hilum.verbs.quantise import quantise as verb

    with show.bars() as progress:
        found = verb(model, data, progress=progress)
    show.quantised(found)


@app.command()
def card(
    model: Model,
    out: Out,
    metrics: Annotated[
        Path | None, typer.Option(help="metrics.json of an evaluation of this model; raters.json beside it is used.")
    ] = None,
) -> None:
    """A model card and two reporting checklists (CLAIM, TRIPOD+AI) from what the run knows.

    What it does not know is printed as not known, with who should fill it.
    Example: hilum card run --metrics evaluation/metrics.json --out card
    """
    from hilum.cli import show
    from hilum.verbs.card import card as verb

    show.carded(verb(model, out, metrics=metrics), out)


@app.command()
def resample(
    path: Annotated[Path, typer.Argument(help="A volume with a place in the patient: NIfTI, a DICOM series, ...")],
    out: Annotated[Path, typer.Option(help="NAME.nii.gz; must not exist.")],
    like: Annotated[Path | None, typer.Option(help="A volume whose grid is taken.")] = None,
    spacing: Annotated[
        str | None, typer.Option(help="mm along the image's own axes: 1,1,2, or 1 for all three.")
    ] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Whole-number labels, which must never mix.")] = False,
    accept: Accept = None,
) -> None:
    """Put a volume onto another's grid, or to another spacing, by its place in the patient.

    Images linearly; of labels the strongest wins. What lies outside is filled and counted.
    Example: hilum resample labels.nii.gz --like scan.nii.gz --labels --out labels_on_scan.nii.gz
    """
    from hilum.cli import show
    from hilum.verbs.resample import resample as verb

    with show.bars() as progress:
        found = verb(
            path, out, like=like, spacing=spacing, labels=labels, accept=tuple(accept or ()), progress=progress
        )
    show.resampled(found)


@app.command()
def zoo(
    task: Annotated[str | None, typer.Option(help="Only networks for this task.")] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Also FLOP of a forward pass and memory of the layers; counted, not run.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """The networks, with parameters counted from the built module; reconstructions are marked.

    Example: hilum zoo --task segment --measure
    """
    from hilum.cli import show
    from hilum.verbs.zoo import zoo as verb

    rows = verb(task, measure=measure)
    print(json.dumps(rows, indent=1)) if as_json else show.networks(rows)


@app.command()
def demo(out: Annotated[Path | None, typer.Option(help="Default: hilum-demo, or the next free name.")] = None) -> None:
    """The main job on a phantom study, from images to a report, in a few minutes.

    Example: hilum demo
    """
    from hilum.cli import show
    from hilum.verbs.demo import demo as verb

    with show.bars() as progress:
        found = verb(out, progress=progress)
    show.demonstrated(found)


for each in app.registered_commands:
    each.epilog = INTENDED_USE


def main() -> None:
    """Run the command; an error becomes one sentence on stderr and exit code 2."""
    import logging

    from hilum.cli import show

    for stream in (sys.stdout, sys.stderr):
        # a path that is no UTF-8 must not end a run that is done
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    told = logging.StreamHandler(sys.stderr)
    told.setFormatter(show.OneLine())
    logging.basicConfig(level=logging.WARNING, handlers=[told])
    # as the process ends Python would search all that PyTorch made for cycles, for nothing
    atexit.register(gc.freeze)
    # where a shell had it ignored, as of jobs in the background, it stays so
    heard = [n for n in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, _end) for number in heard}
    try:
        _run()
    except Stopped as stop:
        print(f"hilum: {stop.words}.", file=sys.stderr)
        raise
    except HilumError as error:
        print(f"hilum: {show.plain(' '.join(str(error).split()))}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        words = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        remedy = "Check the path, the rights and the space on the disk. [HIL-CORE-04]"
        print(f"hilum: {show.plain(words)}. {remedy}", file=sys.stderr)
        sys.exit(2)
    except MemoryError as error:
        words = show.plain(str(error)) or "an allocation failed"
        remedy = "Close other programs, or give less at once. [HIL-T07]"
        print(f"hilum: The memory does not suffice ({words}). {remedy}", file=sys.stderr)
        sys.exit(2)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run() -> None:
    """The command that was asked for; words that it does not take are an error like any other (HIL-CORE-05)."""
    try:
        code = app(prog_name="hilum", standalone_mode=False)
    except MISUSED as error:
        if len(sys.argv) == 1:
            # no word at all, to which the help is the answer
            error.show()  # type: ignore[attr-defined]
            sys.exit(2)
        words = " ".join(error.format_message().split())  # type: ignore[attr-defined]
        seen, _, meant = words.partition(" Did you mean ")
        command = getattr(getattr(error, "ctx", None), "command_path", "hilum")
        remedy = f"See: {command} --help"
        raise HilumError("HIL-CORE-05", seen, f"Did you mean {meant} {remedy}" if meant else remedy) from error
    except typer.Abort:
        print("hilum: stopped, as its input ended.", file=sys.stderr)
        sys.exit(1)
    if code:
        sys.exit(code)


def _end(number: int, _: object) -> None:
    """A scheduler's signal or Ctrl-C outside of training's steps, which save first: folders are cleared up as after an
    error. Not KeyboardInterrupt, which the library of the command line ends without a word.
    """
    raise Stopped(number, "before it was done; what was saved is kept")


if __name__ == "__main__":
    main()
