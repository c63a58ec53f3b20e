"""HOG + RBF SVM: histograms of gradients of the whole picture, C and gamma by grouped cross-validation.

The validation part is learned from too: the choice is made inside train + val, by groups.
"""

from typing import Any

import numpy as np
from job import Job, grey, picture
from skimage.feature import hog
from skimage.transform import resize
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC


def vector(path: str, side: int, cell: int) -> np.ndarray[Any, np.dtype[Any]]:
    """Features of one picture, made square."""
    array = resize(grey(picture(path)), (side, side), anti_aliasing=True)
    size = (cell, cell)
    return np.asarray(hog(array, orientations=9, pixels_per_cell=size, cells_per_block=(2, 2)), dtype=np.float32)


def main() -> None:
    """Choose, fit, and score the test part."""
    job = Job()
    side, cell = job.settings["side"], job.settings["cell"]
    known, test = job.part("train", "val"), job.part("test")
    features = np.stack([vector(c["image"], side, cell) for c in known])
    names = np.array([job.classes.index(c["class"]) for c in known])
    groups = np.unique([c["group"] for c in known], return_inverse=True)[1]
    # break_ties: the class is the one with the highest score
    machine = SVC(kernel="rbf", class_weight="balanced", break_ties=True, cache_size=500)
    pipe = make_pipeline(StandardScaler(), PCA(0.95, svd_solver="full", random_state=0), machine)
    grid = {"svc__C": [1, 3, 10, 30], "svc__gamma": [2e-4, 6e-4, 2e-3]}
    folds = StratifiedGroupKFold(job.settings["folds"], shuffle=True, random_state=0)
    found = GridSearchCV(pipe, grid, scoring="accuracy", cv=folds, n_jobs=2).fit(features, names, groups=groups)
    scores = found.decision_function(np.stack([vector(c["image"], side, cell) for c in test]))
    if scores.ndim == 1:
        scores = np.stack([-scores, scores], axis=1)
    for case, row in zip(test, scores, strict=True):
        job.write("HOG + RBF SVM", case, score=row)
    job.finish(chosen=found.best_params_, validation=round(float(found.best_score_), 5))


if __name__ == "__main__":
    main()
