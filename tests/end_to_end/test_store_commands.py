"""Pack, publish, fetch, list, remove, carry to a machine without a network: by the command."""

import pytest
from toy_zoo import Zoo

from diffzoo.zoo.bundle import find


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFZOO_HOME", str(tmp_path / "home"))
    made = Zoo(tmp_path / "zoo")
    told = dict.fromkeys(("description", "intended_use", "limits", "accepts", "gives"), "a toy") | {"references": []}
    made.add("0.9.0", told=told)
    made.add("0.10.0", told=told)
    made.publish()
    monkeypatch.setenv("DIFFZOO_INDEX_KEYS", made.public)
    return made


def test_a_bundle_is_offered_fetched_listed_and_removed(command, zoo):
    offered = command("list", "--index", zoo.folder)
    assert offered.code == 0 and "0.10.0" in offered.out and "0.9.0" not in offered.out
    for wanted in ("toy==0.9.0", "toy"):
        assert command("download", wanted, "--index", zoo.folder).code == 0
    here = command("list")
    assert "toy" in here.out and "0.10.0" in here.out
    gone = command("remove", "toy==0.9.0")
    assert gone.code == 0 and gone.out.strip() == "removed toy 0.9.0"
    assert command("remove", "toy==0.9.0").code == 2


def test_a_kit_carries_bundles_to_another_machine(command, zoo, tmp_path, monkeypatch):
    assert command("download", "toy", "--index", zoo.folder).code == 0
    assert command("export", tmp_path / "kit.zip").code == 0
    monkeypatch.setenv("DIFFZOO_HOME", str(tmp_path / "other"))
    assert command("import", tmp_path / "kit.zip").code == 0
    assert "toy" in command("list").out


def test_a_bundle_of_the_checkout_is_packed_and_scanned(command, tmp_path):
    done = command("pack", "score_mri", "-o", tmp_path)
    version = find("score_mri").metadata["version"]
    assert done.code == 0 and [p.name for p in tmp_path.glob("*.zip")] == [f"score_mri_v{version}.zip"]
    looked = command("scan", "score_mri")
    assert looked.code == 0 and "0 refused" in looked.out


@pytest.mark.parametrize("words", [("download", "toy", "--index", "/nowhere"), ("remove", "toy"), ("import", "none.zip")])
def test_what_is_not_there_is_one_line(command, words, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFZOO_HOME", str(tmp_path / "home"))
    answer = command(*words)
    assert answer.code == 2 and answer.complaint
