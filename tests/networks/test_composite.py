"""Several networks in one file, their latents, and sampling among them."""

import copy

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from diffzoo.diffusion.denoiser import EMA, Denoiser
from diffzoo.diffusion.noise import Gaussian
from diffzoo.diffusion.precond import eps_vp
from diffzoo.diffusion.samplers import ancestral
from diffzoo.diffusion.schedule import from_alphas, scaled_linear_alphas
from diffzoo.networks.autoencoder import Autoencoder
from diffzoo.networks.composite import LatentDiffusion, condition_tokens, part, scaled
from diffzoo.networks.spade import SpadeGenerator
from diffzoo.networks.unet import UNet
from diffzoo.networks.weights import load_weights, save_weights


def system(dims=2, seed=0, **options) -> LatentDiffusion:
    """A small system for maps of 3 labels, with random weights also in the layers that start at zero."""
    torch.manual_seed(seed)
    inner = UNet(dims, 3, 3, (8, 16), attention_levels=(False, True), num_head_channels=8, norm_num_groups=4, token_size=4)
    for weight in inner.parameters():
        weight.data.normal_(0, 0.1)
    outer = Autoencoder(dims, 3, (4, 8, 8), norm_num_groups=2, soft_labels=True)
    painter = SpadeGenerator(dims, 3, 1, (8, 8), 4, 8, (4, 8))
    return LatentDiffusion(outer, inner, {"generator": painter} | options).eval()


def images(batches=3):
    generator = torch.Generator().manual_seed(3)
    return [{"image": torch.randn((2, 3, 10, 9), generator=generator).softmax(1)} for _ in range(batches)]


def test_one_strict_file_holds_all_networks_and_the_scale(tmp_path):
    net = scaled(system(), images())
    save_weights(net, tmp_path / "model.safetensors")
    other = load_weights(system(seed=1), tmp_path / "model.safetensors")
    held = load_file(tmp_path / "model.safetensors")
    assert {name.split(".")[0] for name in held} == {"autoencoder", "diffusion", "generator", "scale"}
    assert all(value.dtype == torch.float16 for value in held.values() if value.is_floating_point())
    for name, value in other.state_dict().items():
        assert torch.equal(value, net.state_dict()[name].half().to(value.dtype))
    again = tmp_path / "again.safetensors"
    save_weights(other, again)
    assert again.read_bytes() == (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="lacks"):
        load_weights(system(classifier=nn.Linear(2, 2)), again)
    with pytest.raises(ValueError, match="has the unexpected"):
        load_weights(LatentDiffusion(other.autoencoder, other.diffusion), again)


def test_called_it_is_its_network_of_latents():
    net, x, label = system(), torch.randn(2, 3, 5, 4), torch.rand(2)
    tokens = torch.randn(2, 3, 4)
    with torch.no_grad():
        assert torch.equal(net(x, label, tokens=tokens), net.diffusion(x, label, tokens=tokens))
    with pytest.raises(ValueError, match="'tokens' is missing"):
        net(x, label)


def test_parts_are_the_very_networks():
    net = system()
    assert part(net, "autoencoder") is net.autoencoder
    assert part(net, "generator") is net.generator
    with pytest.raises(ValueError, match="no part 'painter'; it has autoencoder, diffusion, generator"):
        part(net, "painter")


@pytest.mark.parametrize("name", ["autoencoder", "scale", "space", "forward", "two words", "a.b"])
def test_a_name_that_is_taken_or_none_is_refused(name):
    with pytest.raises(ValueError, match="choose a plain word"):
        system(**{name: nn.Identity()})


def test_the_measured_scale_makes_a_copy_with_unit_latents():
    net, data = system(), images()
    before = copy.deepcopy(net.state_dict())
    ours = scaled(net, data)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with torch.no_grad():
        moments = [ours.autoencoder.encode(batch["image"]) for batch in data]
        mean, sd = (torch.cat(values).double() for values in zip(*moments, strict=True))
    variance = mean.var((0, 2, 3), correction=0) + sd.square().mean((0, 2, 3))
    torch.testing.assert_close(variance * ours.scale.double().square(), torch.ones(3, dtype=torch.float64), rtol=1e-4, atol=0)
    assert torch.equal(scaled(net, data, count=1).scale, scaled(net, data[:1]).scale)
    assert not torch.equal(scaled(net, data, count=1).scale, ours.scale)
    torch.testing.assert_close(ours.space.encode(data[0]["image"]), net.space.encode(data[0]["image"]) * ours.scale.view(3, 1, 1))


def test_its_average_keeps_the_scale():
    net = scaled(system(), images())
    ema = EMA(system(), 0.5)
    ema.update(net)
    assert torch.equal(ema.average.scale, net.scale)


@pytest.mark.parametrize("size", [(13, 18), (6, 9, 7)])
def test_ddim_of_eta_1_among_latents_gives_maps_of_the_size_and_the_seed(size):
    """The ancestral step is DDIM with eta = 1."""
    net = system(len(size))
    table = scaled_linear_alphas(1000, 0.0015, 0.0195)
    denoise = Denoiser(net, eps_vp(table)).bind(tokens=torch.ones(2, 3, 4))
    grid, like = from_alphas(table, 8), net.space.encode(torch.rand(2, 3, *size).softmax(1))

    def sampled(seeds):
        noise = Gaussian(seeds)
        with torch.no_grad():
            x = ancestral(denoise, grid[0] * noise(like), grid, noise=noise)
            return net.space.decode(x, size)

    maps = sampled([5, 6])
    assert maps.shape == (2, 3, *size)
    torch.testing.assert_close(maps.sum(1), torch.ones(2, *size), rtol=0, atol=1e-5)
    assert torch.equal(maps, sampled([5, 6]))
    other = sampled([5, 7])
    torch.testing.assert_close(other[0], maps[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(other[1], maps[1], atol=1e-3)


def test_a_token_names_its_condition_and_one_not_known_is_zero():
    values = torch.tensor([[1.0, 0.25, torch.nan], [torch.nan, -2.0, 0.0]])
    tokens = condition_tokens(values)
    assert tokens[0].tolist() == [[1, 0, 0, 1], [0, 1, 0, 0.25], [0, 0, 0, 0]]
    assert tokens[1].tolist() == [[0, 0, 0, 0], [0, 1, 0, -2], [0, 0, 1, 0]]
