"""Runs in an environment with MONAI Label: its bundle infer task on a scan, as a server would.

Told by JSON: bundle, inputs (paths by name), volumes. Answers with the path of each volume, and what the task says of itself.
"""

import json
import sys
import types

import torch

try:
    import torchvision.utils  # noqa: F401  # its wheels need CUDA's torch
except Exception:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    utils = types.ModuleType("torchvision.utils")
    utils.make_grid = utils.save_image = None  # of transforms that draw for TensorBoard
    sys.modules |= {"torchvision": types.ModuleType("torchvision"), "torchvision.utils": utils}

from monailabel.tasks.infer.bundle import BundleInferTask


class DiffusionInferTask(BundleInferTask):
    """MONAI Label's task hands an inferer the image alone; this one also the conditions that the config names for it.

    The result is one of the bundle's volumes, on the grid of the scan.
    """

    def run_inferer(self, data, convert_to_batch=True, device="cuda"):
        inferer, network = self.inferer(data), self._get_network(device, data)
        conditions = {name: torch.as_tensor(data[name])[None].to(device) for name in inferer.conditions}
        data["pred"] = inferer(data["image"][None].to(device), network, **conditions)[0].cpu()
        return data

    def post_transforms(self, data=None):
        *made, restored = super().post_transforms(data)
        return [*made, lambda item: {**item, "pred": item[item["volume"]]}, restored]


told = json.loads(sys.argv[1])
task = DiffusionInferTask(told["bundle"], {}, load_strict=True)
made = {name: task({**told["inputs"], "device": "cpu", "volume": name})[0] for name in told["volumes"]}
print(json.dumps({"valid": task.is_valid(), "version": task.info()["version"], "volumes": made}))
