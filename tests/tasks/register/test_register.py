"""The registering inferer: what it returns and tells, the path, generation, both ways, from files and back to them."""

import pytest
import SimpleITK as sitk
import torch
from monai.data import DataLoader, Dataset, decollate_batch
from monai.engines import SupervisedEvaluator
from monai.engines.utils import PrepareBatchExtraInput
from torch import nn
from warps_toy import oblique, smooth, textured

from diffzoo.diffusion.noise import Gaussian
from diffzoo.diffusion.precond import eps_vp
from diffzoo.diffusion.schedule import linear_alphas
from diffzoo.diffusion.stochastic import ancestral
from diffzoo.imaging import fields
from diffzoo.imaging.io.files import write_volume
from diffzoo.imaging.registration import centre
from diffzoo.networks.diffusemorph import DiffuseMorph
from diffzoo.tasks.edit import Edit, table_levels
from diffzoo.tasks.register.inferer import NameFields, Register, correlation, decorrelation
from diffzoo.tasks.register.pairs import FieldToFixed, LoadPair

TABLE = linear_alphas(2000, 1e-6, 1e-2)
PRECOND = eps_vp(TABLE)


class Known(nn.Module):
    """A `DiffuseMorph` that knows the answer: its latent is 1 and its field is the latent times `field`; its x0 is the fixed."""

    def __init__(self, field):
        super().__init__()
        self.field, self.calls = field, []

    def forward(self, x, c_noise, *, concat):
        self.calls.append(concat)
        if float(c_noise[0]) < 0.5:
            return torch.ones_like(x)
        scale = 1 / (1 + self._sigma(c_noise) ** 2).sqrt()  # the noise that leads from the fixed image to x
        return (x / scale - concat[:, 1:]) / self._sigma(c_noise)

    def _sigma(self, c_noise):
        bar = TABLE[c_noise.round().long()]
        return ((1 - bar) / bar).sqrt().float().view(-1, *[1] * (self.field.ndim - 1))

    def deform(self, moving, latent):
        return latent.mean() * self.field.expand(len(moving), *self.field.shape[1:])


def toy(shape=(24, 20)):
    field = fields.integrate(smooth(shape, 1.5, seed=2, knots=2))
    moving = (textured(shape) / 500).clamp(0, 1)
    return fields.warp(moving, field), moving, Known(field)


@pytest.mark.parametrize("shape", [(24, 20), (16, 14, 12)])
def test_the_field_comes_first_and_the_figures_tell_of_it(shape):
    fixed, moving, network = toy(shape)
    register = Register(PRECOND)
    found = register(fixed, network, moving)
    assert torch.allclose(found, network.field, atol=1e-5) and register.workload() == "1 network call a pair"
    stats = register.stats
    assert stats["ncc_after"] == pytest.approx(1, abs=1e-4) and stats["ncc_before"] < 0.995
    assert stats["ncc_before"] == pytest.approx(float(correlation(moving, fixed)))
    assert stats["network_calls"] == 1 and stats["folding"] == 0 and stats["seconds"] > 0
    assert torch.equal(network.calls[0], 2 * torch.cat([moving, fixed], 1) - 1)


def test_a_share_of_the_latent_gives_a_share_of_the_field():
    fixed, moving, network = toy()
    whole, part, none = (Register(PRECOND, eta=eta)(fixed, network, moving=moving) for eta in (1.0, 0.4, 0.0))
    torch.testing.assert_close(part, 0.4 * whole)
    assert whole.abs().max() > 0.1 and not none.any()


def test_the_path_goes_from_nothing_to_the_field():
    fixed, moving, network = toy()
    register = Register(PRECOND, frames=5)
    found = NameFields()({"pred": register(fixed, network, moving)[0]})
    path = found["path"].view(5, 2, 24, 20)
    assert torch.allclose(path, torch.linspace(0, 1, 5).view(5, 1, 1, 1) * network.field, atol=1e-5)
    told = register.stats["path_ncc"]
    assert told == sorted(told) and told[0] == pytest.approx(register.stats["ncc_before"], abs=1e-5)
    assert told[-1] == pytest.approx(register.stats["ncc_after"], abs=1e-5) and len(network.calls) == 1


def test_generation_ends_where_the_denoiser_says():
    fixed, moving, network = toy()
    edit = Edit(ancestral, table_levels(TABLE, 20), Gaussian)
    register = Register(PRECOND, generate=True, edit=edit, frames=2)
    found = NameFields()({"pred": register(fixed, network, moving)[0]})
    assert found["generated"].shape == (1, 24, 20) and found["path"].shape == (4, 24, 20)
    assert register.stats["network_calls"] == 21 == len(network.calls) and register.workload() == "21 network calls a pair"
    # the last call is at the lowest level, whose answer is noise 1: x0 = x - sigma
    assert torch.allclose(found["generated"], fixed[0], atol=2e-2)
    assert (found["generated"] - moving[0]).abs().max() > 0.1


def test_two_ways_that_agree_miss_by_nothing():
    fixed, moving, network = toy()
    register = Register(PRECOND, inverse=True)
    register(fixed, network, moving)
    wrong = register.stats["inverse_error"]
    assert register.stats["network_calls"] == 2 and wrong == pytest.approx(
        float(fields.inverse_error(network.field, network.field)), rel=1e-4
    )
    network.field = torch.zeros_like(network.field)
    register(fixed, network, moving)
    assert register.stats["inverse_error"] < 1e-5 < wrong


def test_symmetric_directions_are_each_others_inverse():
    fixed, moving, _ = toy((32, 32))
    torch.manual_seed(0)
    network = DiffuseMorph(2, None, deform_channels=(8, 8, 8, 8), deform_shuffle=1, velocity=True).eval()
    torch.nn.init.normal_(network.deformation.net[-1].final_conv_out.conv.weight, std=20.0)
    missed = {}
    for symmetric in (False, True):
        register = Register(None, inverse=True, symmetric=symmetric)
        found = register(fixed, network, moving)
        missed[symmetric] = register.stats["inverse_error"]
        assert found.abs().max() > 0.3 and register.stats["network_calls"] == 2 * (1 + symmetric)
    assert missed[True] < 0.1 < 5 * missed[True] < missed[False]
    with pytest.raises(ValueError, match="network of velocities"):
        Register(None, symmetric=True)(fixed, DiffuseMorph(2, None, deform_channels=(8, 8, 8, 8)), moving)


def test_from_files_through_monai_and_back_to_a_field_that_itk_applies(tmp_path):
    grid, other = (
        oblique((0.1, 0.2, 0), (1.2, 1.0, 1.4), (1, -1, 1), (20, 22, 16)),
        oblique((0, 0.1, 0.2), (1, 1, 1), (1, 1, 1), (26, 24, 24), (4, -3, 2)),
    )
    write_volume(tmp_path / "f.nii.gz", textured((20, 22, 16), seed=1)[0].numpy(), grid)
    write_volume(tmp_path / "m.nii.gz", textured((26, 24, 24), seed=2)[0].numpy(), other)
    case = {"image": str(tmp_path / "f.nii.gz"), "moving": str(tmp_path / "m.nii.gz"), "case": "m_to_f"}
    size = (20, 20, 20)
    network = Known(fields.integrate(smooth(size, 1.5, seed=3, knots=2)))
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset([case], LoadPair(1.3, size, centre)), batch_size=1),
        network=network,
        inferer=Register(PRECOND, frames=3),
        prepare_batch=PrepareBatchExtraInput({"moving": "moving"}),
        decollate=False,
    )
    evaluator.run()
    output = {**evaluator.state.batch, **evaluator.state.output}
    item = decollate_batch({k: v for k, v in output.items() if k != "loss"})[0]
    out = FieldToFixed()(NameFields()(item))
    assert out["warped"].shape == (1, 20, 22, 16) and out["path"].shape == (3, 20, 22, 16)
    path = fields.write_field(tmp_path / "field.nii.gz", out["field"][None].as_tensor(), grid)
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    scan, reference = (sitk.ReadImage(case[key], sitk.sitkFloat32) for key in ("moving", "image"))
    low = float(out["moving_scan"].min())
    theirs = sitk.GetArrayFromImage(sitk.Resample(scan, reference, transform, sitk.sitkLinear, low)).T.copy()
    difference = (out["warped"][0].as_tensor() - torch.from_numpy(theirs)).abs()
    assert difference.quantile(0.99) < 0.1 < out["warped"].std()


def test_what_cannot_be_done_is_refused():
    fixed, moving, network = toy()
    for options, words in (({"frames": 1}, "two frames"), ({"generate": True}, "needs edit"), ({"autocast": "int8"}, "autocast")):
        with pytest.raises(ValueError, match=words):
            Register(PRECOND, **options)
    with pytest.raises(ValueError, match="two grey images of one grid"):
        Register(PRECOND)(fixed[..., :10], network, moving)
    assert Register(PRECOND).memory((100, 100, 100)) > Register(PRECOND).memory((10, 10, 10)) > 1e9


def test_correlation_in_closed_form():
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(correlation(x, 3 * x + 1), torch.ones(2), atol=1e-5)
    assert torch.allclose(correlation(x, -x), -torch.ones(2), atol=1e-5) and correlation(x[:1], torch.ones(1, 1, 8, 8)) == 0
    both = torch.cat([x[:1], -x[1:]])  # one alike, one opposite
    assert decorrelation(x, 2 * x + 1) == pytest.approx(0, abs=1e-5) and decorrelation(x, both) == pytest.approx(1, abs=1e-5)
