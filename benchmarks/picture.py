"""Draw docs/pictures/nuclei.png: two full test images of the nuclei cell, by hash order, not by how they went.

    HILUM_DATA=... .venv/bin/python benchmarks/picture.py benchmarks/cache/nuclei-.../run

The images are CC0 (Data Science Bowl 2018, stage 1), so the picture may be shipped.
"""

import hashlib
import sys
from pathlib import Path

from hilum.core.atomic import writing
from hilum.core.run import Run
from hilum.data.dataset import open_dataset
from hilum.infer.predictor import Predictor
from hilum.pictures import draw

HERE = Path(__file__).parent
FEW = 25
# Nuclei that an image must have to be worth a picture.


def main() -> None:
    """Two rows, each image, truth and found."""
    run = Run(Path(sys.argv[1]))
    predictor = Predictor(run)
    dataset = open_dataset(HERE / "datasets" / "nuclei.yaml")
    test = [row["case"] for row in run.split() if row["part"] == "test"]
    chosen = [c for c in sorted(test, key=lambda n: hashlib.sha256(n.encode()).hexdigest())]
    shown = []
    for name in chosen:
        case = dataset.case(name)
        if len(shown) < 2 and case.items["label"].read_labels().array.max() > FEW:
            shown += [picture for picture, _ in predictor.task.show(predictor(case), case)]
    target = HERE.parent / "docs" / "pictures" / "nuclei.png"
    with writing(target) as part:
        part.write_bytes(draw.png(draw.sheet(shown, 1)))


if __name__ == "__main__":
    main()
