"""What a scene needs before anything is measured: run, images, what peers are given, their check, the floor."""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "training")]
import environments  # noqa: E402
import floor  # noqa: E402
import handed  # noqa: E402
import machine  # noqa: E402
import volumes  # noqa: E402
import weights  # noqa: E402
from scenes import Scene  # noqa: E402

from hilum.core.atomic import write_json  # noqa: E402
from hilum.core.run import Run  # noqa: E402
from hilum.prepare.grid import target_shape  # noqa: E402

PEERS = {"monai": "monai_pipeline", "nnunetv2": "nnunet_predictor"}
FOLDERS = {"hippocampus": "hippocampus_mri", "retina": "retina_vessels"}
Row = dict[str, Any]


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def prepared(scene: Scene, asked: argparse.Namespace) -> Path:
    """The scene's folder in the cache; emptied where another machine, start or code left it, and for a smoke test.

    run: what predicts. model: what peers are given. images.json, PEER.json, floor.json, quantised.json.
    """
    work = weights.CACHE / scene.file
    stamp = {"here": machine.here(), "code": code()}
    if asked.smoke or not (work / "stamp.json").is_file() or read(work / "stamp.json") != stamp:
        shutil.rmtree(work, ignore_errors=True)
        write_json(work / "stamp.json", stamp)
    trained = weights.smoke() if asked.smoke else weights.run(scene.run)
    run = handed.changed(trained, work / "run", scene.classes, scene.spacing, scene.overlap)
    model = handed.handed(run, work / "model")
    if any(s.runtime == "openvino-int8" for s in scene.systems) and not (work / "quantised.json").is_file():
        write_json(work / "quantised.json", quantised(run, weights.source(scene.run)))
    if not (work / "images.json").is_file():
        files, truth = images(scene, trained, work)
        write_json(work / "images.json", {"images": files, "truth": truth, "trained": str(trained)})
    for peer in sorted({s.side for s in scene.systems} - {"hilum"}):
        if not (work / f"{peer}.json").is_file():
            write_json(work / f"{peer}.json", checked(peer, model, work, environments.python(peer, asked.python)))
    if not (work / "floor.json").is_file():
        write_json(work / "floor.json", {"peaks": floor.peaks(), "images": grids(work)})
    return work


def quantised(run: Path, data: Path) -> Row:
    """Give the run its graph of eight bits: what that cost in accuracy, or why there is none."""
    done = subprocess.run([weights.HILUM, "quantise", str(run), str(data)], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]
        return {"refused": said.replace(str(run), "the run").replace(str(data), data.name).removeprefix("hilum: ")}
    found: Row = read(run / "graphs" / "openvino_int8.json")
    return found


def code() -> str:
    """A hash of all code that the numbers depend on."""
    digest = hashlib.sha256(machine.code().encode())
    for path in sorted(HERE.rglob("*.py")):
        if path.name not in ("pages.py", "drawn.py"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def images(scene: Scene, trained: Path, work: Path) -> tuple[list[str], list[str]]:
    """Files to predict, and their labels where there are some."""
    if scene.shape is not None:
        if scene.run == "smoke":
            return [str(volumes.phantom(work / "images" / "volume.nii.gz", scene.shape, (1.5, 1.5, 2.0)))], []
        name = "x".join(map(str, scene.shape)) + (f" of {scene.grid:g}" if scene.grid else "")
        spacing = (scene.grid,) * 3 if scene.grid else volumes.FULL[1]
        return [str(volumes.body(weights.CACHE / "volumes" / name / "ct.nii.gz", scene.shape, spacing))], []
    folder = Path(os.environ["HILUM_DATA"]) / FOLDERS[scene.run]
    # test cases first, then others: this is about time
    order = sorted(Run(trained).split(), key=lambda row: (row["part"] != "test", row["case"]))
    chosen = sorted(row["case"] for row in order[: scene.images])
    known, labels = ({p.name.split(".")[0]: p for p in (folder / n).iterdir()} for n in ("images", "labels"))
    made = volumes.copies(work / "images", [known[name] for name in chosen])
    return [str(made / known[name].name) for name in chosen], [str(labels[name]) for name in chosen]


def checked(peer: str, model: Path, work: Path, interpreter: Path) -> Row:
    """Whether a peer's network is the same as Hilum's: what it is, how far it is off, versions of its environment."""
    write_json(work / "check.json", {"model": str(model), "settings": {}})
    words = [str(interpreter), str(HERE / "peers" / f"{PEERS[peer]}.py"), str(work / "check.json")]
    words.append("--check" if peer == "monai" else "--make")
    done = subprocess.run(words, capture_output=True, text=True, env=plain())
    if done.returncode:
        raise SystemExit(f"{peer}: {done.stderr[-2000:]}{done.stdout[-500:]}")
    facts: Row = json.loads(done.stdout.strip().splitlines()[-1])
    return facts | {"versions": environments.versions(interpreter)}


def plain() -> dict[str, str]:
    """The environment of a process that is measured: nothing of Hilum on its path, modules compiled once, as usual."""
    left = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if name not in left}


def grids(work: Path) -> list[Row]:
    """Shape on the network's grid, windows and operations of every image."""
    import nibabel
    from PIL import Image

    plan, found, seen = Run(work / "run").plan, list[Row](), dict[tuple[int, ...], Row]()
    for name in read(work / "images.json")["images"]:
        if plan.dims == 2:
            with Image.open(name) as opened:
                shape: tuple[int, ...] = opened.size[::-1]
        else:
            image: Any = nibabel.as_closest_canonical(nibabel.load(name))
            new = None if plan.spacing is None else tuple(plan.spacing)
            shape = target_shape(image.shape, tuple(map(float, image.header.get_zooms()[:3])), new)
        if shape not in seen:
            seen[shape] = {"shape": list(shape)} | floor.operations(work / "run", shape)
        found.append(seen[shape])
    return found
