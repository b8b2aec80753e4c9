"""Checks of the network: it takes what metadata describes, its weights load strictly, and stock programs can load it too."""

import torch
from safetensors.torch import load_file

from diffzoo.networks.weights import load_weights
from diffzoo.zoo.pack import MODEL, twins
from diffzoo.zoo.session import Session
from diffzoo.zoo.verify.check import Broken, refuse
from diffzoo.zoo.verify.subject import Subject
from diffzoo.zoo.verify.workflows import workflow

EDGES = (24, 37)
CALLED_WITH = ("image", "c_noise")


def strict_weights(subject: Subject) -> str:
    """The weights fill the network of inference.yaml exactly, and those of each training the network that it trains."""
    subject.after("files", "scan", "metadata", "weights")
    session = Session(subject.bundle, device="cpu")
    network = load_weights(session.get("network_def"), subject.bundle.weights)
    shapes = shapes_of(network.state_dict())
    unmatched = set(shapes) ^ set(load_file(subject.bundle.weights))
    refuse([f"{key} is not in both" for key in sorted(unmatched)], "make network_def and the weight file agree")
    for configs in subject.training_sets:
        stem, trained = subject.weights_of(configs), workflow(subject, "train", configs, output_dir=str(subject.workspace))
        if not stem.is_file():
            raise Broken(f"models/{stem.name} of {configs[-1]}.yaml is missing", "train it, or leave the config out")
        if shapes_of(trained.network_def.state_dict()) != shapes_of(load_file(stem)):
            raise Broken(f"{'+'.join(configs)} trains another network than {stem.name}", "make network_def and the file agree")
    return f"{len(shapes)} tensors, {sum(shape.numel() for shape in shapes.values()) / 1e6:.1f} million parameters"


def shapes_of(state: dict) -> dict[str, torch.Size]:
    """The shapes of the tensors of a state dict by name."""
    return {key: value.shape for key, value in state.items()}


def network(subject: Subject) -> str:
    """The network takes the inputs that metadata describes at two sizes, and gives what it describes: channels, dtype, finite."""
    subject.after("strict weights")
    described = subject.metadata["network_data_format"]
    if tuple(described["inputs"])[:2] != CALLED_WITH:
        raise Broken(f"network_data_format begins with {list(described['inputs'])[:2]}", "describe image and c_noise first")
    module = Session(subject.bundle, device="cpu").get("network")
    for edge in EDGES:
        given, size = _inputs(described["inputs"], edge)
        with torch.no_grad():
            out = module(given.pop("image"), given.pop("c_noise"), **given)
        wanted = described["outputs"]["pred"]
        shape = (2, wanted["num_channels"], *size)
        if tuple(out.shape) != shape or out.dtype != getattr(torch, wanted["dtype"]):
            raise Broken(f"gives {tuple(out.shape)} {out.dtype}, not {shape} {wanted['dtype']}", "describe what it gives as pred")
        if not torch.isfinite(out).all() or not out.std() > 0:
            raise Broken(f"gives values that are not finite, or all one, at {size}", "look at the weights")
    return f"{', '.join(described['inputs'])} at {EDGES[0]} and {EDGES[1]} voxels and more"


def _inputs(described: dict, edge: int) -> tuple[dict, list[int]]:
    """Random inputs [2, C, *S] as described, and the size *S of the image.

    Vectors are [2, C], and rows of them, such as tokens, [2, C, n] for a spatial_shape of [n] that is not their channels again.
    """
    generator = torch.Generator().manual_seed(edge)
    size = [edge + i for i in range(len(described["image"]["spatial_shape"]))]
    given = {}
    for key, described_input in described.items():
        space, names = [], described_input["spatial_shape"]
        if len(names) == len(size):
            space = size
        elif names and names != [described_input["num_channels"]] and "*" not in names:
            space = names
        dtype = getattr(torch, described_input["dtype"])
        given[key] = torch.randn(2, described_input["num_channels"], *space, generator=generator).to(dtype)
    return given | {"c_noise": torch.tensor([-0.6, 0.2])}, size


def stock_load(subject: Subject) -> str:
    """monai.bundle.load gives the network from the twins of a pack, with the tensors of the weight file."""
    from monai.bundle import load

    subject.after("strict weights")
    folder = subject.folder("stock")
    for path, content in twins(subject.root).items():
        (folder / subject.root.name / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / subject.root.name / path).write_bytes(content)
    (folder / subject.root.name / "configs" / "metadata.json").write_text(
        (subject.root / "configs" / "metadata.json").read_text(encoding="utf-8"), encoding="utf-8"
    )
    module = load(subject.root.name, model_file=MODEL, bundle_dir=str(folder), workflow_type="inference", device="cpu")
    if not isinstance(module, torch.nn.Module):
        raise Broken(f"monai.bundle.load gives {type(module).__name__}", "name the network network_def")
    state, shipped = module.state_dict(), load_file(subject.bundle.weights)
    wrong = [key for key, value in shipped.items() if key not in state or not torch.equal(state[key], value.to(state[key].dtype))]
    refuse([f"{key} is not as shipped" for key in wrong], "look at the state dict of network_def")
    return f"{len(shipped)} tensors as shipped"


def image_alone(subject: Subject) -> str:
    """MONAI's verify_net_in_out calls network_def by the image alone as metadata describes it, and ckpt_export can trace it."""
    from monai.bundle import verify_net_in_out

    subject.after("network")
    files = {
        name: str(subject.root / "configs" / file) for name, file in (("meta", "metadata.json"), ("config", "inference.yaml"))
    }
    options = {
        "net_id": "network_def",
        "meta_file": files["meta"],
        "config_file": files["config"],
        "bundle_root": str(subject.root),
    }
    try:
        verify_net_in_out(**options, device="cpu", p=1, n=1, any=EDGES[1])
    except Exception as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise Broken(f"network_def cannot be called by the image alone: {reason}", "give its conditions defaults") from error
    module = Session(subject.bundle, device="cpu").get("network").eval()
    image = _inputs(subject.metadata["network_data_format"]["inputs"], EDGES[0])[0]["image"]
    with torch.no_grad():
        traced = torch.jit.trace(module, image, check_trace=False)
        if not torch.allclose(traced(image), module(image), atol=1e-4):
            raise Broken("a trace of the network gives other values", "compute nothing from values in forward")
    return "as verify_net_in_out calls it, and traced"
