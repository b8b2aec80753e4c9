"""The quantised autoencoder: what is diffused, what is decoded, and how its book of codes moves."""

import torch

from diffzoo.networks.vqvae import QuantisedAutoencoder


def network():
    torch.manual_seed(0)
    made = QuantisedAutoencoder(channels=(8, 8), latent_channels=4, codes=6).eval()
    x = torch.rand(4, 1, 18, 21)
    made.revive(made.encode(x)[0], torch.Generator().manual_seed(0), least=1.0)
    return made, x


def book(made):
    return made.vqvae.quantizer.quantizer


def test_latents_are_the_codes_before_quantisation():
    made, x = network()
    z, sd = made.encode(x)
    assert z.shape == (4, 4, 5, 6) and not sd.any()
    codes, _ = made.quantise(z)
    distance = (z.movedim(1, -1)[..., None, :] - book(made).embedding.weight).square().sum(-1)
    assert torch.allclose(codes.movedim(1, -1), book(made).embedding.weight[distance.argmin(-1)], atol=1e-6)
    assert not torch.allclose(z, codes, atol=1e-3)
    stock = made.vqvae.encode_stage_2_inputs(torch.nn.functional.pad(x, (0, 3, 0, 2), mode="replicate"))
    assert torch.allclose(stock, codes, atol=1e-6)  # the trap: MONAI's own entrance quantises


def test_decoding_quantises_so_a_small_change_of_a_latent_changes_nothing():
    made, x = network()
    z = made.encode(x)[0]
    assert torch.equal(made.decode(z), made.decode(z + 1e-6 * torch.randn_like(z)))
    assert made.decode(z, x.shape[2:]).shape == x.shape and torch.equal(made(x), made.decode(z, x.shape[2:]))
    assert torch.allclose(made.decode(z), made.decode(made.quantise(z)[0]), atol=1e-6)


def test_the_book_moves_in_training_alone_and_idle_codes_are_revived():
    made, x = network()
    before = book(made).embedding.weight.clone()
    made(x)
    assert torch.equal(book(made).embedding.weight, before)
    made.train()(x)
    assert not torch.equal(book(made).embedding.weight, before)
    book(made).ema_cluster_size[:] = 5.0
    book(made).ema_cluster_size[2] = 0.1
    z = made.encode(x)[0]
    assert made.revive(z, torch.Generator().manual_seed(1), least=0.5) == 1
    rows = z.movedim(1, -1).flatten(0, -2)
    assert (rows - book(made).embedding.weight[2]).abs().sum(1).min() < 1e-6 and book(made).ema_cluster_size[2] == 1
