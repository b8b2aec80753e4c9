"""Views between data and the state of a sampler."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.nets import AutoencoderKL

from diffzoo.diffusion.noise import Gaussian
from diffzoo.spaces import Latent, around, boxed, channelwise, equivariant, unit_scale


def test_around_shifts_a_prior_to_a_centre():
    centre = torch.full((2, 1, 4), 3.0)
    shrink = around(lambda x, sigma: x / (1 + sigma**2), centre)
    x = torch.randn(2, 1, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(shrink(x, 2.0), centre + (x - centre) / 5)
    torch.testing.assert_close(shrink(centre, 9.0), centre)


def test_channelwise_treats_each_channel_as_an_item():
    x = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(1))
    seen = []

    def denoise(items, sigma):
        seen.append(items.shape)
        return items - items.mean((1, 2, 3), keepdim=True)

    torch.testing.assert_close(channelwise(denoise)(x, 1.0), x - x.mean((2, 3), keepdim=True))
    assert seen == [(6, 1, 5, 4)]


def test_an_equivariant_denoiser_undoes_its_turns():
    x, seen = torch.randn(2, 1, 6, 5, generator=torch.Generator().manual_seed(0)), []

    def same(y, sigma):
        seen.append(y)
        return y

    turned = equivariant(same)
    assert all(torch.equal(turned(x, 1.0), x) for _ in range(20))
    assert {tuple(y.shape[2:]) for y in seen} == {(6, 5), (5, 6)} and sum(
        torch.equal(y, x) for y in seen if y.shape == x.shape
    ) < 8
    assert all(torch.equal(y.flatten().sort().values, x.flatten().sort().values) for y in seen)


def test_the_turns_are_those_of_the_call_and_not_of_the_batch():
    x, ramp = torch.randn(3, 1, 6, 5, generator=torch.Generator().manual_seed(0)), torch.linspace(0, 1, 30)

    def uneven(y, sigma):
        return y * ramp.reshape(y.shape[2:])

    whole, alone = equivariant(uneven), equivariant(uneven)
    for _ in range(6):
        torch.testing.assert_close(whole(x, 1.0)[1:2], alone(x[1:2], 1.0))


class Pairs:
    """Latents that are known: every second voxel times 3, once more times -5 and shifted; each with a deviation of its own."""

    latent_channels = 2
    sd = torch.tensor([0.5, 4.0]).view(1, 2, 1)

    def encode(self, x):
        mean = torch.cat([3 * x[..., ::2], 7 - 5 * x[..., ::2]], 1)
        return mean, self.sd.expand_as(mean)

    def decode(self, z):
        return (z[:, :1] / 3).repeat_interleave(2, -1)


def draw(*size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def test_the_mean_is_scaled_a_channel_and_decoded_without_it():
    x, space = draw(3, 1, 6), Latent(Pairs(), [2.0, 0.5])
    z = space.encode(x)
    torch.testing.assert_close(z[:, :1], 6 * x[..., ::2])
    torch.testing.assert_close(z[:, 1:], 3.5 - 2.5 * x[..., ::2])
    torch.testing.assert_close(space.decode(z), x[..., ::2].repeat_interleave(2, -1))
    torch.testing.assert_close(space.decode(z, (5,)), space.decode(z)[..., :5])
    torch.testing.assert_close(Latent(Pairs(), 2.0).encode(x), Latent(Pairs(), [2.0, 2.0]).encode(x))
    assert space.sigma_data == 1.0


def test_samples_have_the_deviation_of_the_posterior_and_a_stream_an_item():
    x, space = draw(2, 1, 40_000), Latent(Pairs(), [2.0, 0.5])
    z = space.encode(x, Gaussian([1, 2]))
    spread = (z - space.encode(x)).std(2)
    torch.testing.assert_close(spread, torch.tensor([[1.0, 2.0]]).expand(2, 2), rtol=0.03, atol=0)
    assert torch.equal(z, space.encode(x, Gaussian([1, 2])))
    assert torch.equal(z[1:], space.encode(x[1:], Gaussian([2])))
    assert not torch.equal(z, space.encode(x, Gaussian([1, 3])))


@settings(deadline=None, max_examples=20)
@given(spread=st.floats(0.1, 10), shift=st.floats(-3, 3), parts=st.integers(1, 3), seed=st.integers(0, 99))
def test_the_scale_gives_samples_unit_deviation_whatever_the_data(spread, shift, parts, seed):
    x = shift + spread * draw(6, 1, 4000, seed=seed)
    scale = unit_scale(Pairs(), x.chunk(parts))
    z = Latent(Pairs(), scale).encode(x, Gaussian(range(6)))
    torch.testing.assert_close(z.transpose(0, 1).flatten(1).std(1), torch.ones(2), rtol=0.05, atol=0)
    sites = x[..., ::2]
    variance = torch.stack([9 * sites.var(correction=0) + 0.25, 25 * sites.var(correction=0) + 16])
    torch.testing.assert_close(scale, variance.rsqrt(), rtol=1e-3, atol=0)


def test_the_scale_of_nothing_and_of_constant_latents_is_refused():
    with pytest.raises(ValueError, match="give one batch or more"):
        unit_scale(Pairs(), [])
    still = Pairs()
    still.sd = torch.zeros(1, 2, 1)
    with pytest.raises(ValueError, match="the same everywhere"):
        unit_scale(still, [torch.ones(2, 1, 6)])


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), [1.0, 1.0, 1.0]])
def test_a_scale_that_scales_nothing_is_refused(scale):
    with pytest.raises(ValueError, match="one positive number or 2"):
        Latent(Pairs(), scale)


def test_monais_own_autoencoder_will_do():
    torch.manual_seed(0)
    net = AutoencoderKL(2, 1, 1, 1, (4, 8), (False, False), 3, 2).eval()
    x = draw(2, 1, 8, 12)
    with torch.no_grad():
        z = Latent(net, 2.0).encode(x)
        torch.testing.assert_close(z, 2 * net.encode(x)[0])
        torch.testing.assert_close(Latent(net, 2.0).decode(z), net.reconstruct(x))


def test_a_boxed_denoiser_sees_only_the_box_and_gives_0_outside():
    extent, seen = torch.zeros(3, 1, 64, 80, dtype=torch.bool), []
    extent[0, :, 20:30, 40:50] = True
    extent[1, :, 0:4, 70:80] = True

    def record(x, sigma):
        seen.append(x.shape)
        return x + sigma

    x = torch.rand(3, 1, 64, 80)
    out = boxed(lambda: record, extent, margin=3, step=8)(x, 0.5)
    assert sorted(shape[-2:] for shape in seen) == [(8, 16), (16, 16), (64, 80)]  # an empty extent is seen whole
    for k in range(3):
        changed = out[k, 0] != 0
        assert torch.equal(out[k, 0][changed], (x[k, 0] + 0.5)[changed]) and changed[extent[k, 0]].all()
    assert torch.equal(out[2], x[2] + 0.5)
    alone = boxed(lambda: record, extent[:1], margin=3, step=8)(x[:1], 0.5)
    assert torch.equal(alone[0], out[0])


def test_boxes_of_a_denoiser_with_a_state_do_not_depend_on_each_other():
    """Each size of box has the draws of its turns for itself, as if it were alone."""
    extent = torch.zeros(2, 1, 48, 48, dtype=torch.bool)
    extent[0, :, 10:20, 10:20], extent[1, :, 5:40, 5:40] = True, True

    def uneven(x, sigma):
        return x * torch.linspace(0, 1, x.shape[-1])

    x = torch.rand(2, 1, 48, 48)
    together = boxed(lambda: equivariant(uneven), extent, margin=2, step=4)
    alone = boxed(lambda: equivariant(uneven), extent[1:], margin=2, step=4)
    for _ in range(3):
        assert torch.equal(together(x, 0.1)[1], alone(x[1:], 0.1)[0])


def test_an_averaged_denoiser_commutes_with_flips_and_transposes():
    from diffzoo.spaces import averaged

    weight = torch.arange(30.0).view(5, 6)

    def lopsided(x, sigma):
        return x * weight[: x.shape[-2], : x.shape[-1]] + sigma * x.roll(1, -1)

    x = torch.rand(2, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    even = averaged(lopsided)
    for turn in (lambda y: y.flip(-1), lambda y: y.flip(-2), lambda y: y.mT):
        torch.testing.assert_close(even(turn(x), 0.5), turn(even(x, 0.5)))
    assert not torch.allclose(lopsided(x.flip(-1), 0.5), lopsided(x, 0.5).flip(-1))
    torch.testing.assert_close(averaged(lambda y, sigma: 2 * y)(x, 0.5), 2 * x)
