"""Views between data and the state of a sampler."""

import torch

from diffzoo.spaces import around, channelwise


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
