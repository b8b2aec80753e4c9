"""The audit finds what was planted, and lets people go who are new; membership inference knows who knows."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from brains_toy import people
from PIL import Image

from diffzoo.errors import InputError
from diffzoo.metrics.embedding import contrastive
from diffzoo.metrics.membership import attack, scores
from diffzoo.metrics.memorisation import audit, worst_pairs
from diffzoo.metrics.registered import between

TRAIN, HELD, NEW = people(80, seed=0, each=2), people(60, seed=1), people(120, seed=2)
WHOSE = np.arange(160) // 2
STEPS = 60


class Memory(torch.nn.Module):
    """The ideal denoiser of a few images, which knows nothing else: their mean by likelihood (Karras et al. 2022, eq. 57)."""

    def __init__(self, images):
        super().__init__()
        self.images = images

    def forward(self, x, sigma):
        apart = (x[:, None] - self.images[None]).flatten(2).square().sum(2)
        return torch.einsum("bn,nchw->bchw", (-apart / (2 * sigma[:, None] ** 2)).softmax(1), self.images)


def planted(images, seed=0):
    """Copies with a small shift, noise and another contrast."""
    generator = torch.Generator().manual_seed(seed)
    moved = torch.roll(images, (1, -2), (2, 3))
    return 0.1 + 0.8 * moved + 0.02 * torch.randn(images.shape, generator=generator)


def test_planted_copies_are_found_and_new_people_are_not():
    chosen = np.random.default_rng(0).permutation(len(TRAIN))[:20]
    found = audit(TRAIN, torch.cat([NEW, planted(TRAIN[chosen])]), HELD, WHOSE, steps=STEPS)
    assert found.copied[120:].mean() >= 0.95 and found.copied[:120].mean() <= 0.01
    view = found.views["registered"].samples
    assert (view.index[120:] == chosen).mean() >= 0.95
    assert any("are copies" in line for line in found.warnings())
    assert {s for s, _ in found.worst} <= set(range(120, 140)) | {s for s, _ in found.worst if not found.copied[s]}


def test_new_people_are_no_copies_in_either_view():
    found = audit(TRAIN, NEW, HELD, WHOSE, steps=STEPS)
    facts = found.facts()
    assert facts["copy_fraction"] <= 0.01 and facts["copy_interval"][1] < 0.05 and not found.warnings()
    assert all(abs(view["z_u"]) < 3 for view in facts["views"].values())
    assert json.loads(json.dumps(facts))["n_people"] == 80


def test_a_model_that_knows_16_images_by_heart_is_flagged():
    few, memory = TRAIN[:32:2], Memory(TRAIN[:32:2])
    noise = torch.randn(24, *few.shape[1:], generator=torch.Generator().manual_seed(0))
    drawn = torch.stack([_drawn(memory, one[None])[0] for one in noise])
    known = attack(scores(memory, few), scores(memory, HELD))
    found = audit(few, drawn, HELD, membership=known, steps=0)
    assert found.copied.mean() > 0.9 and known["auc"] > 0.99 and known["tpr"] > 0.9
    told = " ".join(found.warnings())
    assert "are copies" in told and "knows its training images" in told and "Z_U" in told


def _drawn(memory, noise, top=5.0, steps=12):
    """Euler steps of the probability flow from the noise to an image."""
    x, sigmas = top * noise, [top * (1 - k / steps) ** 3 for k in range(steps + 1)]
    for now, after in itertools.pairwise(sigmas):
        level = torch.full((len(x),), now)
        x = x + (after - now) * (x - memory(x, level)) / now
    return x


def test_a_denoiser_of_others_knows_nobody():
    stranger = Memory(people(40, seed=9))
    found = attack(scores(stranger, people(150, seed=3)), scores(stranger, people(150, seed=4)))
    assert abs(found["auc"] - 0.5) < 0.08 and found["interval"][0] < 0.5 < found["interval"][1]


def test_attack_by_hand():
    found = attack(np.array([1.0, 2, 3]), np.array([2.5, 4]))
    assert found["auc"] == pytest.approx(5 / 6) and found["tpr"] == pytest.approx(2 / 3)
    assert attack(np.ones(4), np.ones(5))["auc"] == 0.5


def test_the_score_of_the_ideal_denoiser_of_one_image_is_the_noise_it_cannot_see():
    """It returns the image whatever it is given, so of that image the estimate of the noise has no error."""
    one = TRAIN[:1]
    assert scores(Memory(one), one) == pytest.approx(0, abs=1e-8)
    other = scores(Memory(one), HELD[:1], sigmas=[0.5], draws=1)
    assert other == pytest.approx((HELD[0] - one[0]).square().mean().item() / 0.25, rel=1e-4)


def test_the_registered_view_does_not_see_shift_mirror_and_contrast():
    images = HELD[:6]
    for changed in (torch.roll(images, 2, 2), images.flip(3), 2 - 0.5 * -images):
        assert np.diag(between(changed, images)).max() < 0.12
    assert between(images, images)[~np.eye(6, dtype=bool)].min() > 0.3
    assert between(images, images).max() <= 2


def test_the_embedding_keeps_changed_images_near():
    embed = contrastive(TRAIN, STEPS)
    vectors, moved = (torch.from_numpy(embed(x)) for x in (HELD, planted(HELD)))
    alike = vectors @ moved.T
    assert torch.allclose(vectors.norm(dim=1), torch.ones(60, dtype=torch.float64), atol=1e-5)
    assert (alike.argmax(1) == torch.arange(60)).double().mean() > 0.8
    assert np.array_equal(contrastive(TRAIN, 3)(HELD), contrastive(TRAIN, 3)(HELD))


def test_the_worst_pairs_are_a_picture(tmp_path):
    samples = torch.cat([NEW[:6], planted(TRAIN[:3])])
    found = audit(TRAIN, samples, HELD, WHOSE, steps=0, names={"train": [f"t{k}" for k in range(160)]})
    assert {pair["train"] for pair in found.facts()["nearest_pairs"][:3]} == {"t0", "t1", "t2"}
    with Image.open(worst_pairs(tmp_path / "pairs.png", found, samples, TRAIN)) as picture:
        assert picture.width > 100 and picture.height > 300


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        ((TRAIN, NEW[:0], HELD), "of one size"),
        ((TRAIN, NEW[..., :40], HELD), "of one size"),
        ((TRAIN, NEW, HELD[:3]), "too few"),
    ],
)
def test_sets_that_cannot_be_compared_are_told(sets, told):
    with pytest.raises(InputError, match=told):
        audit(*sets, steps=0)


def test_an_embedding_of_few_images_and_scores_of_no_noise_are_errors():
    with pytest.raises(ValueError, match="4 images or more"):
        contrastive(TRAIN[:3])
    with pytest.raises(ValueError, match="positive noise levels"):
        scores(Memory(TRAIN[:1]), TRAIN[:1], sigmas=[0.0])
    with pytest.raises(InputError, match="finite scores"):
        attack(np.array([math.nan]), np.ones(2))
