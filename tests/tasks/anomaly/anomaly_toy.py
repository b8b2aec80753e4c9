"""Results of an anomaly detection as they reach a report, with known answers, and an engine that hands them over."""

import json
from types import SimpleNamespace

import numpy as np
import torch
from monai.data import MetaTensor

from diffzoo.tasks.anomaly.report import AnomalyReport

GRID = np.diag([2.0, 2.0, 3.0, 1.0])  # of the model, voxels of 0.012 ml
SCAN = np.array([[0, 0, 1.5, -10], [-2.0, 0, 0, 20], [0, 4.0, 0, 5], [0, 0, 0, 1]])  # stored as A, S, R: 0.012 ml too
SIZE = (20, 24, 12)
THRESHOLD = 0.5


def volume(array, affine=GRID):
    return MetaTensor(torch.from_numpy(np.asarray(array))[None], affine=torch.from_numpy(np.asarray(affine, float)))


def report(copy, folder, methods=("anomaly_map", "brightness"), volumes=(), stats=None):
    inferer = SimpleNamespace(stats=stats or {"network_calls": 5.0, "seconds": 1.0})
    options = {"parameters": {"seed": 0}, "threshold": THRESHOLD}
    return AnomalyReport(str(copy.root), str(folder), str(copy.weights), inferer, volumes, methods, **options)


def case(name="a", lesion=True, noise=0.2, known=True, affine=GRID, size=SIZE, seed=0, **more):
    """(given, found): a brain with a bright cube of 4 x 4 x 3 voxels; the map is 0.8 there and noise elsewhere."""
    rng = np.random.default_rng(seed)
    brain, truth = np.zeros(size, bool), np.zeros(size, bool)
    brain[2:-2, 2:-2, 1:-1] = True
    truth[6:10, 8:12, 4:7] = lesion
    image = (brain * (0.6 + 0.6 * truth)).astype(np.float32)
    score = np.where(brain, rng.uniform(0, 2 * noise, size) + 0.8 * truth, 0).astype(np.float32)
    maps = {"anomaly_map": score, "brightness": (image * rng.uniform(0.5, 1.0, size)).astype(np.float32)}
    made = {"image": image, "brain": brain, "healthy": (0.6 * brain).astype(np.float32), "mask": score >= THRESHOLD} | maps
    made |= {"lesion": truth} if known else {}
    found = {key: volume(value, affine) for key, value in made.items()}
    words = json.dumps({"modality": "t1", "threshold": THRESHOLD, "words": "T1, threshold 0.5"})
    scan = volume(np.ones((30, 40, 20), np.float32), np.eye(4))
    given = {"case": name, "image_path": f"/home/somebody/{name}.nii", "notes": "", "acquisition": words, "scan": scan}
    return given | more, found
