"""Simplex noise of several octaves: a smooth noise source that also corrupts large structures (AnoDDPM, Wyatt et al. 2022).

An octave is Perlin's simplex noise (2002) on the body-centred cubic lattice, whose Delaunay cells are the simplices: two cubic
grids, half a cell apart. Each vertex has a gradient g drawn evenly from Perlin's 12 edge midpoints, and the field at p is
sum_v (1/2 - |p - v|^2)_+^4 g_v . (p - v) / PEAK, which lies in [-1, 1]. An image sees a plane of random place and orientation in
that 3D field. Gradients of isotropic covariance make the power spectrum exactly isotropic and the pooled variance a closed form.
"""

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from .noise import check_batch, stream

VERTICES = 4096  # gradients of each of the two grids; a power of two
HASH = (1.0, 1173.0, 3824.0)  # vertex (i, j, k) has gradient i + 1173 j + 3824 k mod 4096: none comes again within 16 cells
PEAK = (
    0.01300716  # the largest sum of (1/2 - r^2)^4 max_g g.(p - v) over p; 0.013007157 by Nelder-Mead, (4/9)^4 / 3 of one vertex
)
# 2 vertices a cell, E[g g^T] = 2/3 I: 2 (2/3) int (1/2 - r^2)^8 r^2 dV / PEAK^2, an Euler beta integral
OCTAVE_SD = math.sqrt(8 / 3 * math.pi * 0.5**10.5 * math.gamma(2.5) * math.gamma(9) / math.gamma(11.5)) / PEAK  # 0.392
CHUNK = 2**15  # points evaluated at once on a CPU, to stay in its cache


def simplex3(points: Tensor, gradients: Tensor) -> Tensor:
    """Simplex noise in [-1, 1] of n fields at points [3, n, *S], in cells, given gradients [n, 2, VERTICES, 3] -> [n, *S]."""
    if len(points) != 3 or gradients.shape != (points.shape[1], 2, VERTICES, 3):
        raise ValueError(
            f"points [3, n, *S] need gradients [n, 2, {VERTICES}, 3], not {list(points.shape)} and {list(gradients.shape)}"
        )
    table = gradients.reshape(-1, 3).T.contiguous()
    first = 2 * VERTICES * torch.arange(points.shape[1], dtype=torch.int32, device=points.device)
    first = first.reshape(-1, *[1] * (points.ndim - 2))
    total = torch.zeros_like(points[0])
    for grid in (0, 1):
        offset = points - grid / 2
        vertex = offset.round()
        offset -= vertex
        total += _vertex_term(vertex, offset, table, first + grid * VERTICES)
        # the second vertex of the simplex on this grid lies across the nearest face of the cube; further ones are out of reach
        step = offset.abs()
        step = step.sub_(step.amax(0)).sign_().add_(1).mul_(offset.sign())
        total += _vertex_term(vertex.add_(step), offset.sub_(step), table, first + grid * VERTICES)
    return total.div_(PEAK)


def _vertex_term(vertex: Tensor, offset: Tensor, table: Tensor, first: Tensor) -> Tensor:
    """(1/2 - r^2)_+^4 g . offset; whole floats are exact here, and one conversion is cheaper than three."""
    key = (vertex[0] * HASH[0]).add_(vertex[1] * HASH[1]).add_(vertex[2] * HASH[2])
    key = key.int().bitwise_and_(VERTICES - 1).add_(first).flatten()
    slope = torch.zeros_like(offset[0])
    for gradient, along in zip(table, offset, strict=True):
        slope += gradient.index_select(0, key).view_as(along).mul_(along)
    return offset.square().sum(0).neg_().add_(0.5).clamp_(min=0).square_().square_().mul_(slope)


def octave_wavelengths(shape: Sequence[int], octaves: int | None = None, wavelength: float | None = None) -> list[float]:
    """Wavelengths nu_0 / 2^i in pixels: nu_0 defaults to a quarter of the shortest side of `shape`, at least 2.

    `octaves` None gives as many as keep 2 pixels or more, at most the paper's 6 and at least 1; a number is taken as it is.
    Raises ValueError for no octave or a wavelength that is not positive.
    """
    longest = max(min(shape) / 4, 2.0) if wavelength is None else wavelength
    if not (longest > 0 and math.isfinite(longest)):
        raise ValueError(f"the wavelength is a positive number of pixels, not {wavelength}")
    if octaves is not None and octaves < 1:
        raise ValueError(f"simplex noise needs at least one octave, not {octaves}")
    count = octaves if octaves is not None else max(1, min(6, 1 + math.floor(math.log2(longest / 2) + 1e-9)))
    return [longest / 2**i for i in range(count)]


def octave_sum_sd(octaves: int, persistence: float) -> float:
    """Standard deviation of the octave sum, pooled over fields and pixels: a closed form, the same for every size."""
    return OCTAVE_SD * math.sqrt(sum(persistence ** (2 * i) for i in range(octaves)))


class Simplex:
    """Simplex noise sum_i persistence^i S(x / nu_i), fresh for each call and channel, each batch item from its own stream.

    `seeds` has one integer an item, as for `Gaussian`: an item's noise depends neither on the batch nor on the device, up to
    rounding there. A 3D input gets a 3D field. Pooled mean 0; the sd is 0.39 an octave, 0.63 for 6 octaves of persistence 0.8,
    or 1 with `unit_variance`; the values of one field are strongly correlated, so its own mean and sd scatter. Octaves and
    wavelength (pixels): see `octave_wavelengths`. Raises ValueError for a persistence that is not positive, a batch of another
    length, a tensor that is not of real floats, or not 1 to 3 spatial axes.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        octaves: int | None = None,
        persistence: float = 0.8,
        wavelength: float | None = None,
        unit_variance: bool = False,
    ) -> None:
        if not (persistence > 0 and math.isfinite(persistence)):
            raise ValueError(f"the persistence of simplex noise is a positive number, not {persistence}")
        octave_wavelengths((8,), octaves, wavelength)  # refuses bad settings before the first call
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        self.octaves, self.persistence, self.wavelength = octaves, persistence, wavelength
        self.unit_variance = unit_variance

    def __call__(self, like: Tensor) -> Tensor:
        """like [B, C, *S] -> noise [B, C, *S] in its dtype, on its device."""
        check_batch(like, len(self.generators))
        if like.ndim not in (3, 4, 5):
            raise ValueError(f"simplex noise is made for [B, C, *S] with 1 to 3 spatial axes, not {list(like.shape)}")
        waves = octave_wavelengths(like.shape[2:], self.octaves, self.wavelength)
        weights = [self.persistence**i for i in range(len(waves))]
        if self.unit_variance:
            weights = [w / octave_sum_sd(len(waves), self.persistence) for w in weights]
        draws = [_draw_lattice(len(waves), g) for g in self.generators for _ in range(like.shape[1])]
        lattices = [torch.cat(parts).to(like.device) for parts in zip(*draws, strict=True)]
        fields = _fields(like.shape[2:], waves * len(draws), *lattices)
        octaves = fields.unflatten(0, (*like.shape[:2], len(waves))).unbind(2)
        return sum(weight * octave for weight, octave in zip(weights, octaves, strict=True)).to(like.dtype)


def _draw_lattice(octaves: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients, rotations [octaves, 3, 3] and offsets [octaves, 3] within a cell, independent for each octave."""
    edges = torch.tensor([e for e in product((-1.0, 0.0, 1.0), repeat=3) if sum(map(abs, e)) == 2])
    gradients = edges[torch.randint(12, (octaves, 2, VERTICES), generator=generator)]
    quaternions = torch.randn(octaves, 4, generator=generator)
    return gradients, _rotations(quaternions), torch.rand(octaves, 3, generator=generator)


def _rotations(quaternions: Tensor) -> Tensor:
    """Quaternions [n, 4] of any length -> rotations [n, 3, 3]; normal ones give evenly distributed rotations."""
    w, x, y, z = (quaternions / quaternions.norm(dim=1, keepdim=True)).unbind(1)
    rows = [
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def _fields(shape: Sequence[int], waves: Sequence[float], gradients: Tensor, rotations: Tensor, offsets: Tensor) -> Tensor:
    """n fields [n, *S] of one octave each, a few at a time on a CPU."""
    frames = rotations / torch.tensor(waves, device=rotations.device)[:, None, None]
    size = max(1, CHUNK // math.prod(shape)) if gradients.device.type == "cpu" else len(waves)
    parts = []
    for part in zip(gradients.split(size), frames.split(size), offsets.split(size), strict=True):
        table, frame, offset = part
        points = offset.T.reshape(3, -1, *[1] * len(shape))
        for axis, n in enumerate(shape):
            along = torch.arange(n, device=frame.device).reshape(n, *[1] * (len(shape) - 1 - axis))
            points = points + frame[:, :, axis].T.reshape(3, -1, *[1] * len(shape)) * along
        parts.append(simplex3(points, table))
    return torch.cat(parts)


class SimplexBank:
    """Precomputed 2D simplex fields, kept in float16, from which training draws random crops at the cost of a copy.

    `size` of the fields, one number or (H, W), is best larger than the crops; `wavelength` then belongs to the crop, a quarter of
    its side (default: of the field's). Field k comes from (seed, k) alone. Other settings as for `Simplex`; `device` is where the
    fields are made and kept. Raises ValueError for an empty bank or crops larger than the fields.
    """

    def __init__(
        self,
        count: int,
        size: int | Sequence[int],
        seed: int = 0,
        octaves: int | None = None,
        persistence: float = 0.8,
        wavelength: float | None = None,
        unit_variance: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        shape = _pair(size)
        if count < 1 or min(shape) < 1:
            raise ValueError(f"a bank needs at least one field of at least one pixel, not {count} of {shape[0]} x {shape[1]}")
        self.fields = torch.empty(count, *shape, dtype=torch.float16, device=device)
        for numbers in torch.arange(count).split(16):
            source = Simplex([stream(seed, k) for k in numbers.tolist()], octaves, persistence, wavelength, unit_variance)
            self.fields[numbers[0] : numbers[-1] + 1] = source(torch.empty(len(numbers), 1, *shape, device=device))[:, 0]

    def __call__(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Noise of the shape of `like` [B, C, H, W], each channel a crop of its own: a `NoiseDraw`."""
        crops = self.draw(like.shape[0] * like.shape[1], tuple(like.shape[2:]), generator)
        return crops.reshape(like.shape)

    def draw(self, batch: int, size: int | Sequence[int], generator: torch.Generator) -> Tensor:
        """Random crops [batch, 1, H, W] in float32, of random sign, flipped and, where it fits, transposed; a CPU generator."""
        (height, width), (rows, columns) = _pair(size), self.fields.shape[1:]
        if not (1 <= height <= rows and 1 <= width <= columns):
            raise ValueError(f"crops of {height} x {width} do not fit fields of {rows} x {columns}; make the bank larger")
        which = torch.randint(len(self.fields), (batch,), generator=generator)
        coins = torch.randint(2, (4, batch), generator=generator)
        place = torch.rand(2, batch, generator=generator, dtype=torch.float64)
        turned = (coins[0] == 1) & (width <= rows) & (height <= columns)
        top = (place[0] * (rows + 1 - torch.where(turned, width, height))).long()
        left = (place[1] * (columns + 1 - torch.where(turned, height, width))).long()
        down, right = (_run(n, flip) for n, flip in ((height, coins[1]), (width, coins[2])))
        origin = (which * rows + top) * columns + left
        index = down[:, :, None] * torch.where(turned, 1, columns)[:, None, None]
        index = index + right[:, None, :] * torch.where(turned, columns, 1)[:, None, None] + origin[:, None, None]
        crops = self.fields.take(index.to(self.fields.device)).float()
        return (crops * (2 * coins[3] - 1).to(crops)[:, None, None])[:, None]


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def _run(n: int, flip: Tensor) -> Tensor:
    """0 ... n - 1 for each item [B, n], backwards where flip is 1."""
    forward = torch.arange(n)
    return torch.where(flip[:, None] == 1, n - 1 - forward, forward)
