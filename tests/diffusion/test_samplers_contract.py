"""What holds for every sampler: one signature, seeds, batches, shapes, projections, callbacks, bad input."""

import inspect
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffzoo.diffusion import samplers
from diffzoo.diffusion.noise import Gaussian
from diffzoo.diffusion.schedule import karras, time_travel

ALL = {
    "euler": samplers.euler,
    "heun": samplers.heun,
    "churn": partial(samplers.heun, churn=5.0),
    "2m": samplers.dpmpp_2m,
    "2m_sde": partial(samplers.dpmpp_2m, eta=1.0),
    "unipc": samplers.unipc,
    "ancestral": samplers.ancestral,
    "renoise": samplers.renoise,
    "ve": samplers.euler_maruyama,
    "vp": partial(samplers.euler_maruyama, sde="vp"),
    "sub_vp": partial(samplers.euler_maruyama, sde="sub_vp"),
    "pc": samplers.predictor_corrector,
    "pc_first": partial(samplers.predictor_corrector, corrector_first=True),
    "ald": samplers.annealed_langevin,
    "adaptive": samplers.adaptive,
    "pnp": samplers.plug_and_play,
}
DRAWS = ("churn", "2m_sde", "ancestral", "renoise", "ve", "vp", "sub_vp", "pc", "pc_first", "ald")
GRID = karras(6, 0.05, 5.0)


def denoise(x, sigma):
    """Not linear, and each item by itself."""
    return torch.tanh(x / (1 + sigma**2)) + 0.1 * x.flatten(1).mean(1).reshape(-1, *[1] * (x.ndim - 1))


def start(*shape):
    return 5 * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_one_signature():
    shared = ["denoise", "x", "sigmas", "noise", "project", "callback"]
    for name in set(samplers.__all__) - {"named", "noised"}:
        parameters = inspect.signature(getattr(samplers, name)).parameters
        assert list(parameters)[:6] == shared
        assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in list(parameters.values())[3:])


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(3, 1, 9), (3, 2, 5, 4), (3, 1, 3, 4, 2)])
def test_batches_and_order_do_not_matter_in_any_dimension(name, shape):
    x, seeds = start(*shape), [11, 22, 33]
    before = x.clone()
    whole = ALL[name](denoise, x, GRID, noise=Gaussian(seeds))
    again = ALL[name](denoise, x, GRID, noise=Gaussian(seeds))
    single = torch.cat([ALL[name](denoise, x[i : i + 1], GRID, noise=Gaussian([seeds[i]])) for i in range(3)])
    turned = ALL[name](denoise, x.flip(0), GRID, noise=Gaussian(seeds[::-1])).flip(0)
    assert torch.equal(whole, again) and torch.equal(x, before) and whole.shape == x.shape
    assert torch.allclose(whole, single, atol=1e-4) and torch.allclose(whole, turned, atol=1e-4)


@pytest.mark.parametrize("name", DRAWS)
def test_drawing_needs_a_noise_source_and_uses_it(name):
    x = start(2, 1, 8)
    with pytest.raises(ValueError, match="pass noise="):
        ALL[name](denoise, x, GRID)
    assert not torch.equal(*(ALL[name](denoise, x, GRID, noise=Gaussian(s)) for s in ([1, 2], [3, 4])))


@pytest.mark.parametrize("name", ALL)
def test_the_last_update_is_projected_and_reported(name):
    x, seen = start(1, 1, 8), []
    pinned = ALL[name](
        denoise,
        x,
        GRID,
        noise=Gaussian([1]),
        project=lambda v, s: torch.cat([torch.full_like(v[..., :1], 0.25), v[..., 1:]], -1),
        callback=lambda i, s, v, x0: seen.append((i, s, v, x0)),
    )
    assert (pinned[..., 0] == 0.25).all() and torch.equal(seen[-1][2], pinned)
    assert all((v[..., 0] == 0.25).all() for _, _, v, _ in seen)
    assert [i for i, *_ in seen] == list(range(len(seen))) and seen[-1][1] == 0
    if name != "adaptive":
        assert [s for _, s, *_ in seen] == GRID[1:]
        assert all(x0.shape == x.shape for *_, x0 in seen)


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (False, ["D2.0", "P1.0", "D1.0", "P1.0", "c0", "D1.0", "P0.0", "c1"]),
        (True, ["D2.0", "P2.0", "D2.0", "P1.0", "c0", "D1.0", "P1.0", "D1.0", "P0.0", "c1"]),
    ],
)
def test_order_of_half_steps_projections_and_callback(first, expected):
    log = []
    samplers.predictor_corrector(
        lambda x, s: (log.append(f"D{s}"), denoise(x, s))[1],
        start(1, 1, 8),
        [2.0, 1.0, 0.0],
        noise=Gaussian([0]),
        project=lambda x, s: (log.append(f"P{s}"), x)[1],
        callback=lambda i, s, x, x0: log.append(f"c{i}"),
        corrector_first=first,
    )
    assert log == expected


@pytest.mark.parametrize(
    ("name", "calls"), [("euler", 6), ("heun", 11), ("2m", 6), ("unipc", 6), ("pc", 11), ("ald", 19), ("pnp", 6)]
)
def test_network_calls(name, calls):
    count = 0

    def counted(x, sigma):
        nonlocal count
        count += 1
        return denoise(x, sigma)

    ALL[name](counted, start(1, 1, 8), GRID, noise=Gaussian([0]))
    assert count == calls


@pytest.mark.parametrize("name", sorted(set(ALL) - {"pnp", "adaptive"}))
def test_time_travel_grids_run_in_every_sampler(name):
    out = ALL[name](denoise, start(2, 1, 8), time_travel(GRID, 2, 3), noise=Gaussian([1, 2]))
    assert torch.isfinite(out).all() and not torch.equal(out, ALL[name](denoise, start(2, 1, 8), GRID, noise=Gaussian([1, 2])))


@pytest.mark.parametrize("grid", [[1.0], [1.0, 1.0, 0.0], [2.0, 0.0, 1.0], [float("inf"), 0.0], [-1.0, 0.0]])
def test_bad_grids(grid):
    for sampler in ALL.values():
        with pytest.raises(ValueError, match="grid"):
            sampler(denoise, start(1, 1, 8), grid, noise=Gaussian([0]))


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        (samplers.ancestral, {"eta": 1.5}),
        (samplers.renoise, {"fresh": -0.1}),
        (samplers.heun, {"churn": -1.0}),
        (samplers.dpmpp_2m, {"eta": -1.0}),
        (samplers.unipc, {"variant": "bh3"}),
        (samplers.euler_maruyama, {"sde": "edm"}),
        (samplers.predictor_corrector, {"snr": 0.0}),
        (samplers.annealed_langevin, {"step": 2.0}),
        (samplers.annealed_langevin, {"inner": 0}),
        (samplers.adaptive, {"rtol": 0.0}),
    ],
)
def test_bad_options(sampler, options):
    with pytest.raises(ValueError, match="|".join(options)):
        sampler(denoise, start(1, 1, 8), GRID, noise=Gaussian([0]), **options)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 8), st.floats(0.01, 0.5), st.floats(1.0, 50.0))
def test_a_perfect_denoiser_is_reached_from_any_grid(steps, low, high):
    truth = start(2, 1, 6)
    for name in ALL:
        end = ALL[name](lambda x, s: truth.expand_as(x), truth + high, karras(steps, low, high), noise=Gaussian([1, 2]))
        assert torch.allclose(end, truth, atol=1e-5)


def test_no_gradients_are_recorded():
    weight = torch.ones(1, requires_grad=True)
    for sampler in ALL.values():
        assert not sampler(lambda x, s: weight * x / (1 + s), start(1, 1, 8), GRID, noise=Gaussian([0])).requires_grad


def test_a_sampler_by_name_takes_its_own_options_alone():
    x, noise = start(2, 1, 9), Gaussian([1, 2])
    options = {"momentum": 0.5, "fresh": 0.9, "eta": 0.0}
    pairs = {
        "plug_and_play": samplers.plug_and_play(denoise, x, GRID, noise=noise, momentum=0.5),
        "renoise": samplers.renoise(denoise, x, GRID, noise=Gaussian([1, 2]), fresh=0.9),
        "ddim": samplers.euler(denoise, x, GRID),
        "dpmpp_2m_sde": samplers.dpmpp_2m(denoise, x, GRID, noise=Gaussian([1, 2]), eta=1.0),
    }
    for name, expected in pairs.items():
        assert torch.allclose(samplers.named(name, **options)(denoise, x, GRID, noise=Gaussian([1, 2])), expected, atol=1e-6), (
            name
        )
    with pytest.raises(ValueError, match="unknown sampler 'eular'; did you mean euler"):
        samplers.named("eular")
    with pytest.raises(ValueError, match="no sampler takes the option 'etta'"):
        samplers.named("euler", etta=1.0)
