"""Federated training of one part of a network: filters of MonaiAlgo between the weights that travel and those that train."""

import torch
from monai.fl.client.monai_algo import ExchangeObject
from torch import Tensor


class Part:
    """Takes the weights of a part out of those of the whole network, and puts what the site made of them back in their place.

    name: of the part in the whole, such as "generator". `take` stands among MonaiAlgo's pre_filters, `give_back` among its
    post_weight_filters: what travels is the whole, so the averages of all other weights are those weights. Raises ValueError
    where nothing that came belongs to the part, or weights are asked for before any came.
    """

    def __init__(self, name: str) -> None:
        self.prefix = f"{name}."
        self.weights: dict[str, Tensor] = {}

    def take(self, data: ExchangeObject, extra: dict) -> ExchangeObject:
        """The weights of the part, under the names that it knows them by."""
        own = {key.removeprefix(self.prefix): value for key, value in data.weights.items() if key.startswith(self.prefix)}
        if not own:
            raise ValueError(f"no weights of {self.prefix.rstrip('.')} came: the server averages another network")
        # arrays come, and NVFLARE takes back tensors alone
        self.weights = {key: torch.as_tensor(value) for key, value in data.weights.items()}
        data.weights = own
        return data

    def give_back(self, data: ExchangeObject, extra: dict) -> ExchangeObject:
        """The weights of the whole, those of the part as they are now."""
        if not self.weights:
            raise ValueError("no weights have come yet: a site trains before it sends")
        data.weights = self.weights | {self.prefix + key: value for key, value in data.weights.items()}
        return data


def filters(name: str) -> dict:
    """The content of a filter config of MonaiAlgo for a part."""
    return {
        "part": {"_target_": "diffzoo.zoo.federate.part.Part", "name": name},
        "pre_filters": ["$@part.take"],
        "post_weight_filters": ["$@part.give_back"],
    }
