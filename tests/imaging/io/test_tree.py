"""What a folder holds, in the layouts that people have: scans and never label maps, each with its subject and its labels."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from diffzoo.errors import InputError
from diffzoo.imaging.io.files import read_volume
from diffzoo.imaging.io.naming import session
from diffzoo.imaging.io.tree import find_cases, label_maps, owners, partners, tree_of
from diffzoo.training.datalist import entries


@pytest.fixture
def folder(tmp_path):
    """A function that makes a folder of empty files."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        return tmp_path

    return make


def scans(folder):
    return [path.relative_to(folder).as_posix() for path in find_cases(folder)]


def subjects(folder):
    tree = tree_of(folder)
    told = owners(tree.scans, folder)
    return {path.relative_to(folder).as_posix(): subject for path, subject in zip(tree.scans, told, strict=True)}


LAYOUTS = {
    "nnU-Net": (
        ["imagesTr/3T_pat07_0000.nii.gz", "imagesTr/3T_pat08_0000.nii.gz", "imagesTs/3T_pat09_0000.nii.gz"],
        ["labelsTr/3T_pat07.nii.gz", "labelsTr/3T_pat08.nii.gz", "labelsTs/3T_pat09.nii.gz"],
        ["3T_pat07", "3T_pat08", "3T_pat09"],
    ),
    "Decathlon": (
        ["imagesTr/la_003.nii.gz", "imagesTr/la_004.nii.gz"],
        ["labelsTr/la_003.nii.gz", "labelsTr/la_004.nii.gz"],
        ["la_003", "la_004"],
    ),
    "TotalSegmentator": (
        ["s0001/ct.nii.gz", "s0002/ct.nii.gz"],
        ["s0001/segmentations/liver.nii.gz", "s0002/segmentations/liver.nii.gz"],
        ["s0001", "s0002"],
    ),
    "Neurite-OASIS": (
        ["OASIS_OAS1_0001_MR1/aligned_norm.nii.gz", "OASIS_OAS1_0001_MR1/orig.nii.gz", "OASIS_OAS1_0002_MR1/aligned_norm.nii.gz"],
        ["OASIS_OAS1_0001_MR1/aligned_seg35.nii.gz", "OASIS_OAS1_0001_MR1/seg4.nii.gz"],
        ["OASIS_OAS1_0001_MR1", "OASIS_OAS1_0001_MR1", "OASIS_OAS1_0002_MR1"],
    ),
    "BIDS": (
        ["sub-01/anat/sub-01_T1w.nii.gz", "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz"],
        ["derivatives/manual/sub-01/anat/sub-01_label-lesion_mask.nii.gz"],
        ["sub-01", "sub-02"],
    ),
    "people and visits": (
        ["anna/visit1/t1.nii.gz", "anna/visit2/t1.nii.gz", "bert/visit1/t1.nii.gz", "bert/visit2/t2.nii.gz"],
        ["anna/visit1/t1_mask.nii.gz"],
        ["anna", "anna", "bert", "bert"],
    ),
    "sites": (
        ["bonn/p1/scan.nii.gz", "bonn/p2/scan.nii.gz", "oslo/p1/scan.nii.gz"],
        [],
        ["bonn/p1", "bonn/p2", "oslo/p1"],
    ),
    "LiTS": (["volume-0.nii", "volume-1.nii"], ["segmentation-0.nii", "segmentation-1.nii"], ["volume-0", "volume-1"]),
    "ACDC": (
        ["patient001/patient001_frame01.nii.gz", "patient002/patient002_frame01.nii.gz"],
        ["patient001/patient001_frame01_gt.nii.gz"],
        ["patient001", "patient002"],
    ),
    "one person's visits": (["visit1/t1.nii", "visit2/t1.nii"], [], ["t1", "t1"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_gives_its_scans_and_their_subjects_and_no_label_map(folder, layout):
    images, labels, people = LAYOUTS[layout]
    root = folder(*images, *labels)
    assert scans(root) == images
    assert subjects(root) == dict(zip(images, people, strict=True))
    assert sorted(path.relative_to(root).as_posix() for path in label_maps([root])) == sorted(labels)
    assert {Path(entry["image"]).relative_to(root).as_posix(): entry["subject"] for entry in entries(str(root), "test")} == dict(
        zip(images, people, strict=True)
    )


def test_labels_find_their_scans(folder):
    root = folder("imagesTr/a_001_0000.nii.gz", "labelsTr/a_001.nii.gz", "b/T1.nii", "b/T1_mask.nii", "c/T1.nii")
    tree = tree_of(root)
    found = {p.relative_to(root).as_posix(): q.name for p, q in partners(tree.scans, tree.labels).items()}
    assert found == {"imagesTr/a_001_0000.nii.gz": "a_001.nii.gz", "b/T1.nii": "T1_mask.nii"}
    listed = {
        Path(entry["image"]).name: Path(entry.get("mask", "")).name for entry in entries(str(root / "b"), "test", truth="mask")
    }
    assert listed == {"T1.nii": "T1_mask.nii"}


def test_other_images_in_the_folder_of_a_person_are_of_that_person(folder):
    root = folder("p1/a.nii", "p1/extra_7.nii", "p2/a.nii", "p2/more/extra_8.nii")
    assert subjects(root) == {"p1/a.nii": "p1", "p1/extra_7.nii": "p1", "p2/a.nii": "p2", "p2/more/extra_8.nii": "p2"}


def test_a_split_of_a_folder_parts_no_person(folder):
    root = folder(*(f"p{k:02}/{name}.nii" for k in range(12) for name in ("t1", "t2")))
    parts = {part: {entry["subject"] for entry in entries(str(root), part)} for part in ("training", "validation")}
    assert len(entries(str(root), "validation")) == 2 * len(parts["validation"]) > 0
    assert not parts["training"] & parts["validation"] and len(parts["training"] | parts["validation"]) == 12


def test_a_folder_of_label_maps_alone_gives_them_and_a_named_file_is_taken_as_it_is(folder):
    root = folder("labels.nii", "x/scan.nii", "x/scan_mask.nii")
    assert find_cases(root / "labels.nii") == [root / "labels.nii"] and find_cases(root / "x" / "scan_mask.nii")
    (root / "x" / "scan.nii").unlink()
    assert scans(root / "x") == ["scan_mask.nii"] and label_maps([root / "x"]) == []


@pytest.mark.parametrize(
    ("name", "told"),
    [("ses-2", True), ("visit1", True), ("ses-M12", True), ("2024-05-31", True), ("p1", False), ("s0001", False), ("7", False)],
)
def test_folders_of_sessions_name_no_person(name, told):
    assert session(name) is told


def test_links_in_a_circle_end_and_hidden_folders_are_passed_over(folder):
    root = folder("a/x.nii", ".git/annex/y.nii")
    (root / "a" / "back").symlink_to(root)
    assert scans(root) == ["a/x.nii"]


def test_results_of_a_run_below_are_no_scans_but_may_be_named(folder):
    root = folder("a.nii", "out/a_recon.nii", "out/preview.png", "out/report.json")
    assert scans(root) == ["a.nii"] and scans(root / "out") == ["a_recon.nii", "preview.png"]


def test_a_link_to_nothing_is_named_at_any_depth_and_where_nothing_else_is(folder):
    root = folder("deep/er/readme.txt", "series/notes.txt")
    (root / "series" / "IM0001").symlink_to(root / "annex" / "1")
    with pytest.raises(InputError, match="IM0001: is a link to a file that is not there"):
        find_cases(root)
    (root / "series" / "IM0001").unlink()
    (root / "deep" / "er" / "a.nii").symlink_to(root / "annex" / "2")
    with pytest.raises(InputError, match=r"a\.nii: is a link to a file that is not there"):
        find_cases(root)


@pytest.mark.skipif(os.getuid() == 0, reason="root may list any folder")
def test_a_folder_that_may_not_be_listed_is_told(folder):
    root = folder("closed/a.nii")
    (root / "closed").chmod(0)
    with pytest.raises(InputError, match="cannot be listed"):
        find_cases(root)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_a_volume_of_few_whole_numbers_is_no_scan_whatever_its_type(tmp_path, dtype):
    labels = np.random.default_rng(0).integers(0, 9, (24, 20, 12)).astype(dtype)
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "t1.nii")
    with pytest.raises(InputError, match=r"t1\.nii: has 9 values, all whole numbers: a label map, not a scan"):
        read_volume(tmp_path / "t1.nii")
    assert np.array_equal(read_volume(tmp_path / "t1.nii", allow_constant=True).numpy()[0], labels)


def test_a_scan_of_many_values_and_one_of_fractions_are_read(tmp_path):
    many = np.arange(24 * 20 * 12).reshape(24, 20, 12) % 200
    few = (np.arange(24 * 20 * 12).reshape(24, 20, 12) % 5) / 2
    for array in (many, few):
        nib.save(nib.Nifti1Image(array.astype(np.float32), np.eye(4)), tmp_path / "t1.nii")
        assert read_volume(tmp_path / "t1.nii").shape == (1, 24, 20, 12)
