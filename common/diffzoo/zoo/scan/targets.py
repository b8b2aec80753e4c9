"""Which functions and classes a config may name as `_target_`. Data first; nothing that a config names is imported.

A name is on the list when no argument that a config can give it makes it run text, import a name, unpickle, download, or write
where it likes. That leaves out more than it seems: `monai.transforms.LoadImage` and `SaveImage`, `monai.inferers.PatchInferer`
and `monai.networks.nets.FlexibleUNet` import whatever dotted name they are given; `PersistentDataset` and `CheckpointLoader`
unpickle; `DenseNet121`, `PerceptualLoss` and `FID` fetch weights from the network.
"""

import ast
import difflib
import re
from functools import lru_cache
from pathlib import Path

from .finding import shown

PACKAGE = Path(__file__).resolve().parents[2]

# rooms of this package and the reason why a config may use all their public functions and classes, those below excepted
ROOMS = {
    "diffzoo.diffusion": "mathematics; imports torch alone",
    "diffzoo.operators": "mathematics; imports torch alone",
    "diffzoo.spaces": "mathematics; imports torch alone",
    "diffzoo.networks": "networks; weights are read from safetensors alone",
    "diffzoo.imaging": "reads images and raw data, without pickle",
    "diffzoo.components": "engines, handlers and cases of the rooms above",
    "diffzoo.tasks": "composes the rooms above; reports write into output_dir",
    "diffzoo.training": "writes at the paths that PATHS of expressions.py confines; checkpoints are read as weights only",
}
WRITERS = ("write", "save", "atomic", "montage", "animate")  # what such names begin with writes a file wherever its caller says

ARRAYS = "arrays in memory"  # transforms, each with its twin for dictionaries, whose name has a d at the end

# module, names, reason
LIBRARIES = (
    ("monai.transforms", "Compose OneOf RandomOrder SomeOf", "call the transforms that they are given, which are checked too"),
    ("monai.transforms", "Activations AsDiscrete KeepLargestConnectedComponent Invert FillHoles", ARRAYS),
    ("monai.transforms", "EnsureChannelFirst EnsureType CastToType SqueezeDim Transpose RepeatChannel", ARRAYS),
    ("monai.transforms", "Orientation Spacing Resize Rotate90 Flip Zoom CropForeground SpatialPad", ARRAYS),
    ("monai.transforms", "CenterSpatialCrop ResizeWithPadOrCrop DivisiblePad SpatialCrop BorderPad", ARRAYS),
    ("monai.transforms", "ScaleIntensity ScaleIntensityRange ScaleIntensityRangePercentiles", ARRAYS),
    ("monai.transforms", "NormalizeIntensity ThresholdIntensity AdjustContrast GaussianSmooth", ARRAYS),
    ("monai.transforms", "RandFlip RandRotate RandRotate90 RandZoom RandAffine RandSpatialCrop", ARRAYS),
    ("monai.transforms", "RandGaussianNoise RandBiasField RandAdjustContrast RandScaleIntensity", ARRAYS),
    ("monai.transforms", "RandShiftIntensity RandGaussianSmooth Rand2DElastic Rand3DElastic", ARRAYS),
    ("monai.transforms", "CopyItemsd DeleteItemsd SelectItemsd ConcatItemsd", "items of a dictionary"),
    ("monai.data", "Dataset CacheDataset DataLoader", "hold and collate in memory what the config gives them"),
    ("monai.data", "list_data_collate pad_list_data_collate decollate_batch", "stack and unstack tensors"),
    ("monai.engines", "SupervisedTrainer SupervisedEvaluator GanTrainer EnsembleEvaluator", "loops over checked components"),
    ("monai.engines.utils", "PrepareBatchDefault PrepareBatchExtraInput DiffusionPrepareBatch", "name the parts of a batch"),
    ("monai.handlers", "StatsHandler ValidationHandler LrScheduleHandler EarlyStopHandler from_engine", "log and schedule"),
    ("monai.handlers", "MeanDice MeanSquaredError MeanAbsoluteError PeakSignalToNoiseRatio", "metrics as handlers"),
    ("monai.inferers", "SimpleInferer SlidingWindowInferer SliceInferer", "call the network on the image or its windows"),
    ("monai.networks.nets", "UNet BasicUNet AttentionUnet SegResNet DiffusionModelUNet ControlNet", "plain networks"),
    ("monai.networks.nets", "AutoencoderKL VQVAE SPADEDiffusionModelUNet SPADEAutoencoderKL SPADENet", "plain networks"),
    ("monai.networks.nets", "PatchDiscriminator MultiScalePatchDiscriminator VoxelMorphUNet", "plain networks"),
    ("monai.losses", "DiceLoss DiceCELoss DiceFocalLoss FocalLoss TverskyLoss GeneralizedDiceLoss", "arithmetic"),
    ("monai.losses", "SSIMLoss LocalNormalizedCrossCorrelationLoss GlobalMutualInformationLoss", "arithmetic"),
    ("monai.losses", "BendingEnergyLoss DiffusionLoss PatchAdversarialLoss", "arithmetic"),
    ("monai.metrics", "DiceMetric MeanIoU HausdorffDistanceMetric SurfaceDistanceMetric ROCAUCMetric", "arithmetic"),
    ("monai.metrics", "PSNRMetric SSIMMetric MultiScaleSSIMMetric MSEMetric MAEMetric RMSEMetric MMDMetric", "arithmetic"),
    ("torch", "device", "a name of a device"),
    ("torch.optim", "Adam AdamW SGD RMSprop Adagrad NAdam RAdam", "arithmetic on parameters"),
    (
        "torch.optim.lr_scheduler",
        "ConstantLR LinearLR StepLR MultiStepLR ExponentialLR CosineAnnealingLR OneCycleLR",
        "arithmetic",
    ),
    ("torch.utils.data", "DataLoader RandomSampler SequentialSampler BatchSampler", "batches of a checked dataset"),
    ("torch.nn", "Identity Sequential Linear Dropout Flatten Embedding MultiheadAttention", "arithmetic"),
    ("torch.nn", "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d Upsample", "arithmetic"),
    ("torch.nn", "BatchNorm1d BatchNorm2d BatchNorm3d GroupNorm LayerNorm InstanceNorm2d InstanceNorm3d", "arithmetic"),
    ("torch.nn", "ReLU LeakyReLU GELU SiLU Sigmoid Tanh Softmax Softplus", "arithmetic"),
    (
        "torch.nn",
        "MSELoss L1Loss SmoothL1Loss HuberLoss CrossEntropyLoss BCELoss BCEWithLogitsLoss NLLLoss KLDivLoss",
        "arithmetic",
    ),
    ("ignite.metrics", "Average RunningAverage MeanSquaredError MeanAbsoluteError RootMeanSquaredError", "arithmetic"),
    ("ignite.metrics", "PSNR SSIM Accuracy Precision Recall Loss", "arithmetic"),
)
ALLOWED = frozenset(f"{module}.{name}" for module, names, _ in LIBRARIES for name in names.split())
ALLOWED |= {f"{module}.{name}d" for module, names, reason in LIBRARIES if reason is ARRAYS for name in names.split()}
FULL_NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+", re.ASCII)


def problem(target: object) -> tuple[str, str] | None:
    """What is wrong with a `_target_`, and the remedy; None for one that is on the list."""
    if not isinstance(target, str):
        return f"_target_ is {shown(target)}, not a name", "write the full dotted name of one function or class"
    if target[:1] in ("$", "@", "%"):
        return f"_target_ {shown(target)} is decided at run time", "write the full dotted name of one function or class"
    if "." not in target:
        return f"_target_ {shown(target)} is a short name, which means whatever was imported first", _instead(target)
    if not FULL_NAME.fullmatch(target):
        return f"_target_ {shown(target)} is no plain dotted name", "write the full dotted name of one function or class"
    if target.split(".")[0] == "diffzoo":
        return _of_package(target)
    if target not in ALLOWED:
        return f"_target_ {shown(target)} is not on the list of what a config may call", _instead(target)
    return None


def _instead(target: str) -> str:
    module, _, last = target.rpartition(".")
    same = sorted(name for name in ALLOWED if name.rpartition(".")[2] == last)
    beside = {name.rpartition(".")[2]: name for name in ALLOWED if name.rpartition(".")[0] == module}
    near = same or [beside[name] for name in difflib.get_close_matches(last, sorted(beside), n=1, cutoff=0.8)]
    return f"write {near[0]}" if near else "a config may call diffzoo, and the classes listed in diffzoo.zoo.scan.targets"


def _of_package(target: str) -> tuple[str, str] | None:
    source = definition(target)
    if source is None:
        return f"_target_ {shown(target)} is not defined in that module of diffzoo", "write the name where it is defined"
    room = next((room for room in ROOMS if source == room or source.startswith(f"{room}.")), None)
    if room is None:
        return f"_target_ {shown(target)} is internal to diffzoo", f"configs use {', '.join(sorted(ROOMS))}"
    if source.rsplit(".", 1)[-1].startswith(WRITERS):
        return f"_target_ {shown(target)} writes files wherever it is told", "use the handlers of diffzoo.training, or Report"
    return None


def definition(target: str) -> str | None:
    """The full name under which this package defines a public function or class; None for anything else, such as an import."""
    parts, folder = target.split("."), PACKAGE
    for i, part in enumerate(parts[1:], 1):
        if part.startswith("_"):
            return None
        if (folder / part).is_dir():
            folder /= part
            continue
        inside = (folder / f"{part}.py").is_file()
        module, rest = (folder / f"{part}.py", parts[i + 1 :]) if inside else (folder / "__init__.py", parts[i:])
        return _in_module(module, rest[0], target) if len(rest) == 1 and not rest[0].startswith("_") else None
    return None


def _in_module(module: Path, name: str, target: str) -> str | None:
    own, others = _names(module)
    if name in own:
        return target
    return definition(others[name]) if name in others else None


@lru_cache(maxsize=256)
def _names(module: Path) -> tuple[frozenset[str], dict[str, str]]:
    """Names that a module defines, and those that it takes from other modules of the package, with where they are from."""
    if not module.is_file():
        return frozenset(), {}
    inside = ("diffzoo", *module.relative_to(PACKAGE).parent.parts)
    own, others = set(), {}
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join((*inside[: len(inside) - node.level + 1], *([node.module] if node.module else [])))
            source = base if node.level else node.module
            if source.split(".")[0] == "diffzoo":
                others |= {alias.asname or alias.name: f"{source}.{alias.name}" for alias in node.names}
    return frozenset(own), others
