"""The complex prior: its training batches, the supervised twin, and a network that sees both parts of an image at once."""

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from slices_toy import coil_case, real_case
from torch import nn

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.precond import edm
from diffzoo.operators.fourier import complex_of, fft
from diffzoo.tasks.reconstruct_mri.complex_crops import ComplexCrops, UndersampledCrops
from diffzoo.tasks.reconstruct_mri.kspace import KSpace
from diffzoo.tasks.reconstruct_mri.outputs import AddSupervised
from diffzoo.tasks.reconstruct_mri.supervised import SupervisedValidation, unaliased, unaliasing_loss
from diffzoo.training.steps import RegressionStep

OPTIONS = {"crop": 32, "batch_size": 3, "batches": 4}


@pytest.fixture(scope="module")
def files(tmp_path_factory, volume):
    path = tmp_path_factory.mktemp("volumes") / "scan.nii"
    nib.save(nib.Nifti1Image(volume((44, 40, 6), 0), np.diag([1.0, 1, 5, 1])), path)
    return [str(path)]


class Part(nn.Module):
    """What it is called with, remembered; its answer is a learnt share of that."""

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        self.share, self.shapes = nn.Parameter(torch.tensor(share)), []

    def forward(self, x, c_noise=None, **conditions):
        self.shapes.append(tuple(x.shape))
        return self.share * x


def test_complex_crops_have_the_magnitude_of_the_crops_and_a_smooth_phase(files):
    from diffzoo.training.crops import SliceCrops

    image, magnitude = ComplexCrops(files, **OPTIONS)[1]["image"], SliceCrops(files, **OPTIONS)[1]["image"]
    assert image.shape == (3, 2, 32, 32)
    torch.testing.assert_close(image.square().sum(1, keepdim=True).sqrt(), magnitude, rtol=1e-4, atol=1e-5)
    z = complex_of(image)
    turn = (z[..., 1:] * z[..., :-1].conj()).angle().abs()[magnitude[..., 1:] * magnitude[..., :-1] > 0.01]
    assert float(turn.max()) < 0.5  # rad a pixel


def test_aligned_crops_are_nearly_real_and_others_point_anywhere(files):
    def imaginary(aligned: float) -> float:
        batches = [ComplexCrops(files, aligned=aligned, **OPTIONS)[k]["image"] for k in range(4)]
        image = torch.cat(batches)
        return float(image[:, 1].square().sum() / image.square().sum())

    assert imaginary(1.0) < 0.05 < 0.2 < imaginary(0.0)


def test_batches_are_functions_of_seed_epoch_and_index(files):
    first, again, other = (ComplexCrops(files, seed=seed, **OPTIONS) for seed in (0, 0, 1))
    assert torch.equal(first[2]["image"], again[2]["image"]) and not torch.equal(first[2]["image"], other[2]["image"])
    again.epoch = 2
    assert not torch.equal(first[2]["image"], again[2]["image"])


def test_undersampled_crops_are_the_same_crops_less_what_the_mask_leaves_out(files):
    crops = UndersampledCrops(files, acceleration=2.0, center_fraction=0.2, coils=1, **OPTIONS)
    batch = crops[0]
    assert torch.equal(batch["image"], ComplexCrops(files, **OPTIONS)[0]["image"])
    with_coil = complex_of(crops.maps) * complex_of(batch["zero_filled"])  # one coil of modulus 1
    energy = fft(with_coil).abs().square().sum(2)  # of each column of k-space
    kept = energy > 1e-6 * energy.amax(-1, keepdim=True)
    assert float(kept.float().mean()) == pytest.approx(0.5, abs=0.1)
    noisy = UndersampledCrops(files, acceleration=2.0, center_fraction=0.2, coils=1, noise_sd=0.1, **OPTIONS)[0]
    assert float((noisy["zero_filled"] - batch["zero_filled"]).std()) == pytest.approx(0.1 * 0.5**0.5, rel=0.2)


def test_the_supervised_step_moves_the_network_towards_the_full_image(files):
    batch, network = UndersampledCrops(files, acceleration=2.0, center_fraction=0.2, **OPTIONS)[0], Part(-0.9)
    engine = Engine(RegressionStep(unaliasing_loss))
    engine.network, engine.state.device = network, torch.device("cpu")
    engine.optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    engine.run([batch] * 5, max_epochs=1)
    assert float(network.share.detach()) > -0.9
    quality = Engine(SupervisedValidation())
    quality.network, quality.state.device = Part(0.0), torch.device("cpu")
    quality.run([batch], max_epochs=1)
    error = (batch["zero_filled"].square().sum(1).sqrt() - batch["image"].square().sum(1).sqrt()).square().flatten(1).mean(1)
    assert quality.state.output["psnr"] == pytest.approx(float(-10 * error.log10().mean()), abs=1e-3)
    assert torch.equal(unaliased(Part(0.0), batch["zero_filled"]), batch["zero_filled"])


def test_a_complex_prior_sees_both_parts_at_once_and_a_magnitude_prior_one(files):
    image, mask, _ = coil_case(4)
    for prior, shape in (("complex", (2, 2)), ("magnitude", (4, 1))):
        network = Part()
        posed = KSpace(prior=prior)(Denoiser(network, edm(0.3)), image[0].movedim(-1, 0), [0, 1], {"mask": mask})
        posed.solve(lambda denoise, op, y, noise, callback: denoise(op.pinv(y), 0.1), [0, 1], None)
        assert network.shapes[0][:2] == shape


def test_a_complex_prior_refuses_a_real_image_and_an_unknown_kind():
    image, mask, _ = real_case()
    with pytest.raises(ValueError, match="needs complex images"):
        KSpace(prior="complex")(Denoiser(Part(), edm(0.3)), image[0].movedim(-1, 0), [0], {"mask": mask})
    with pytest.raises(ValueError, match="'magnitude' or 'complex', not 'phase'"):
        KSpace(prior="phase")


def test_a_supervised_network_that_adds_nothing_gives_the_adjoint():
    from monai.data import MetaTensor

    from diffzoo.operators.fourier import uncentre
    from diffzoo.tasks.reconstruction.measured import forward_model, kspace_of

    image, mask, _ = coil_case(4)
    data = {"image": MetaTensor(image[0]), "mask": MetaTensor(mask[0]), "scale": 3.0}
    low = uncentre(mask[0])[None]
    y = kspace_of(image[0].movedim(-1, 0), low)
    op = forward_model(y, low, real=False)
    found = AddSupervised(Part(0.0))(data)["supervised"].as_tensor().movedim(-1, 0)
    torch.testing.assert_close(found, 3 * op.magnitude(op.AT(y)), rtol=1e-4, atol=1e-5)
