"""Slices worked on in batches: here, or by whatever `spread` stands for, with one progress display."""

import torch

from diffzoo.tasks.slices import SliceInferer, in_batches


class Doubled(SliceInferer):
    """Twice each slice, in three steps."""

    slice_batch = 2

    def __init__(self) -> None:
        self.told: list[tuple] = []
        self.progress = lambda *words: self.told.append(words)

    def __call__(self, inputs, network):
        return torch.cat([found for found, _ in self.parts(network, {"image": inputs}, in_batches(len(inputs), 2), 3)])

    def part(self, network, given, rows, counter):
        for _ in range(3):
            counter(0, 1.0, given["image"], given["image"])
        return 2 * given["image"][list(rows)], {"rows": torch.tensor(list(rows))}


IMAGE = torch.arange(5.0).view(5, 1, 1, 1)
BATCHES = in_batches(5, 2)


def test_batches_hold_every_slice_once():
    assert [list(rows) for rows in BATCHES] == [[0, 1], [2, 3], [4]] and in_batches(0, 3) == []


def test_parts_come_in_order_whoever_works_on_them_and_the_progress_ends_at_the_same():
    here, there, asked = Doubled(), Doubled(), []

    def spread(given, batches):
        asked.append((given, batches))
        other = Doubled()  # as in another process: its progress is not seen
        yield from (other.part(None, given, rows, lambda *step: None) for rows in batches)

    there.spread = spread
    for inferer in (here, there):
        parts = inferer.parts(None, {"image": IMAGE}, BATCHES, steps=3)
        assert torch.equal(torch.cat([found for found, _ in parts]), 2 * IMAGE)
        assert [figures["rows"].tolist() for _, figures in parts] == [[0, 1], [2, 3], [4]]
        assert inferer.told[-1] == (9, 9, "slices 5 of 5")
    assert [done for done, *_ in there.told] == [3, 6, 9] and len(here.told) == 9  # a batch at a time
    assert asked == [({"image": IMAGE}, BATCHES)]


def test_a_single_batch_stays_here():
    inferer = Doubled()
    inferer.spread = lambda given, batches: 1 / 0
    assert torch.equal(inferer(IMAGE[:2], None), 2 * IMAGE[:2])
