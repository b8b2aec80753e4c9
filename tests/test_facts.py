"""What reports tell of the input: names without folders, and hashes of all that was read."""

import hashlib

from diffzoo.facts import bare, input_facts, sha256


def test_a_report_names_no_folder():
    assert bare("/home/somebody/scan.nii.gz") == "scan.nii.gz" and bare("t1=/home/somebody/scan.nii") == "t1=scan.nii"
    assert bare("/home/a=b/scan.nii") == "scan.nii" and bare("--device") == "--device" and bare(3) == 3 and bare(None) is None


def test_a_file_has_its_own_hash(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"a")
    assert input_facts(tmp_path / "a.nii") == {"name": "a.nii", "sha256": hashlib.sha256(b"a").hexdigest()}


def test_a_series_has_one_hash_whatever_its_files_are_called(tmp_path):
    for folder, names in (("one", "ab"), ("two", "dc")):
        (tmp_path / folder).mkdir()
        for name, content in zip(names, (b"first", b"second"), strict=True):
            (tmp_path / folder / name).write_bytes(content)
    one, two = (input_facts(tmp_path / folder)["sha256"] for folder in ("one", "two"))
    (tmp_path / "two" / "c").write_bytes(b"changed")
    assert one == two != input_facts(tmp_path / "two")["sha256"]


def test_data_beside_a_header_count(tmp_path):
    (tmp_path / "a.mhd").write_bytes(b"header")
    alone = input_facts(tmp_path / "a.mhd")["sha256"]
    (tmp_path / "a.raw").write_bytes(b"values")
    assert alone == sha256(tmp_path / "a.mhd") != input_facts(tmp_path / "a.mhd")["sha256"]
