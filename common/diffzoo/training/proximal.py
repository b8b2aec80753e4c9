"""The proximal term of federated training, which keeps a site near the weights that it was sent (FedProx: Li et al. 2020)."""

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn


class Proximal:
    """mu / 2 |W - W_0|^2 over the parameters that train (eq. 2), W_0 being the weights at the start of an engine's run.

    A federated client begins each round with the global weights and a run of its engine, so this handler takes them there; a
    training step adds the term to its objective. Stands after whatever loads weights in the list of handlers. With mu = 0 nothing
    is kept and nothing added. Raises ValueError for a negative mu, and where it is asked for the term before any run.
    """

    def __init__(self, mu: float = 0.0) -> None:
        if mu < 0:
            raise ValueError(f"mu of the proximal term must not be negative, not {mu}: 0 turns it off")
        self.mu, self.start = mu, []

    def attach(self, engine: Engine) -> None:
        if self.mu:
            engine.add_event_handler(Events.STARTED, self._begin)

    def _begin(self, engine: Engine) -> None:
        self.start = [p.detach().clone() for p in _trained(engine.network)]

    def __call__(self, network: nn.Module) -> Tensor:
        """The term, a scalar."""
        if not self.start:
            raise ValueError("a proximal term has no weights to stay near: name it among the handlers of the trainer too")
        pairs = zip(_trained(network), self.start, strict=True)
        return 0.5 * self.mu * torch.stack([(p - start).square().sum() for p, start in pairs]).sum()


def _trained(network: nn.Module) -> list[nn.Parameter]:
    return [p for p in network.parameters() if p.requires_grad]
