"""The body of a CT: without couch, filled, and refused where there is none."""

import numpy as np
import pytest

from diffzoo.errors import InputError
from diffzoo.imaging.body_mask import body_mask


def scene(noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A body with a lung, on a couch of 2 pixels, and the truth, [64, 64, 5] of 3 mm."""
    x, y = np.meshgrid(np.arange(64), np.arange(64), indexing="ij")
    body = ((x - 32) / 24) ** 2 + ((y - 34) / 17) ** 2 < 1
    hu = np.where(body, 40.0, -1000.0)
    hu[((x - 24) / 7) ** 2 + ((y - 34) / 9) ** 2 < 1] = -850
    hu[4:60, 10:12] = 200
    hu = np.repeat(hu[..., None], 5, 2) + np.random.default_rng(0).normal(0, noise, (64, 64, 5))
    return hu, np.repeat(body[..., None], 5, 2)


@pytest.mark.parametrize("noise", [0.0, 120.0])
def test_the_body_is_found_with_its_lung_and_without_the_couch(noise):
    hu, truth = scene(noise)
    found = body_mask(hu, (3.0, 3.0, 3.0))
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.97
    assert not found[:, 8:12].any()


def test_air_alone_is_refused():
    with pytest.raises(InputError, match="no body"):
        body_mask(np.full((32, 32, 3), -1000.0), (2.0, 2.0, 2.0))
    speck = np.full((64, 64, 3), -1000.0)
    speck[30:34, 30:34] = 0
    with pytest.raises(InputError, match="no body"):
        body_mask(speck, (3.0, 3.0, 3.0))
