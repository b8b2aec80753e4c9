"""Fields of other methods: on the fixed image's grid, and the two that do nothing do what they say."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from diffzoo.imaging.fields import warp_onto
from diffzoo.tasks.register.baselines import AddClassicalField, AddField, aligned, unmoved

FIXED = np.array([[0, -1.5, 0, 20], [2.0, 0, 0, -7], [0, 0, 1.0, 3], [0, 0, 0, 1]])
MOVING = np.diag([1.0, 1.0, 2.0, 1.0])


@pytest.fixture
def item():
    generator = torch.Generator().manual_seed(0)
    scans = {"fixed_scan": ((12, 10, 9), FIXED), "moving_scan": ((11, 13, 8), MOVING)}
    made = {k: MetaTensor(torch.rand(1, *n, generator=generator), affine=torch.from_numpy(a)) for k, (n, a) in scans.items()}
    start = np.eye(4)
    start[:3, 3] = (1.0, -2.0, 0.5)
    grid = MetaTensor(torch.rand(1, 8, 8, 8, generator=generator), affine=torch.eye(4, dtype=torch.float64))
    return made | {"image": grid, "moving": grid, "alignment": torch.from_numpy(start)}


@pytest.mark.parametrize(("method", "shift"), [(unmoved, (0, 0, 0)), (aligned, (1.0, -2.0, 0.5))])
def test_what_does_nothing_else_puts_world_places_where_it_says(item, method, shift):
    made = AddClassicalField(method, "still")(item)
    field = made["field_still"]
    voxel = np.array([5, 4, 6])
    world = FIXED[:3, :3] @ (voxel + field[:, 5, 4, 6].numpy()) + FIXED[:3, 3]
    assert np.allclose(world, FIXED[:3, :3] @ voxel + FIXED[:3, 3] + shift, atol=1e-5)
    assert field.shape == (3, 12, 10, 9) and made["seconds_still"] >= 0 and "field_still" not in item


def test_a_networks_field_is_brought_to_the_fixed_grid(item):
    def inferer(fixed, network, moving):
        assert fixed.shape == moving.shape == (1, 1, 8, 8, 8) and network.weight is None
        return torch.zeros(1, 3 + 6, 8, 8, 8)  # with a path behind it

    holder = SimpleNamespace(weight=None)
    holder.cpu = lambda: holder
    inferer.stats = {"seconds": 0.125}
    made = AddField(inferer, holder, "twin")(item)
    assert made["seconds_twin"] == 0.125
    still = AddClassicalField(aligned, "still")(item)["field_still"]
    assert torch.allclose(made["field_twin"], still, atol=1e-5)
    moved = [warp_onto(torch.as_tensor(item["moving_scan"])[None], MOVING, f[None], FIXED) for f in (made["field_twin"], still)]
    assert torch.allclose(*moved, atol=1e-4)
