"""The proximal term of federated training, which keeps a site near the weights that it was sent (FedProx: Li et al. 2020)."""

from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim import Optimizer


class Proximal:
    """Adds mu / 2 |W - W_0|^2 to the objective of any training, W being the weights that the engine's optimizer moves (eq. 2).

    W_0 are the weights at the start of an engine's run: a federated client begins each round with the global weights and a run of
    its engine. The gradient mu (W - W_0) joins that of the loss just before the optimizer's step, after it has been clipped; the
    term stands in the engine's output as "proximal". Stands after whatever loads weights in the list of handlers. With mu = 0
    nothing is kept and nothing added. Raises ValueError for a negative mu.
    """

    def __init__(self, mu: float = 0.0) -> None:
        if mu < 0:
            raise ValueError(f"mu of the proximal term must not be negative, not {mu}: 0 turns it off")
        self.mu, self.term, self.hook = mu, 0.0, None
        self.start: list[tuple[nn.Parameter, Tensor]] = []

    def attach(self, engine: Engine) -> None:
        if self.mu:
            engine.add_event_handler(Events.STARTED, self._begin)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._tell)

    def _begin(self, engine: Engine) -> None:
        moved = [p for group in engine.optimizer.param_groups for p in group["params"] if p.requires_grad]
        self.start = [(p, p.detach().clone()) for p in moved]
        if self.hook is not None:
            self.hook.remove()
        self.hook = engine.optimizer.register_step_pre_hook(self._pull)

    def _pull(self, optimizer: Optimizer, *_) -> None:
        self.term = 0.0
        for p, start in self.start:
            way = p.detach() - start
            self.term += 0.5 * self.mu * way.square().sum().item()
            p.grad = self.mu * way if p.grad is None else p.grad.add_(way, alpha=self.mu)

    def _tell(self, engine: Engine) -> None:
        engine.state.output["proximal"] = self.term
