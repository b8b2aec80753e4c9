"""The divergence of the ambiguity networks, in closed form."""

import torch

from diffzoo.networks.ambiguity import AmbiguityNetworks, GaussianEncoder, gaussian


def test_the_divergence_is_that_of_two_gaussians():
    networks = AmbiguityNetworks((4, 8), latent=2)
    with torch.no_grad():
        for encoder, values in ((networks.modelling, [1.0, 0.0, 0.5, 0.0]), (networks.controlling, [0.0, 0.0, 0.0, 0.0])):
            encoder.head.weight.zero_()
            encoder.head.bias.copy_(torch.tensor(values))
    found = networks(*torch.randn(3, 2, 1, 16, 16))
    # of each number (mean^2 + sd^2 - 1) / 2 - ln sd: mean 1 and sd e^0.5, then mean 0 and sd 1
    expected = (1 + torch.e - 1) / 2 - 0.5
    torch.testing.assert_close(found, torch.full((2,), expected))


def test_an_encoder_takes_any_size_and_tells_the_same_of_a_batch_and_of_one():
    encoder, x = GaussianEncoder(2, (4, 8), 3), torch.randn(5, 2, 21, 17)
    whole = encoder(x)
    assert whole.shape == (5, 6)
    torch.testing.assert_close(encoder(x[2:3]), whole[2:3])
    assert gaussian(whole).batch_shape == (5,)
