"""What a generator leaves: names, words, the way through the autoencoder, and the trivial painting."""

import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from diffzoo.diffusion.precond import x0
from diffzoo.diffusion.samplers import euler
from diffzoo.errors import InputError
from diffzoo.networks.autoencoder import Autoencoder
from diffzoo.networks.composite import LatentDiffusion
from diffzoo.networks.spade import SpadeGenerator
from diffzoo.tasks.generate.inferer import DrawMaps, Generate, paint, styles_of
from diffzoo.tasks.generate.outputs import AddFlat, AddRoundTrip, NamePainted, flat

NAMES = ("background", "csf", "grey")
SIZE = (12, 12)
NOTHING = torch.zeros(1, 0)


class Still(nn.Module):
    """Estimates that every latent is 0.3."""

    def forward(self, x, c_noise, *, tokens, **others):
        return torch.full_like(x, 0.3)


@pytest.fixture
def system():
    torch.manual_seed(0)
    painter = SpadeGenerator(2, 3, 1, (8, 8), 4, 8, (4, 8))
    painter.last.bias.data.fill_(1.0)
    coder = Autoencoder(2, 3, (4, 8, 8), norm_num_groups=2, soft_labels=True)
    return LatentDiffusion(coder, Still(), {"generator": painter}).eval()


def generate(**more):
    codes = torch.arange(8.0).view(2, 4) / 8
    return Generate(DrawMaps(x0(), euler, [1.0, 0.3, 0.0], SIZE), codes, **more)


def maps(depth=5):
    made = torch.rand(1, 3, *SIZE, depth, generator=torch.Generator().manual_seed(1))
    return made / made.sum(1, keepdim=True)


def test_given_maps_are_painted_in_one_style(system):
    inferer, given = generate(slice_batch=2), maps()
    pred = inferer(given, system, NOTHING, torch.zeros(1), NOTHING)
    assert pred.shape == (1, 4, *SIZE, 5) and torch.equal(pred[:, 1:], given)
    expected = paint(system.generator, given[0].movedim(-1, 0), inferer.codes[:1])
    assert torch.allclose(pred[0, :1].movedim(-1, 0), expected, atol=1e-6) and inferer.stats["network_calls"] == 1


def test_another_number_is_another_style_and_another_map(system):
    inferer, empty = generate(), torch.zeros(1, 3, *SIZE, 1)
    ones = [inferer(empty, system, torch.ones(1, 2), torch.tensor([k]), NOTHING) for k in (0, 1, 2)]
    assert torch.allclose(ones[0], ones[2], atol=1e-6)  # two codes take turns, and the map is always the same here
    assert not torch.allclose(ones[0], ones[1], atol=1e-4) and inferer.stats["network_calls"] == 3
    assert torch.allclose(ones[0][:, 1:].sum(1), torch.ones(1, *SIZE, 1), atol=1e-5)


def test_a_style_is_taken_from_other_slices_or_from_the_scan_itself(system):
    slices = torch.rand(4, 1, *SIZE)
    pred = generate(style=slices)(maps(), system, NOTHING, torch.zeros(1), NOTHING)
    expected = paint(system.generator, maps()[0].movedim(-1, 0), styles_of(system.generator, slices))
    assert torch.allclose(pred[0, :1].movedim(-1, 0), expected, atol=1e-6)
    own = generate(own_style=True)(maps(4), system, NOTHING, torch.zeros(1), slices.movedim(0, -1)[None])
    again = paint(system.generator, maps(4)[0].movedim(-1, 0), styles_of(system.generator, slices))
    assert torch.allclose(own[0, :1].movedim(-1, 0), again, atol=1e-6)
    with pytest.raises(InputError, match="a label map has no style"):
        generate(own_style=True)(maps(), system, NOTHING, torch.zeros(1), NOTHING)
    with pytest.raises(ValueError, match="slice_batch"):
        generate(slice_batch=0)


def item(**more):
    given = maps(4)[0]
    made = {"image": MetaTensor(given, affine=np.eye(4)), "pred": torch.cat([torch.rand(1, *SIZE, 4), given])}
    return made | {"real": torch.zeros(0), "asked": torch.zeros(0)} | more


def test_outputs_have_names_and_say_what_they_were_made_from():
    asked = torch.tensor([1.0, 0.5, float("nan"), float("nan")])
    drawn = NamePainted("t1", None, NAMES)(item(asked=asked))
    told = json.loads(drawn["acquisition"])
    assert told["words"] == "on a map that was drawn, in T1" and told["asked"] == {"lesion": 1.0, "position": 0.5}
    assert torch.equal(drawn["label"][0], drawn["maps"].argmax(0)) and drawn["painted"].shape == (1, *SIZE, 4)
    given = NamePainted("flair", "own", NAMES)(item(given="labels", label=None))  # as MONAI's engines hand it on
    assert "label" not in given and json.loads(given["acquisition"])["words"] == "on labels, in its own contrast"


def test_the_way_through_the_autoencoder(system):
    named = AddRoundTrip(system, batch=3)(NamePainted("t1", None, NAMES)(item()))
    with torch.no_grad():
        expected = system.autoencoder(named["maps"].as_tensor().movedim(-1, 0)).movedim(0, -1)
    assert torch.allclose(named["round_trip"].as_tensor(), expected, atol=1e-6)


def test_flat_shades_are_those_of_least_squares():
    labels, shades = maps(4)[0], torch.tensor([0.0, 0.3, 0.8])
    image = (labels * shades.view(3, 1, 1, 1)).sum(0, keepdim=True)
    assert torch.allclose(flat(image, labels), image, atol=1e-4)
    named = NamePainted("t1", None, NAMES)(item(real=image))
    assert "flat" in AddFlat()(named) and "flat" not in AddFlat()(NamePainted("t1", None, NAMES)(item()))
