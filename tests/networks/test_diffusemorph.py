"""The composite network: sizes, zero field at the start, the latent it is defined by, gradients through it, strict weights."""

import pytest
import torch
from warps_toy import noise

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.precond import edm, eps_vp
from diffzoo.diffusion.schedule import linear_alphas
from diffzoo.imaging import fields
from diffzoo.networks.diffusemorph import DiffuseMorph, centred, latent_of, registration_latent
from diffzoo.networks.weights import from_weights, save_weights

SMALL = {"channels": (8, 16), "deform_channels": (8, 8, 8, 8)}
TABLE = linear_alphas(2000, 1e-6, 1e-2)


def seeded(**options):
    torch.manual_seed(0)
    return DiffuseMorph(**SMALL | options).eval()


def woken(network):
    """The network with last layers that say something: both begin at 0."""
    torch.nn.init.normal_(network.diffusion.unet.out[-1].conv.weight, std=0.2)
    torch.nn.init.normal_(network.deformation.net[-1].final_conv_out.conv.weight, std=0.2)
    return network


@pytest.mark.parametrize("size", [(16, 16), (13, 18), (8, 12, 10), (9, 16, 7)])
@pytest.mark.parametrize("factor", [1, 2])
@torch.no_grad()
def test_any_size_gives_a_field_of_that_size_and_none_before_training(size, factor):
    network = seeded(spatial_dims=len(size), shuffle=factor, deform_shuffle=factor)
    moving, fixed = torch.rand(2, 1, *size), torch.rand(2, 1, *size)
    latent = registration_latent(network, eps_vp(TABLE), moving, fixed, 1e-3)
    assert latent.shape == fixed.shape
    field = network.deform(centred(moving), latent)
    assert field.shape == (2, len(size), *size) and not field.any()
    field = woken(network).deform(centred(moving), latent)
    assert field.shape == (2, len(size), *size) and field.dtype == torch.float32 and field.std() > 0


@torch.no_grad()
def test_the_latent_is_the_noise_estimate_of_any_family():
    network, sigma = woken(seeded(spatial_dims=2)), torch.tensor([0.001, 0.7])
    moving, fixed = torch.rand(2, 1, 12, 12), torch.rand(2, 1, 12, 12)
    x = centred(fixed) + sigma.view(2, 1, 1, 1) * noise(2, 1, 12, 12)
    pair = torch.cat([centred(moving), centred(fixed)], 1)
    for precond in (eps_vp(TABLE), edm(0.5)):
        latent, x0 = latent_of(network, precond, x, sigma, moving, fixed)
        assert torch.allclose(x0, Denoiser(network, precond)(x, sigma, concat=pair), atol=1e-6)
        assert torch.allclose(x - sigma.view(2, 1, 1, 1) * latent, x0, atol=1e-6)
    latent, _ = latent_of(network, eps_vp(TABLE), x, sigma, moving, fixed)
    _, _, scale, label = eps_vp(TABLE)(sigma)
    assert torch.equal(latent, network(scale.view(2, 1, 1, 1) * x, label, concat=pair))  # not a digit lost at the lowest level


def test_the_field_teaches_the_diffusion_network():
    network = woken(seeded(spatial_dims=2))
    moving, fixed = torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16)
    latent = registration_latent(network, eps_vp(TABLE), moving, fixed, 1e-3)
    network.deform(centred(moving), latent).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert sum(float(p.grad.abs().sum()) for p in network.diffusion.parameters()) > 0


@torch.no_grad()
def test_a_velocity_field_does_not_fold_and_its_negative_undoes_it():
    plain, smooth = woken(seeded(spatial_dims=2)), woken(seeded(spatial_dims=2, velocity=True))
    smooth.load_state_dict(plain.state_dict())
    moving = blocks()
    for network in (plain, smooth):
        network.deformation.net[-1].final_conv_out.conv.weight.mul_(40)
    latent = noise(1, 1, 32, 32, seed=1)
    folded, kept = (fields.folding(n.deform(moving, latent)) for n in (plain, smooth))
    assert folded > 0.05 and kept < 0.1 * folded
    forth = smooth.deform(moving, latent)
    smooth.deformation.net[-1].final_conv_out.conv.weight.neg_()
    back = smooth.deform(moving, latent)
    assert fields.inverse_error(forth, back) < 0.15 * forth.norm(dim=1).mean()


def blocks():
    return centred((torch.arange(32) // 8 % 2).float().expand(1, 1, 32, 32))


@torch.no_grad()
def test_a_constant_flow_keeps_its_length_from_coarse_to_fine():
    network = seeded(spatial_dims=3, deform_shuffle=2)
    network.deformation.net[-1].final_conv_out.conv.bias.copy_(torch.tensor([0.5, -1.0, 0.25]))
    field = network.deform(torch.rand(1, 1, 16, 16, 16), torch.rand(1, 1, 16, 16, 16))
    assert torch.allclose(field, torch.tensor([1.0, -2.0, 0.5]).view(1, 3, 1, 1, 1).expand_as(field), atol=1e-5)


@torch.no_grad()
def test_one_strict_weight_file_holds_both_networks(tmp_path):
    network = woken(seeded(spatial_dims=2))
    save_weights(network, tmp_path / "model.safetensors")
    loaded = from_weights(seeded(spatial_dims=2), str(tmp_path / "model.safetensors")).eval()
    moving, latent = torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16)
    assert torch.allclose(loaded.deform(moving, latent), network.deform(moving, latent), atol=2e-3)
    with pytest.raises(ValueError):
        from_weights(seeded(spatial_dims=2, deform_channels=(8, 8, 8, 8, 8, 8)), str(tmp_path / "model.safetensors"))


def test_the_default_is_small():
    count = sum(p.numel() for p in DiffuseMorph().parameters())
    assert count <= 3.5e6
