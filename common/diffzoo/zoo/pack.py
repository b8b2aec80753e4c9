"""A bundle as one file to publish: its content, twins for stock clients, and a manifest, in a zip that is the same every time."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from diffzoo.atomic import atomic
from diffzoo.errors import InputError
from diffzoo.zoo.archive import MANIFEST, check_path, manifest_of, sha256_of, write_zip
from diffzoo.zoo.scan import files
from diffzoo.zoo.scan.finding import Finding
from diffzoo.zoo.versions import check_name, order

WEIGHTS, MODEL, METADATA = "models/model.safetensors", "models/model.pt", "configs/metadata.json"
LONGEST_LINE = 300
MOST_TEXT = 4 * 2**20  # bytes of a config or of metadata


def pack(root: str | Path, output_dir: str | Path) -> Path:
    """Writes NAME_vVERSION.zip of the bundle at `root` into `output_dir` and returns its path; equal content gives equal bytes.

    One top folder NAME: the bundle's files, models/model.pt (the tensors of the weight file, in fp32), a JSON twin of each YAML
    config, and manifest.json with the sha256 and size of each file. Raises InputError for metadata that lacks what an index
    tells, a file of a kind that bundles do not hold, a link, or a config that JSON cannot tell.
    """

    root = Path(root).resolve()
    if not root.is_dir():
        raise InputError(f"{root} is no folder: give the folder of a bundle")
    facts = described(root)
    if facts["name"] != root.name:
        raise InputError(f"the folder is named {root.name}, the bundle in it {facts['name']}: make them equal")
    files_in: dict[str, Path | bytes] = {**content(root), **twins(root)}
    files_in[MANIFEST] = manifest_of(facts["name"], facts["version"], files_in)
    target = Path(output_dir) / pack_name(facts["name"], facts["version"])
    with atomic(target) as temporary:
        write_zip(temporary, {f"{root.name}/{path}": files_in[path] for path in files_in})
    return target


def pack_name(name: str, version: str) -> str:
    """The file name of a pack."""
    return f"{name}_v{version}.zip"


def content(root: Path) -> dict[str, Path]:
    """What a bundle holds of its own, by path: not what `pack` makes or a training leaves; InputError for others."""
    generated = {MANIFEST, MODEL, *(_twin_name(path) for path in _yaml_configs(root))}
    return {check_path(path): root / path for path in _plain_files(root) if path not in generated}


def _plain_files(root: Path) -> list[str]:
    """Paths of a bundle's files; InputError for code, pickles, links and whatever else the scan refuses by its name or kind."""
    names = []
    for problem in files.check(root):
        if not isinstance(problem, Finding):
            names.append(str(problem[0]))
        elif problem.severity == "refuse":
            raise InputError(f"{problem.file} is refused: {problem.what}; {problem.remedy}")
    if "configs/metadata.yaml" in names:
        raise InputError("configs/metadata.yaml is refused: its twin would be configs/metadata.json, write that one")
    return names


def described(root: Path) -> dict:
    """What an index tells of a bundle: name, version, task, headline, licenses, minimum versions of diffzoo and MONAI.

    Raises InputError where metadata.json lacks one of these, or where the weights are not those that it names.
    """
    metadata = _metadata(root)
    facts = {key: metadata.get(key) for key in ("name", "version", "task", "headline")}
    facts["licenses"] = metadata.get("licenses")
    facts["min_monai"] = metadata.get("monai_version")
    packages = metadata.get("required_packages_version")
    facts["min_diffzoo"] = packages.get("diffzoo") if isinstance(packages, Mapping) else None
    check_facts(facts, METADATA)
    if not (root / WEIGHTS).is_file():
        raise InputError(f"{facts['name']} has no weights yet: {WEIGHTS} is missing")
    if metadata.get("weights_sha256") != sha256_of(root / WEIGHTS):
        raise InputError(f"weights_sha256 in {METADATA} is not the sha256 of {WEIGHTS}")
    return facts


def _metadata(root: Path) -> dict:
    try:
        document = json.loads(_text(root / METADATA))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{METADATA} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"{METADATA} is no JSON object")
    return document


def _text(path: Path) -> str:
    if path.stat().st_size > MOST_TEXT:
        raise InputError(f"{path.name} is longer than {MOST_TEXT // 2**20} MiB")
    return path.read_text(encoding="utf-8")


def check_facts(facts: Mapping, where: str) -> None:
    """InputError where what `described` gives is not whole and printable."""
    check_name(facts["name"])
    order(facts["version"])
    licenses = facts["licenses"]
    lines = {key: facts[key] for key in ("task", "headline", "min_monai", "min_diffzoo")}
    for what in ("code", "weights", "data"):
        lines[f"licenses.{what}"] = licenses.get(what) if isinstance(licenses, Mapping) else None
    for key, line in lines.items():
        key = {"min_monai": "monai_version", "min_diffzoo": "required_packages_version.diffzoo"}.get(key, key)
        if not isinstance(line, str) or not line.strip():
            raise InputError(f"{where} lacks {key} of {facts['name']}, which an index must tell")
        if not line.isprintable() or len(line) > LONGEST_LINE:
            raise InputError(f"{where}: {key} of {facts['name']} is not one line of at most {LONGEST_LINE} printable characters")


def _yaml_configs(root: Path) -> list[str]:
    return sorted(f"configs/{path.name}" for path in (root / "configs").glob("*.yaml"))


def _twin_name(path: str) -> str:
    return path.removesuffix(".yaml") + ".json"


def twins(root: Path) -> dict[str, bytes]:
    """The files that stock clients ask for, by path: models/model.pt and a JSON config beside each YAML config."""
    copies = {}
    for path in _yaml_configs(root):
        value = _yaml(root / path)
        try:
            text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"{path} cannot be told in JSON, which stock clients read: {error}") from error
        if json.loads(text) != value:
            raise InputError(f"{path} cannot be told in JSON, which stock clients read: use text for all keys")
        copies[_twin_name(path)] = (text + "\n").encode()
    copies[MODEL] = _model_twin(root / WEIGHTS)
    return copies


def _yaml(path: Path):
    try:
        return yaml.safe_load(_text(path))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path.name} is not YAML: {str(error).splitlines()[0]}") from error


def _tensors(weights: Path) -> dict:
    from safetensors.torch import load_file

    try:
        state = load_file(weights)
    except Exception as error:  # of safetensors' own kinds
        raise InputError(f"{weights.name} is not a whole safetensors file: {error}") from error
    return {name: (value.float() if value.is_floating_point() else value) for name, value in sorted(state.items())}


def _model_twin(weights: Path) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(_tensors(weights), buffer)
    return buffer.getvalue()


def check_content(root: Path) -> dict:
    """Checks an unpacked pack beyond its manifest and returns its facts, as `described` does.

    The weights must be those that metadata names, model.pt must hold their tensors and nothing else (read without running what a
    pickle may hold), and each JSON twin must say what its YAML says, for else a scan of one would tell nothing of the other.
    Raises InputError otherwise.
    """
    _plain_files(root)
    facts = described(root)
    for path in _yaml_configs(root):
        twin = root / _twin_name(path)
        try:
            same = json.loads(_text(twin)) == _yaml(root / path)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{_twin_name(path)} cannot be read: {error}") from error
        if not same:
            raise InputError(f"{_twin_name(path)} does not say what {path} says: the pack was not made by `diffzoo pack`")
    if (root / MODEL).exists():
        _check_model(root / MODEL, root / WEIGHTS)
    return facts


def _check_model(model: Path, weights: Path) -> None:
    import pickle

    import torch

    refused = InputError(f"{MODEL} is refused: it is not the plain tensors of {WEIGHTS}, and a pickle can hold code")
    try:
        with zipfile.ZipFile(model) as archive:
            entries = archive.infolist()
        if any(e.compress_type for e in entries) or len({e.filename for e in entries}) < len(entries):
            raise refused
        state = torch.load(model, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, ValueError, EOFError) as error:
        raise refused from error
    expected = _tensors(weights)
    if not isinstance(state, dict) or state.keys() != expected.keys():
        raise refused
    for name, value in expected.items():
        if not isinstance(state[name], torch.Tensor) or state[name].dtype != value.dtype or not torch.equal(state[name], value):
            raise refused


def pack_facts(path: str | Path, workspace: str | Path) -> dict:
    """What an index tells of a pack: `described`, and its file name, size, sha256 and that of its manifest.

    The pack is unpacked below `workspace` and checked as an installation checks it; InputError where it would be refused.
    """
    from diffzoo.zoo.archive import open_zip, unpack

    path = Path(path)
    with open_zip(path) as archive:
        tops = {entry.filename.split("/")[0] for entry in archive.infolist()}
    if len(tops) != 1:
        raise InputError(f"{path.name} has not one top folder: make it with `diffzoo pack`")
    top = check_name(tops.pop())
    manifest = unpack(path, Path(workspace), top)
    facts = check_content(Path(workspace) / top)
    if (manifest["name"], manifest["version"]) != (facts["name"], facts["version"]) or facts["name"] != top:
        raise InputError(f"{path.name}: folder, manifest and metadata tell different names or versions")
    if path.name != pack_name(facts["name"], facts["version"]):
        raise InputError(f"{path.name} must be named {pack_name(facts['name'], facts['version'])}")
    digest = hashlib.sha256((Path(workspace) / top / MANIFEST).read_bytes()).hexdigest()
    return facts | {"file": path.name, "size": path.stat().st_size, "sha256": sha256_of(path), "manifest_sha256": digest}
