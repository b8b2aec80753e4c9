"""The static scan: shipped bundles pass, attacks do not, and nothing that a bundle says is done."""

import logging.config
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from attacks import ATTACKS, BREAKING_KEY, INFERENCE, PNG, config, small_bundle

from diffzoo.zoo.bundle import CHECKOUT
from diffzoo.zoo.scan import Finding, scan

SHIPPED = sorted(path.name for path in CHECKOUT.iterdir() if (path / "configs").is_dir())


def refused(root: Path) -> list[Finding]:
    return [finding for finding in scan(root) if finding.severity == "refuse"]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_bundles_pass(name):
    assert refused(CHECKOUT / name) == []


@pytest.mark.parametrize("name", ["score_mri", "dolce"])
def test_the_bundle_that_is_attacked_is_clean_before(name, tmp_path):
    assert scan(small_bundle(tmp_path / "bundle", name)) == []


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_in_one_line_and_does_nothing(name, tmp_path):
    attack, canary = ATTACKS[name], tmp_path / "canary"
    root = small_bundle(tmp_path / "bundle")
    attack.apply(root, canary)
    found = refused(root)
    assert [f for f in found if f.rule == attack.rule and f.file.startswith(ascii(attack.file).strip("'"))]
    for finding in found:
        assert str(finding).isascii() and str(finding).isprintable() and len(str(finding)) < 500
        assert finding.remedy
    assert not canary.exists()


def test_there_are_enough_attacks():
    assert len(ATTACKS) >= 45


EVALUATED = (
    "os.system",
    "empty parts",
    "call",
    "deep inside",
    "LoadImage that imports",
    "disabled by expression",
    "requires",
    "quotes broken by a key",
)


@pytest.mark.parametrize("name", EVALUATED)
def test_monai_would_run_these_so_that_the_canary_is_real(name, tmp_path):
    from monai.bundle import ConfigParser

    root, canary = small_bundle(tmp_path / "bundle"), tmp_path / "canary"
    ATTACKS[name].apply(root, canary)
    parser = ConfigParser()
    parser.read_config(str(root / INFERENCE))
    where = f"{BREAKING_KEY.replace('CANARY', str(canary))}::evil" if name == "quotes broken by a key" else "evil"
    try:
        parser.get_parsed_content(where)
    except RuntimeError:  # of a reader that is no reader, after the fact
        assert name == "LoadImage that imports"
    assert canary.exists()


def test_python_would_run_a_logging_conf(tmp_path):
    root, canary = small_bundle(tmp_path / "bundle"), tmp_path / "canary"
    ATTACKS["logging arguments"].apply(root, canary)
    kept = logging.root.handlers[:], logging.root.level
    try:
        logging.config.fileConfig(root / "configs" / "logging.conf", disable_existing_loggers=False)
    finally:
        logging.root.handlers[:], level = kept
        logging.root.setLevel(level)
    assert canary.exists()


def test_the_scan_imports_nothing_that_a_config_names(tmp_path):
    root = small_bundle(tmp_path / "bundle")
    config("", "evil: {_target_: diffzoo.tasks.choose.choose}\nmore: {_target_: xml.dom.minidom.parse}").apply(root, tmp_path)
    code = f"import sys, diffzoo.zoo.trust, diffzoo.zoo.scan as s; s.scan({str(root)!r}); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "diffzoo.zoo.scan" in loaded
    assert not {"torch", "monai", "numpy", "xml.dom.minidom", "diffzoo.tasks.choose"} & set(loaded)


def test_messages_name_the_place_and_the_remedy(tmp_path):
    root = small_bundle(tmp_path / "bundle")
    config("", "train: {list: [1, {_target_: DataLoader}]}").apply(root, tmp_path)
    (finding,) = scan(root)
    assert finding.where == "train::list::1::_target_"
    assert "short name" in finding.what and finding.remedy == "write monai.data.DataLoader"


def test_leftovers_of_a_training_are_noted_and_no_reason_to_refuse(tmp_path):
    root = small_bundle(tmp_path / "bundle")
    (root / "models" / "bank").mkdir()
    for name in ("checkpoint.pt", "checkpoint.part", "train_log.jsonl", "bank/bank_128_ab.safetensors"):
        (root / "models" / name).write_bytes(b"x")
    assert {f.severity for f in scan(root)} == {"note"}
    assert {f.file for f in scan(root)} >= {"models/checkpoint.pt", "models/train_log.jsonl", "models/bank"}


def test_a_plain_state_dict_and_a_plain_picture_pass(tmp_path):
    root = small_bundle(tmp_path / "bundle")
    torch.save({"a": torch.zeros(2, 2), "n": torch.zeros((), dtype=torch.int64)}, root / "models" / "model.pt")
    (root / "docs" / "preview.png").write_bytes(PNG)
    assert scan(root) == []
    torch.save({"a": torch.nn.Linear(1, 1)}, root / "models" / "model.pt")
    assert "is a pickle" in scan(root)[0].what


def test_a_folder_that_is_not_there_is_a_finding(tmp_path):
    assert [f.rule for f in scan(tmp_path / "none")] == ["file"]
