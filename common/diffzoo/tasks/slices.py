"""Slices of a volume that do not depend on each other: worked on in batches, in this process or by others."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence

from monai.inferers import Inferer
from torch import Tensor, nn

from diffzoo.tasks.progress import Counter, Progress

Part = tuple[Tensor, dict[str, Tensor]]  # of a batch of slices: images [B, C, H, W], and figures by name
Spread = Callable[[Mapping[str, Tensor], Sequence[Sequence[int]]], Iterable[Part]]  # (given, batches) -> their parts, in order


class SliceInferer(Inferer):
    """An inferer whose slices depend on no other: `part` works on a batch of them, `parts` on all, by `spread` where it is set.

    spread: what has other processes work, each with an inferer of the same config; None for this process alone.
    """

    spread: Spread | None = None
    progress: Progress | None = None
    slice_batch: int = 1

    @abstractmethod
    def part(self, network: nn.Module, given: Mapping[str, Tensor], rows: Sequence[int], counter: Counter) -> Part:
        """Works on the slices of those numbers; given: the items of a whole case, as the inferer is called with them."""

    def parts(self, network: nn.Module, given: Mapping[str, Tensor], batches: Sequence[Sequence[int]], steps: int) -> list[Part]:
        """The part of each batch, which takes so many steps of the progress display."""
        counter = Counter(self.progress, steps * len(batches), sum(map(len, batches)), self.slice_batch)
        if self.spread is None or len(batches) < 2:
            return [self.part(network, given, rows, counter) for rows in batches]
        found = []
        for part in self.spread(given, batches):
            counter.count(steps)
            found.append(part)
        return found


def in_batches(count: int, size: int) -> list[range]:
    """Numbers of so many slices, `size` of them at a time."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]
