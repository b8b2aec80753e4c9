"""Runs in an environment with MONAI Deploy's App SDK: an application of three operators, from a scan, or two of them, to volumes.

Told by JSON: bundle, inputs (paths by name), volumes, output. Answers with the path of each volume, as NIfTI.
"""

import contextlib
import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application, Image, IOType, Operator, OperatorSpec
from monai.deploy.operators.monai_bundle_inference_operator import IOMapping, MonaiBundleInferenceOperator


class DiffusionBundleOperator(MonaiBundleInferenceOperator):
    """MONAI Deploy's operator takes the inputs of the network for those of the bundle, and casts images to uint8.

    This one reads a scan, hands over the conditions that the config names for the inferer, and sends each volume as it is.
    """

    def _init_config(self, config_names):
        with contextlib.chdir(self.bundle_path):  # an inferer that reads files is made before bundle_root can be told
            super()._init_config(config_names)
        self._parser["bundle_root"] = str(self.bundle_path)
        self._parser.parse(True)
        known = self._parser["_meta_"]["inferer_data_format"]["inputs"]
        taken = {mapping.label for mapping in self._input_mapping}
        self._inputs = {name: form for name, form in known.items() if name in taken}  # the first one is what the inferer takes
        self._outputs = {mapping.label: {"type": "image"} for mapping in self._output_mapping}

    def pre_process(self, data, *args, **kwargs):
        scans = {name: MetaTensor(scan.as_tensor(), affine=scan.affine) for name, scan in data.items()}
        self.item = self._preproc(scans | {"case": "scan"})
        names = self._parser.get_parsed_content("inferer").conditions
        return {"image": self.item["image"]} | {name: torch.as_tensor(self.item[name]) for name in names}

    def post_process(self, data, *args, **kwargs):
        return self._postproc(self.item | {"pred": data.cpu()})

    def _send_output(self, value, name, metadata, op_output, context):
        op_output.emit(Image(value.as_tensor()[0].numpy(), metadata={"affine": value.affine.numpy()}), name)


class Load(Operator):
    """Sends a NIfTI file as the image that the SDK's own operators send."""

    def __init__(self, fragment, *args, path: str, **kwargs):
        self.path = path
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec):
        spec.output("image")

    def compute(self, op_input, op_output, context):
        scan = nib.load(self.path)
        told = {"affine": scan.affine, "original_affine": scan.affine, "spacing": np.array(scan.header.get_zooms())}
        op_output.emit(Image(np.asarray(scan.dataobj), metadata=told), "image")


class Keep(Operator):
    """Writes what arrives."""

    def __init__(self, fragment, *args, names: list[str], folder: Path, **kwargs):
        self.names, self.folder = names, folder
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec):
        for name in self.names:
            spec.input(name)

    def compute(self, op_input, op_output, context):
        for name in self.names:
            image = op_input.receive(name)
            nib.save(nib.Nifti1Image(image.asnumpy(), image.metadata()["affine"]), self.folder / f"{name}.nii.gz")


class App(Application):
    """Load, infer, keep."""

    def compose(self):
        ports = [IOMapping(name, Image, IOType.IN_MEMORY) for name in (*told["inputs"], *told["volumes"])]
        context = AppContext({"bundle": told["bundle"]})
        count = len(told["inputs"])
        mappings = {"input_mapping": ports[:count], "output_mapping": ports[count:]}
        infer = DiffusionBundleOperator(self, app_context=context, bundle_path=told["bundle"], name="infer", **mappings)
        keep = Keep(self, names=told["volumes"], folder=Path(told["output"]), name="keep")
        for name, path in told["inputs"].items():
            load = Load(self, CountCondition(self, 1), path=path, name=f"load_{name}")
            self.add_flow(load, infer, {("image", name)})
        self.add_flow(infer, keep, {(name, name) for name in told["volumes"]})


told = json.loads(sys.argv[1])
App([]).run()
print(json.dumps({"volumes": {name: f"{told['output']}/{name}.nii.gz" for name in told["volumes"]}}))
