"""To predict needs little: what only training, pictures, slides or signatures need is not there, and it works."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from hilum.core.run import Run
from hilum.infer import bundle

ABSENT = (
    "lightning", "lightning_fabric", "tensorboard", "mlflow", "matplotlib", "sklearn", "monai", "onnx", "onnxruntime",
    "onnxscript", "openvino", "openslide", "cryptography", "einops", "nilearn", "dipy", "h5py", "tifffile",
)  # fmt: skip
SCRIPT = f"""
import sys
for name in {ABSENT!r}:
    sys.modules[name] = None
from hilum.verbs.predict import predict
done = predict(sys.argv[1], [sys.argv[2]], sys.argv[3])
assert len(done["done"]) == 1 and not done["failed"], done
from hilum.verbs.verify import verify
assert verify(sys.argv[1])["golden_difference"] < 1e-3
"""


def test_a_bundle_predicts_and_verifies_without_what_only_others_need(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle.write(trained("segment"), tmp_path / "model.hilum")
    image = data("segment") / "images" / "head_000.nii.gz"
    words = [sys.executable, "-c", SCRIPT, str(tmp_path / "model.hilum"), str(image), str(tmp_path / "found")]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert (tmp_path / "found" / "predictions.json").is_file()
