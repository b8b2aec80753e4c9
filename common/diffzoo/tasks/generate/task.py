"""What the commands need to know of this task. Light: no torch here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from diffzoo.tasks.task import Entries, Plan, Rows, Task

MOST = 0.3  # of the brain, above which a lesion is none
TEMPLATE_MM = 4.0
STYLES, ROWS = 4, 64  # of a small prior: scans, codes and conditions


class Generate(Task):
    """Labelled images out of nothing, or painted on given labels."""

    title = "generation of labelled brain MR"
    pipeline_tag = "unconditional-image-generation"
    sample, scan = "labels", "head"
    own, trivial = ("painted",), ("flat",)
    simulation, example, folder, anatomy = "brain", "labels.nii.gz", "labels.nii.gz", "volume"
    pattern, steps = "brainspade", 100
    training = MappingProxyType({"batch_size": 2, "ema_decay": 0.95})

    def truth_files(self, folder: Path, path: Path, array, affine, seeds: Sequence[int]) -> dict[str, str]:
        """A bright lesion in the scan, and its mask."""
        from diffzoo.imaging.phantoms.volumes import write_lesion

        return {"mask": str(write_lesion(folder / "lesion.nii.gz", path, array, affine))}

    def plans(self, parameters: Mapping, labelled: bool) -> list[Plan]:
        """The test list as it is."""
        return [Plan("test", "test list")]

    def doubts(self, case: Mapping, changed: Mapping) -> list[str]:
        """Also a map without tissue, and a lesion of much of the brain."""
        reasons, volumes = super().doubts(case, changed), case["label_ml"]
        brain, lesion = sum(volumes.values()), volumes.get("lesion", 0.0)
        if not volumes.get("grey") and not volumes.get("white"):
            reasons.append("the map holds no grey or white matter")
        elif lesion > MOST * brain:
            reasons.append(f"{lesion / brain:.0%} of the map is lesion")
        return reasons

    def headline(self, methods: Mapping[str, str], entry: Mapping) -> str:
        """PSNR beside real images, and what maps lose in their latents."""
        return "{mean[painted][psnr]:.1f} dB beside the real image; Dice {mean[round_trip][dice]:.2f} of maps through latents"

    def tables(self, entries: Entries, recipe: Mapping) -> list[Rows]:
        """What is left of maps, images beside real ones, and what a generation is worth."""
        from diffzoo.tasks.generate.card import generation_rows

        return generation_rows(entries, recipe["methods"])

    def makers(self, after: bool) -> Mapping[str, object]:
        """Priors of tissues before the trainings; style codes and conditions after them."""
        return {"prior": write_prior} if after else {"template": write_template}


def write_template(parsed, data: Path, target: Path) -> None:
    """Writes a simulated brain and its tissues, as priors that tell the tissues of simulated ones."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from diffzoo.imaging.phantoms.volumes import sample

    shape, affine = (48, 54, 42), np.diag([TEMPLATE_MM] * 3 + [1.0])
    affine[:3, 3] = -TEMPLATE_MM * (np.array(shape) - 1) / 2
    head, labels = (sample(kind, shape, affine) for kind in ("head", "labels"))
    maps = np.stack([head / head.max(), labels == 2, labels == 3]).astype(np.float32)
    save_file({"maps": torch.from_numpy(maps).half(), "affine": torch.from_numpy(affine).half()}, target)


def write_prior(parsed, data: Path, target: Path) -> None:
    """Writes style codes, by the generator that was just trained, and conditions of the training list."""
    from safetensors.torch import save_file

    from diffzoo.tasks.generate.prior import condition_rows, style_codes
    from diffzoo.training.datalist import entries

    parser = parsed(["train"], {"device_name": "cpu", "weights": str(target.with_name("model.safetensors"))})
    network, load = (parser.get_parsed_content(name) for name in ("network", "load"))
    scans = entries(str(data), "training")[:STYLES]
    content = style_codes(network.generator, scans, load, load.load.field, STYLES)
    content["conditions"] = condition_rows(scans, load, load.load.field, ROWS)
    save_file(content, target)


TASK = Generate()
