"""Does a bundle keep every promise of the zoo? One table of checks, offline and on the CPU.

A check is a function of a `Subject` that returns what it found, or raises `Broken` with a remedy, or `Skipped` with the reason.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from diffzoo.errors import InputError
from diffzoo.zoo.verify import configs, documents, files, network, parallel, reference, runs, versions, workflows
from diffzoo.zoo.verify.check import Check, kept, name_of
from diffzoo.zoo.verify.subject import Subject

__all__ = ["CHECKS", "QUICK", "Check", "Subject", "kept", "name_of", "verify"]

QUICK = (  # nothing of the bundle is run
    files.files,
    files.sizes,
    configs.scan,
    configs.metadata,
    files.name,
    files.weights,
    files.placeholders,
    files.personal_paths,
    documents.licences,
    documents.card,
    documents.commands,
    documents.preview,
    documents.results,
    documents.headline,
    configs.dependencies,
    configs.headers,
    configs.parameters,
    configs.targets,
    configs.expressions,
    configs.references,
    configs.overlays,
    versions.packed,
    versions.version,
)
CHECKS = (
    *QUICK,
    network.strict_weights,
    network.network,
    network.stock_load,
    network.image_alone,
    workflows.inference_properties,
    workflows.training_properties,
    workflows.pipeline,
    runs.geometry,
    runs.orientation,
    runs.determinism,
    runs.slices,
    reference.reference,
    workflows.stock_run,
    workflows.evaluation,
    workflows.training_step,
    workflows.training_from_nothing,
    parallel.two_processes,
)


def verify(
    root: Path, quick: bool = False, previous: Path | None = None, on_check: Callable[[Check], None] | None = None
) -> list[Check]:
    """All checks of the bundle at `root`, in order; quick: those that run nothing of it.

    previous: an earlier pack or folder of it, or a folder with an index, to compare versions with; on_check is told each check as
    it is made. Raises InputError where there is no such folder.
    """
    if not Path(root).is_dir():
        raise InputError(f"{root} is no folder: give the folder of a bundle")
    checks = []
    with tempfile.TemporaryDirectory(prefix="diffzoo_verify_") as workspace:
        subject = Subject(Path(root), Path(workspace), previous)
        for check in QUICK if quick else CHECKS:
            checks.append(kept(check, subject))
            if on_check is not None:
                on_check(checks[-1])
    return checks
