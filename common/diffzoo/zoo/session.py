"""A bundle at work: its configs parsed with a person's settings, run over cases or called on arrays."""

import logging
import os
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from diffzoo.errors import InputError
from diffzoo.zoo.bundle import Bundle, find
from diffzoo.zoo.trust import check


@dataclass(frozen=True)
class Outcome:
    """What a run did: its output folder, the records of the cases that worked, and a line for each that did not."""

    folder: Path
    cases: list[dict] = field(default_factory=list)
    failures: list[tuple[str, Exception]] = field(default_factory=list)


def parse(bundle: Bundle, configs: Sequence[str], overrides: Mapping):
    """The MONAI config parser of some configs of a bundle, laid over each other in order, with overrides by id."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config([str(bundle.config(name)) for name in configs])
    for key, value in {"bundle_root": str(bundle.root), **overrides}.items():
        parser[key] = value
    parser.parse()
    return parser


class Failure(Exception):
    """An unforeseen error of one case, in one line."""


def in_one_line(error: BaseException) -> str:
    """The kind and the first line of an error, of what MONAI or Ignite wrapped the cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


class Session:
    """The parsed configs of a bundle; weights and network are made once, on first use.

    configs: "inference" and overlays such as "published" or "evaluate"; settings: parameters by name, checked; device: "auto",
    "cpu" or "cuda"; trust: whether a person lets pass what the scan refuses. Raises InputError for what does not fit.
    """

    def __init__(
        self,
        bundle: Bundle | str,
        configs: Sequence[str] = ("inference",),
        settings: Mapping | None = None,
        device: str = "auto",
        output_dir: str | Path = "out",
        quiet: bool = True,
        trust: bool = False,
    ) -> None:
        self.bundle = find(bundle) if isinstance(bundle, str) else bundle
        self.trust = check(self.bundle, trust)
        checked = self.bundle.checked(settings or {}, configs)
        self.arguments = {"bundle": self.bundle, "configs": tuple(configs), "settings": checked, "device": device}
        self.arguments |= {"output_dir": str(output_dir), "quiet": True, "trust": trust}  # of the same session elsewhere
        plumbing = {"device_name": device, "output_dir": str(output_dir), "dataset::data": [{}]}  # cases come one by one
        plumbing["report::trust"] = self.trust
        plumbing["report::parameters"] = self.bundle.reported(configs) | checked
        if quiet:
            plumbing["inferer::progress"] = None
        with quiet_monai():
            self.parser = parse(self.bundle, configs, checked | plumbing)
        self.folder, self.configs = Path(output_dir), list(configs)
        own, defaults = self.bundle.parameters(), self.bundle.parameters(configs)
        self.changed = {key: value for key, value in checked.items() if key in own and value != defaults[key].default}
        if checked.get("autocast"):
            from diffzoo.tasks.device import check_precision

            check_precision(checked["autocast"], self.get("device"))

    def get(self, name: str):
        """A parsed component of the config; InputErrors inside it come out as they are."""
        with quiet_monai(), unwrapped():
            return self.parser.get_parsed_content(name)

    def expanded(self, cases: Sequence[Mapping]) -> list[dict]:
        """The cases that a config makes of those that were listed (its `expand`): synthetic ones of each scan, for instance.

        InputError for an image that was given a role where no role is known.
        """
        if "expand" in self.parser:
            return self.get("expand")(cases)
        if roles := [case["role"] for case in cases if "role" in case]:
            raise InputError(f"{self.bundle.name} takes one image, without a role: write -i FILE, not -i {roles[0]}=FILE")
        return list(cases)

    def from_nothing(self) -> list[dict]:
        """The cases that a bundle draws without an input (its `nothing`); InputError for one that needs an input."""
        if "nothing" not in self.parser:
            raise InputError(f"{self.bundle.name} draws nothing by itself: give --input, {self.bundle.metadata['accepts']}")
        return self.get("nothing")

    def run(self, cases: Sequence[Mapping], on_case: Callable[[dict], None] | None = None, command: str = "") -> Outcome:
        """Runs every case; one that fails is noted and the others go on. command: what the report tells of how it was called."""
        dataset, evaluator = self.get("dataset"), self.get("evaluator")
        report = self.get("report")
        report.begin(cases, self.configs, command, self.changed)
        evaluator.interrupt_resume_enabled = False  # else Ignite takes the case after a failed one for the end of that one
        outcome = Outcome(self.folder)
        for case in cases:
            dataset.data = [dict(case)]
            error = self._attempt(evaluator)
            if error is not None:
                outcome.failures.append((case["case"], error))
                report.note_failure(case["case"], error, str(self.get("device")))
                continue
            outcome.cases.append(report.cases[-1])
            if on_case is not None:
                on_case(report.cases[-1])
        return outcome

    @staticmethod
    def _attempt(evaluator) -> Exception | None:
        """Runs one case; what went wrong, whatever it was, so that the other cases go on."""
        try:
            with quiet_monai(), unwrapped():
                evaluator.run()
        except (InputError, Failure) as error:
            return error
        except Exception as error:
            if os.environ.get("DIFFZOO_DEBUG"):
                traceback.print_exception(error)
            return Failure(in_one_line(error))
        return None

    def predict(self, image, **others) -> dict:
        """Outputs by name for a tensor [H, W] or [H, W, D] with an affine, in its own axes and units, as tensors of its shape.

        others: further arrays of the case, such as moving of a registration. What has several values a voxel has them first.
        """
        import torch

        network, inferer = self.get("network"), self.get("inferer")
        with quiet_monai(), unwrapped():
            item = self.get("preprocessing")({"image": image, "case": "array", **others})
            device = self.get("device")
            keys = {key: torch.as_tensor(item[key])[None].to(device) for key in inferer.conditions}
            pred = inferer(item["image"][None].to(device), network.to(device), **keys)
            item = self.get("postprocessing")(item | {"pred": pred[0].cpu()})
        arrays = {key: item[key] for key in self.get("report").volumes if key in item}
        arrays = {key: volume[0] if len(volume) == 1 else volume for key, volume in arrays.items()}
        return {key: volume[..., 0] if image.ndim == 2 else volume for key, volume in arrays.items()}


class unwrapped:
    """Lets an InputError that a library wrapped in its own exceptions come out, and a ValueError of this package as one.

    Rooms that import torch alone know no InputError: their ValueErrors are what a person's settings or data do not allow.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> bool:
        cause = error
        while cause is not None and not _tells_of_input(cause):
            cause = cause.__cause__ or cause.__context__
        if cause is None or isinstance(error, InputError):
            return False
        raise (cause if isinstance(cause, InputError) else InputError(str(cause))) from error


def _tells_of_input(error: BaseException) -> bool:
    if not isinstance(error, ValueError) or isinstance(error, InputError):
        return isinstance(error, InputError)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals.get("__name__", "").startswith("diffzoo.")


class quiet_monai:
    """Keeps MONAI's log lines and its notice about configs off a person's screen; errors still come as exceptions."""

    def __enter__(self) -> None:
        self.level = logging.root.manager.disable
        if not os.environ.get("DIFFZOO_DEBUG"):
            logging.disable(logging.ERROR)
        self.filters = warnings.catch_warnings()
        self.filters.__enter__()
        if not os.environ.get("DIFFZOO_DEBUG"):
            warnings.simplefilter("ignore")

    def __exit__(self, *failure) -> None:
        self.filters.__exit__(*failure)
        logging.disable(self.level)
