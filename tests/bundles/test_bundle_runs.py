"""The bundle contract at work: MONAI's workflows, the network, geometry, determinism, and one step of training."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.inferers import Inferer
from safetensors.torch import load_file

import diffzoo
from diffzoo.networks.weights import load_weights
from diffzoo.zoo.session import Session

ROUNDING = 1e-3  # of the range: batches round otherwise, and steps at high noise towards exact data amplify that
OBLIQUE = np.array([[0.9, -0.3, 0.1, 12.0], [0.3, 0.95, 0.2, -7.0], [-0.1, -0.15, 2.1, 30.0], [0, 0, 0, 1]])
GEOMETRIES = {  # affine of a volume of odd size, its slices along the axis that is 3 long
    "plain": ((33, 29, 3), np.diag([1.0, 1.0, 1.0, 1.0])),
    "flipped": ((33, 29, 3), np.array([[-1.0, 0, 0, 80], [0, -1, 0, 95], [0, 0, 1, -40], [0, 0, 0, 1]])),
    "oblique": ((29, 33, 3), OBLIQUE),
    "anisotropic": ((33, 29, 3), np.diag([0.8, 1.2, 5.0, 1.0])),
    "coronal and permuted": ((31, 3, 27), np.array([[0, 0, 1.0, -3], [0, 4.0, 0, 5], [-1.0, 0, 0, 9], [0, 0, 0, 1]])),
}


@pytest.fixture(scope="module")
def session(bundle, short):
    return Session(bundle, settings=short, device="cpu")


@pytest.fixture(scope="module")
def cases(tmp_path_factory, volume):
    """A folder of small scans for the workflows of MONAI."""
    folder = tmp_path_factory.mktemp("scans")
    for seed in range(2):
        nib.save(nib.Nifti1Image(volume((48, 44, 8), seed), np.diag([1.0, 1, 3, 1])), folder / f"scan{seed}.nii.gz")
    return folder


def workflow(bundle, kind, configs, **overrides):
    """The bundle as MONAI's own programs take it."""
    files = [str(bundle.config(name)) for name in configs]
    flow = ConfigWorkflow(
        files, workflow_type=kind, logging_file=False, bundle_root=str(bundle.root), device_name="cpu", **overrides
    )
    flow.initialize()
    return flow


@pytest.mark.parametrize("configs", [["inference"], ["inference", "evaluate"], ["inference", "published"]], ids="+".join)
def test_inference_and_evaluation_have_the_properties_that_monai_asks_for(bundle, cases, tmp_path, configs):
    flow = workflow(bundle, "inference", configs, dataset_dir=str(cases), output_dir=str(tmp_path))
    assert flow.check_properties() == []
    assert flow.preprocessing is not None and flow.postprocessing is not None and flow.handlers
    assert isinstance(flow.inferer, Inferer) and isinstance(flow.network_def, torch.nn.Module)
    assert len(flow.dataset_data) == len(list(cases.iterdir()))


def test_training_has_the_properties_that_monai_asks_for(bundle, cases, tmp_path, short_training):
    flow = workflow(bundle, "train", ["train"], dataset_dir=str(cases), output_dir=str(tmp_path), **short_training)
    assert flow.check_properties() == []
    assert isinstance(flow.network_def, torch.nn.Module) and flow.evaluator is not None


def test_weights_load_strictly_and_training_has_the_same_network(bundle, session, tmp_path):
    network = load_weights(session.get("network_def"), bundle.weights)
    assert set(network.state_dict()) == set(load_file(bundle.weights))
    trained = workflow(bundle, "train", ["train"], dataset_dir=str(tmp_path), output_dir=str(tmp_path)).network_def
    assert {k: v.shape for k, v in trained.state_dict().items()} == {k: v.shape for k, v in network.state_dict().items()}


@pytest.mark.parametrize("edge", [24, 37])
def test_network_takes_the_described_input_of_any_size(bundle, session, edge):
    described = bundle.metadata["network_data_format"]
    assert list(described["inputs"])[:2] == ["image", "c_noise"]
    generator = torch.Generator().manual_seed(edge)
    image = described["inputs"]["image"]
    size = [edge + i for i in range(len(image["spatial_shape"]))]
    x = torch.randn(2, image["num_channels"], *size, generator=generator, dtype=getattr(torch, image["dtype"]))
    more = {key: one for key, one in described["inputs"].items() if key not in ("image", "c_noise")}
    conditions = {  # images of the same size, and vectors
        key: torch.rand(2, one["num_channels"], *(size if len(one["spatial_shape"]) > 1 else []), generator=generator)
        for key, one in more.items()
    }
    with torch.no_grad():
        out = session.get("network")(x, torch.tensor([-0.6, 0.2]), **conditions)
    pred = described["outputs"]["pred"]
    assert out.shape == (2, pred["num_channels"], *size) and out.dtype == getattr(torch, pred["dtype"])
    assert torch.isfinite(out).all() and out.std() > 0


def test_described_pipeline_names_are_the_transform_keys(bundle, session, volume):
    described = bundle.metadata["inferer_data_format"]
    item = session.get("preprocessing")({"image": volume((32, 24, 2)), "case": "array"})
    names = list(described["inputs"])
    assert (
        names[0] == "image"
        and set(names) == {"image", *session.get("evaluator").prepare_batch.extra_keys}
        and set(names) <= set(item)
    )
    assert list(described["outputs"]) == ["pred"]


@pytest.mark.parametrize("kind", GEOMETRIES)
def test_outputs_are_finite_and_on_the_grid_of_the_input(bundle, short, tmp_path, nifti, volume, kind):
    shape, affine = GEOMETRIES[kind]
    place = shape.index(3)
    array = np.moveaxis(volume((*[n for i, n in enumerate(shape) if i != place], 3)), 2, place)
    path = nifti(array, affine)
    [record] = diffzoo.load(str(bundle.root)).run(path, tmp_path / "out", device="cpu", **short)
    assert record["outputs"]
    for name in record["outputs"]:
        image = nib.load(tmp_path / "out" / name)
        assert image.shape == shape and np.allclose(image.affine, affine, atol=1e-4)
        assert np.isfinite(image.get_fdata()).all() and np.ptp(image.get_fdata()) > 0
    main = nib.load(tmp_path / "out" / record["outputs"][0]).get_fdata()
    for axis in range(3):  # the part that a flip turns into its negative
        given, made = (x - np.flip(x, axis) for x in (array, main))
        assert np.corrcoef(given.ravel(), made.ravel())[0, 1] > 0.4


def test_flipping_the_stored_axes_flips_the_result_and_changes_nothing_else(bundle, session, short, tmp_path, nifti, volume):
    array = volume((33, 29, 3))
    flipped = np.array([[-1.0, 0, 0, 32], [0, -1, 0, 28], [0, 0, -1, 2], [0, 0, 0, 1]])
    paths = [nifti(array, name="a.nii.gz"), nifti(array[::-1, ::-1, ::-1].copy(), flipped, "b.nii.gz")]
    records = diffzoo.load(str(bundle.root)).run(paths, tmp_path / "out", device="cpu", **short)
    a, b = (nib.load(tmp_path / "out" / record["outputs"][0]).get_fdata() for record in records)
    assert np.array_equal(a, b[::-1, ::-1, ::-1])


def both(session, image):
    return {key: value.numpy() for key, value in session.predict(image).items()}


def test_same_seed_same_bits_and_another_seed_another_draw(bundle, short, volume):
    if "samples" not in bundle.parameters():
        pytest.skip("this bundle draws no samples")
    image = volume((33, 29, 3))
    first, again, other = (
        both(Session(bundle, settings=short | {"samples": 3, "seed": seed}, device="cpu"), image) for seed in (5, 5, 6)
    )
    assert set(first) == set(again) and len(first) > 1
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert not np.array_equal(first["std"], other["std"]) and (first["std"] >= 0).all() and first["std"].max() > 0


def test_a_slice_does_not_depend_on_the_slices_computed_with_it(bundle, short, volume):
    if "slice_batch" not in bundle.parameters():
        pytest.skip("this bundle computes no slices in batches")
    image, settings = volume((33, 29, 5)), short | {"samples": 2}
    whole = both(Session(bundle, settings=settings, device="cpu"), image)
    one_by_one = both(Session(bundle, settings=settings | {"slice_batch": 1}, device="cpu"), image)
    some = both(Session(bundle, settings=settings | {"slices": "2:4", "slice_batch": 2}, device="cpu"), image)
    tolerance = ROUNDING * np.ptp(next(iter(whole.values())))
    for key, expected in whole.items():
        assert np.abs(one_by_one[key] - expected).max() <= tolerance, key
        assert some[key].shape == (33, 29, 2)
        assert np.abs(some[key] - expected[..., 2:4]).max() <= tolerance, key


def test_one_training_step_moves_the_weights_and_writes_them(bundle, cases, tmp_path, short_training):
    # a high rate, so that one step of the warm-up shows in half precision
    tiny = short_training | {"learning_rate": 0.5}
    flow = workflow(
        bundle, "train", ["train"], dataset_dir=str(cases), output_dir=str(tmp_path), weights=str(bundle.weights), **tiny
    )
    flow.run()
    written, shipped = load_file(tmp_path / "model.safetensors"), load_file(bundle.weights)
    assert written.keys() == shipped.keys() and all(torch.isfinite(value).all() for value in written.values())
    assert any(not torch.equal(written[key], shipped[key]) for key in shipped)  # the average, which moves slowly
    trained = flow.parser.get_parsed_content("network").state_dict()
    moved = [key for key in shipped if not torch.equal(trained[key].cpu(), shipped[key].float())]
    assert len(moved) > 0.9 * len(shipped)  # some biases have no gradient
    assert flow.trainer.state.iteration == 1 and np.isfinite(flow.trainer.state.output["loss"])
