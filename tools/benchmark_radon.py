"""Time, accuracy and adjointness of the X-ray transform beside scikit-image's and, where it is installed, astra-toolbox's.

python tools/benchmark_radon.py [--size 256] [--views 60] [--batch 8] [--threads 1]

Milliseconds an image of A and of A^T, one image alone and in a batch (the median of several calls), and the seconds to build the
operator. "error": relative L2 error of A on a pixel image of the modified Shepp-Logan head against its exact sinogram, as point
rays and as means over the width of a bin. "adjoint": |s A^T - (A)^T| / |A| by the full matrices at 32 x 32 pixels and 24 views,
with the best scale s. scikit-image turns the image about pixel N // 2 rather than its middle: its exact sinogram is moved
accordingly.
"""

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffzoo.imaging.ellipses import Ellipse, ellipse_image, ellipse_sinogram, shepp_logan
from diffzoo.operators.beams import ParallelBeam, arc
from diffzoo.operators.radon import Radon

SMALL, FEW = 32, 24  # pixels and views of the full matrices


class Projector(NamedTuple):
    """A takes images [B, N, N] to sinograms [B, views, N], AT back; it turns about `shift` pixels beyond the middle."""

    A: Callable[[Tensor], Tensor]
    AT: Callable[[Tensor], Tensor]
    shift: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--views", type=int, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.size} x {options.size} pixels, {options.views} views of half a turn, {options.threads} thread(s)")
    batched = f"batch {options.batch}"
    print(
        f"{'':22}{'build':>7}  {'A ms':>7}{batched:>9}  {'A^T ms':>7}{batched:>9}  {'error: rays':>11}{'bins':>8}  {'adjoint':>8}"
    )
    for name, make in projectors().items():
        print(row(name, make, options), flush=True)


def projectors() -> dict[str, Callable[[int, tuple[float, ...]], Projector]]:
    """Functions (size, angles) -> Projector by name; a library that is not installed is named and left out."""
    libraries = {"diffzoo, matrix": ours, "diffzoo, matrix-free": lambda size, angles: ours(size, angles, 0)}
    for module, more in (("skimage", {"scikit-image": scikit}), ("astra", {"astra CPU, linear": astra_linear})):
        if importlib.util.find_spec(module):
            libraries |= more
        else:
            print(f"{module} is not installed: left out")
    return libraries


def row(name: str, make: Callable[[int, tuple[float, ...]], Projector], options: argparse.Namespace) -> str:
    angles = arc(180, options.views)
    begin = time.perf_counter()
    op = make(options.size, angles)
    build = time.perf_counter() - begin
    head = shepp_logan(0.97 * options.size / 2)
    image = ellipse_image(head, (options.size, options.size))[0]
    y = op.A(image)
    times = [
        milliseconds(function, x.repeat(count, 1, 1)) / count
        for function, x in ((op.A, image), (op.AT, y))
        for count in (1, options.batch)
    ]
    errors = [relative(y, exact(head, options.size, angles, op.shift, rays)) for rays in (1, 8)]
    return (
        f"{name:22}{build:6.2f}s  {times[0]:7.1f}{times[1]:9.2f}  {times[2]:7.1f}{times[3]:9.2f}  "
        f"{errors[0]:11.2%}{errors[1]:8.2%}  {adjoint_error(make):8.1e}"
    )


def milliseconds(function: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Median over calls that together take about a second, five at least, after one to warm up."""
    function(x)
    times: list[float] = []
    while len(times) < 5 or sum(times) < 1:
        begin = time.perf_counter()
        function(x)
        times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times)


def exact(head: tuple[Ellipse, ...], size: int, angles: tuple[float, ...], shift: float, rays: int) -> Tensor:
    """The sinogram [1, views, size] about a centre of rotation `shift` pixels beyond the middle of the image."""
    moved = [replace(e, centre=(e.centre[0] - shift, e.centre[1] - shift)) for e in head]
    return ellipse_sinogram(moved, ParallelBeam(angles, size, offset=-shift), rays)[0]


def relative(sinogram: Tensor, wanted: Tensor) -> float:
    return float((sinogram - wanted).norm() / wanted.norm())


def adjoint_error(make: Callable[[int, tuple[float, ...]], Projector]) -> float:
    op = make(SMALL, arc(180, FEW))
    x = torch.arange(SMALL) - (SMALL - 1) / 2
    inside = (torch.hypot(x[:, None], x[None]) < SMALL / 2 - 2).flatten()  # scikit-image leaves out what is beyond the circle
    forward = op.A(torch.eye(SMALL**2).reshape(-1, SMALL, SMALL)[inside]).flatten(1).mT.double()
    back = op.AT(torch.eye(FEW * SMALL).reshape(-1, FEW, SMALL)).flatten(1).mT.double()[inside].mT
    return relative(back * ((back * forward).sum() / back.square().sum()), forward)


def ours(size: int, angles: tuple[float, ...], max_bytes: int = 2**30) -> Projector:
    op = Radon(ParallelBeam(angles, size), (size, size), max_bytes=max_bytes)
    return Projector(lambda x: op.A(x[:, None])[:, 0], lambda y: op.AT(y[:, None])[:, 0])


def scikit(size: int, angles: tuple[float, ...]) -> Projector:
    from skimage.transform import iradon, radon

    theta = np.rad2deg(angles) - 90  # its detector lies along axis 1 at angle 0

    def forward(x: Tensor) -> Tensor:
        return torch.stack([torch.from_numpy(radon(image, theta, circle=True).T) for image in x.numpy()])

    def back(y: Tensor) -> Tensor:
        return torch.stack([torch.from_numpy(iradon(views.T, theta, filter_name=None, circle=True)) for views in y.numpy()])

    return Projector(forward, back, size // 2 - (size - 1) / 2)


def astra_linear(size: int, angles: tuple[float, ...]) -> Projector:
    import astra

    volume = astra.create_vol_geom(size, size)
    rays = astra.create_proj_geom("parallel", 1.0, size, np.asarray(angles) - np.pi / 2)  # as scikit-image's
    projector = astra.create_projector("linear", rays, volume)

    def run(create: Callable, items: Tensor) -> Tensor:
        sinograms = []
        for item in items.numpy():
            number, data = create(item, projector)
            astra.data2d.delete(number)
            sinograms.append(torch.from_numpy(data))
        return torch.stack(sinograms)

    return Projector(lambda x: run(astra.create_sino, x), lambda y: run(astra.create_backprojection, y))


if __name__ == "__main__":
    main()
