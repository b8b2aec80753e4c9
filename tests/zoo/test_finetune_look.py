"""The data of a fine-tuning: whose scans they are, what goes with them, how they are split, and what is said of bad ones."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from finetune_toy import folder_of, write_mask, write_scan
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from diffzoo.errors import InputError
from diffzoo.imaging.io.naming import contrast_of, mask_base, modality_of, subject_of
from diffzoo.zoo.finetune.find import Scan, find_scans
from diffzoo.zoo.finetune.look import Look, Seen, look_at
from diffzoo.zoo.finetune.split import pseudonyms, shared, split

MR = {"modality": "MR", "spacing_mm": [0.5, 2.0], "min_size": 16}


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("sub-07/ses-1/anat/sub-07_ses-1_T1w.nii.gz", "sub-07"),
        ("ms_l09_flair.nii.gz", "ms_l09"),
        ("ms_l09_t2_flair_brain.nii.gz", "ms_l09"),
        ("IXI002-Guys-0828-T1.nii.gz", "IXI002-Guys-0828"),
        ("sct_errsm30_t2s.nii.gz", "sct_errsm30"),
        ("patient4/T1.nii.gz", "patient4"),
        ("case_01_b.nii.gz", "case_01"),
        ("head.nii.gz", "head"),
        ("t1map_of_nobody.nii.gz", "t1map_of_nobody"),  # nothing is before the contrast, and there is no folder
        ("art1st.nii.gz", "art1"),  # no contrast
    ],
)
def test_whose_scan_it_is(path, subject):
    assert subject_of(Path(path), Path(path).name.removesuffix(".nii.gz")) == subject


def test_a_pattern_tells_subjects_by_its_first_group():
    path = Path("ward3/20240101_x77.nii.gz")
    assert subject_of(path, "20240101_x77", r"_x(\d+)") == "77" and subject_of(path, "20240101_x77", "ward.") == "ward3"
    with pytest.raises(InputError, match="must fit every scan"):
        subject_of(path, "20240101_x77", "y")


@pytest.mark.parametrize(
    ("name", "contrast", "modality"),
    [
        ("a_T1w", "T1", "MR"),
        ("a_t2_flair", "FLAIR", "MR"),
        ("a_t2s", "T2*", "MR"),
        ("a-T2", "T2", "MR"),
        ("a_ct", "CT", "CT"),
        ("doctor", None, None),
        ("a_pet", "PET", "PET"),
    ],
)
def test_what_a_name_tells(name, contrast, modality):
    assert contrast_of(name) == contrast and modality_of(name) == modality


@pytest.mark.parametrize(
    ("stem", "base"),
    [
        ("case_01_lesion", "case_01"),
        ("case_01_Mask", "case_01"),
        ("sub-1_ses-2_label-lesion_mask", "sub-1_ses-2"),
        ("heart_dseg", "heart"),
        ("labels", ""),
        ("case_01", None),
        ("unmasked", None),
    ],
)
def test_what_a_mask_belongs_to(stem, base):
    assert mask_base(stem) == base


def test_a_folder_gives_its_scans_with_their_masks(tmp_path):
    write_scan(tmp_path / "a1_t1.nii.gz"), write_mask(tmp_path / "a1_t1_mask.nii.gz")
    write_scan(tmp_path / "deep" / "b2_t1.nii.gz"), write_mask(tmp_path / "deep" / "b2_lesion.nii.gz")
    write_scan(tmp_path / "c3_t1.nii.gz")
    found = {scan.name: scan for scan in find_scans(tmp_path, "mask")}
    assert list(found) == ["a1_t1.nii.gz", "c3_t1.nii.gz", "deep/b2_t1.nii.gz"]
    assert Path(found["a1_t1.nii.gz"].more["mask"]).name == "a1_t1_mask.nii.gz"
    assert Path(found["deep/b2_t1.nii.gz"].more["mask"]).name == "b2_lesion.nii.gz" and not found["c3_t1.nii.gz"].more
    assert not any(scan.more for scan in find_scans(tmp_path))  # a bundle without masks takes none, and no mask for a scan


def test_a_mask_of_one_person_is_not_that_of_another_with_the_same_names(tmp_path):
    for name in ("p1", "p2"):
        write_scan(tmp_path / name / "T1.nii.gz")
    write_mask(tmp_path / "p1" / "T1_mask.nii.gz")
    one, other = find_scans(tmp_path, "mask")
    assert (one.subject, other.subject) == ("p1", "p2") and one.more and not other.more


def test_a_bids_tree_gives_its_anatomy_and_the_masks_of_its_derivatives(tmp_path):
    for k in (1, 2):
        write_scan(tmp_path / f"sub-{k}" / "anat" / f"sub-{k}_T1w.nii.gz")
        write_mask(tmp_path / "derivatives" / "manual" / f"sub-{k}" / "anat" / f"sub-{k}_label-lesion_mask.nii.gz")
    write_scan(tmp_path / "sub-1" / "func" / "sub-1_task-rest_bold.nii.gz")
    write_scan(tmp_path / "stimuli" / "picture_1.nii.gz")
    found = find_scans(tmp_path, "mask")
    assert [(scan.name, scan.subject) for scan in found] == [
        ("sub-1/anat/sub-1_T1w.nii.gz", "sub-1"),
        ("sub-2/anat/sub-2_T1w.nii.gz", "sub-2"),
    ]
    assert all("derivatives" in scan.more["mask"] for scan in found)


def test_dicom_tells_whose_it_is_by_the_patient_and_not_by_the_folder(tmp_path):
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    for folder, patient in (("a", "77"), ("b", "77"), ("c", "78")):
        (tmp_path / folder).mkdir()
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        data.PatientID = patient
        data.save_as(tmp_path / folder / "1.dcm", enforce_file_format=True)
    assert [scan.subject for scan in find_scans(tmp_path)] == ["77", "77", "78"]


def test_a_datalist_keeps_its_lists_and_keys(tmp_path):
    folder_of(tmp_path / "scans", 3)
    lists = {
        "training": [{"image": "scans/miller0_t1.nii.gz", "normal": True, "subject": 5}],
        "validation": ["scans/miller1_t1.nii.gz"],
    }
    (tmp_path / "list.json").write_text(json.dumps(lists))
    first, second = find_scans(tmp_path / "list.json")
    assert (first.part, first.subject, first.more) == ("training", "5", {"normal": True})
    assert (second.part, second.subject, second.image.is_absolute()) == ("validation", "miller1", True)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda p: p / "none", "no such file or folder"),
        (lambda p: (p / "empty").mkdir() or p / "empty", "no scan found"),
        (lambda p: write_scan(p / "one.nii.gz"), "needs several scans"),
        (lambda p: (p / "a.json").write_text("{") and p / "a.json", "is no datalist"),
        (lambda p: (p / "b.json").write_text('{"tests": []}') and p / "b.json", "has none of the lists"),
    ],
)
def test_data_that_are_none(make, told, tmp_path):
    with pytest.raises(InputError, match=told):
        find_scans(make(tmp_path))


def test_a_bad_pattern_and_two_masks_are_told(tmp_path):
    write_scan(tmp_path / "a.nii.gz"), write_mask(tmp_path / "a_mask.nii.gz"), write_mask(tmp_path / "a_seg.nii.gz")
    with pytest.raises(InputError, match="is no regular expression"):
        find_scans(tmp_path, pattern="(")
    with pytest.raises(InputError, match=r"a\.nii\.gz has 2 masks"):
        find_scans(tmp_path, "mask")


def scans_of(subjects):
    return [Scan(Path(f"{name}_{k}"), f"{name}_{k}", name) for name, count in subjects.items() for k in range(count)]


@settings(deadline=None, max_examples=40)
@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=4), st.integers(1, 3), min_size=6, max_size=20),
    st.integers(0, 99),
    st.sampled_from([1, 2]),
)
def test_a_split_is_of_whole_subjects_and_the_same_again(subjects, seed, least):
    scans = scans_of(subjects)
    lists = split(scans, seed, least)
    assert sorted(s.name for part in lists.values() for s in part) == sorted(s.name for s in scans)
    assert shared(lists) == [] and lists == split(scans, seed, least)
    counts = {part: len({s.subject for s in some}) for part, some in lists.items()}
    assert min(counts.values()) >= least and counts["training"] >= counts["test"] == counts["validation"]


def test_another_seed_is_another_split_and_what_the_parent_saw_is_trained_on():
    scans = scans_of({f"p{k}": 1 for k in range(20)})
    tests = {tuple(s.subject for s in split(scans, seed)["test"]) for seed in range(5)}
    assert len(tests) == 5
    seen = {f"p{k}" for k in range(12)}
    assert all(
        s.subject not in seen for seed in range(5) for part in ("test", "validation") for s in split(scans, seed, 1, seen)[part]
    )
    with pytest.raises(InputError, match="the parent was trained on"):
        split(scans, 0, 1, {f"p{k}" for k in range(18)})


def test_too_few_subjects_are_told():
    with pytest.raises(InputError, match="one scan only"):
        split(scans_of({"a": 1}), 0)
    with pytest.raises(InputError, match="5 scans of 2 subjects: at least 3"):
        split(scans_of({"a": 2, "b": 3}), 0)


def test_lists_of_a_datalist_are_kept_and_shared_subjects_told():
    scans = [Scan(Path(p), p, "one", p) for p in ("training", "validation", "test")]
    lists = split(scans, 0)
    assert [[s.name for s in some] for some in lists.values()] == [["training"], ["validation"], ["test"]]
    assert shared(lists) == ["one"] and pseudonyms(lists) == {"one": "s01"}
    with pytest.raises(InputError, match="is in the validation list"):
        split([scans[0], scans[2]], 0)


def seen_in(folder, valid=MR, truth=None, load=None):
    return Look([look_at(scan, valid, load, truth) for scan in find_scans(folder, truth)], valid, truth)


def test_a_look_tells_counts_sizes_range_and_what_cannot_be_read(tmp_path):
    folder_of(tmp_path, 2)
    write_scan(tmp_path / "x9_flair.nii.gz", 4, (20, 24, 3))
    (tmp_path / "bad_1.nii.gz").write_bytes(b"")
    look = seen_in(tmp_path, MR | {"spacing_mm": [0.5, 1.2]})
    text = "\n".join(look.lines())
    assert "3 scans of 3 subjects: 2 T1, 1 FLAIR" in text and "sizes 20-48 x 24-44 x 2-3 voxels of 1 x 1 x 1.5 mm" in text
    assert "out of range: miller0_t1.nii.gz and 2 more: spacing" in text
    assert "left out: bad_1.nii.gz" in text and "the file is empty" in text
    paths = look.write(tmp_path / "look", "three scans")
    told = json.loads(paths[0].read_text())
    assert [one.get("error") is None for one in told["scans"]] == [False, True, True, True]
    assert told["scans"][1] | {"notes": [], "levels": []} == {
        "scan": "miller0_t1.nii.gz", "subject": "miller0", "has": [], "modality": "MR", "contrast": "T1",
        "shape": [48, 44, 2], "spacing_mm": [1.0, 1.0, 1.5], "notes": [], "levels": [],
    }  # fmt: skip
    with Image.open(paths[1]) as sheet:
        assert sheet.size[0] > 3 * sheet.size[1] / 2 and sheet.convert("L").getextrema()[1] > 200


def test_a_contact_sheet_has_a_row_for_eight_scans_and_colours_for_labels(tmp_path):
    for k in range(9):
        write_scan(tmp_path / f"p{k}.nii.gz", k)
        write_mask(tmp_path / f"p{k}_mask.nii.gz")
    look = seen_in(tmp_path, MR, "mask")
    _, sheet = look.write(tmp_path / "look", "nine")
    with Image.open(sheet) as picture:
        assert picture.size[0] > 3 * picture.size[1]
        red, green, _ = (channel.getextrema()[1] for channel in picture.convert("RGB").split())
        pixels = picture.convert("RGB").getdata()
    assert any(r > g + 60 for r, g, b in pixels) and red > 150 and green > 150


def test_one_scan_that_works_among_corrupt_ones_is_not_enough(tmp_path):
    write_scan(tmp_path / "good_1.nii.gz")
    for k in (2, 3):
        (tmp_path / f"bad_{k}.nii.gz").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"only 1 of 3 scans can be used; the first of the others: .*bad_2"):
        seen_in(tmp_path).refuse()
    (tmp_path / "good_1.nii.gz").unlink()
    with pytest.raises(InputError, match="none of 2 scans can be used"):
        seen_in(tmp_path).refuse()


def test_another_modality_is_refused_by_name_and_by_values(tmp_path):
    folder_of(tmp_path, 2)
    write_scan(tmp_path / "x5.nii.gz", 3, shift=-1000.0)
    assert seen_in(tmp_path, MR | {"partners": ["CT"]}).refuse() is None  # of a bundle that makes CT from MR
    with pytest.raises(InputError, match=r"mixed modalities: 1 of 3 scans are not MR \(x5.nii.gz is CT\)"):
        seen_in(tmp_path).refuse()
    for name in ("y6_ct.nii.gz", "miller0_t1.nii.gz", "miller1_t1.nii.gz"):
        (tmp_path / name).unlink() if "miller" in name else write_scan(tmp_path / name)
    with pytest.raises(InputError, match="another modality: 2 of 2 scans are not MR"):
        seen_in(tmp_path).refuse()


def test_magnitudes_are_out_of_the_range_of_a_bundle_for_ct(tmp_path):
    write_scan(tmp_path / "a.nii.gz")
    assert "CT must be in HU" in "".join(seen_in(tmp_path, MR | {"modality": "CT"}).lines())


def test_masks_that_some_scans_lack_are_missing(tmp_path):
    folder_of(tmp_path, 3)
    write_mask(tmp_path / "miller1_mask.nii.gz")
    with pytest.raises(InputError, match=r"missing masks: 2 of 3 scans have none, first miller0_t1.nii.gz"):
        seen_in(tmp_path, MR, "mask").refuse()
    seen_in(tmp_path, MR).refuse()  # a bundle that takes none misses none
    (tmp_path / "miller1_mask.nii.gz").unlink()
    seen_in(tmp_path, MR, "mask").refuse()  # all healthy


def test_a_mask_of_another_grid_and_a_scan_that_the_bundle_refuses_are_left_out(tmp_path):
    folder_of(tmp_path, 2)
    write_mask(tmp_path / "miller0_mask.nii.gz", (40, 44, 2))

    def picky(entry):
        if "miller1" in entry["image"]:
            raise InputError("no brain in it")
        return {"notes": "a remark"}

    look = seen_in(tmp_path, MR, "mask", picky)
    assert ["has shape" in (one.error or "") for one in look.seen] == [True, False]
    assert look.seen[1].error == "no brain in it"
    assert look_at(find_scans(tmp_path)[0], MR, picky).notes == ("a remark",)


def test_several_masks_of_a_scan_are_looked_at_together(tmp_path):
    scan = write_scan(tmp_path / "miller0_t1.nii.gz")
    masks = [write_mask(tmp_path / "miller0_first.nii.gz"), write_mask(tmp_path / "miller0_second.nii.gz", (40, 44, 2))]
    good, bad = ({"mask": [str(mask) for mask in listed]} for listed in (masks[:1] * 2, masks))
    seen = look_at(Scan(scan, "miller0", "miller0", None, good), MR, truth="mask")
    assert seen.error is None and seen.has == ("mask",) and seen.outline.max() == 1
    assert "has shape" in look_at(Scan(scan, "miller0", "miller0", None, bad), MR, truth="mask").error


def test_what_is_told_of_a_scan_holds_no_picture():
    assert set(Seen(Scan(Path("a"), "a", "s"), error="bad").record) == {"scan", "subject", "has", "error"}


def names_of(folder):
    return {scan.name: scan.subject for scan in find_scans(folder, "mask")}


def test_label_maps_of_other_layouts_are_no_scans_and_find_their_own(tmp_path):
    for k in (1, 2):
        write_scan(tmp_path / "nnunet" / "imagesTr" / f"brain_{k:03}_0000.nii.gz", k)
        write_mask(tmp_path / "nnunet" / "labelsTr" / f"brain_{k:03}.nii.gz")
        write_scan(tmp_path / "total" / f"s{k:04}" / "mr.nii.gz", k)
        write_mask(tmp_path / "total" / f"s{k:04}" / "segmentations" / "liver.nii.gz")
        write_scan(tmp_path / "neurite" / f"OASIS_OAS1_{k:04}_MR1" / "aligned_norm.nii.gz", k)
        write_mask(tmp_path / "neurite" / f"OASIS_OAS1_{k:04}_MR1" / "aligned_seg35.nii.gz")
    nnunet = find_scans(tmp_path / "nnunet", "mask")
    assert [scan.name for scan in nnunet] == ["imagesTr/brain_001_0000.nii.gz", "imagesTr/brain_002_0000.nii.gz"]
    assert [Path(scan.more["mask"]).name for scan in nnunet] == ["brain_001.nii.gz", "brain_002.nii.gz"]
    assert names_of(tmp_path / "total") == {"s0001/mr.nii.gz": "s0001", "s0002/mr.nii.gz": "s0002"}
    assert set(names_of(tmp_path / "neurite").values()) == {"OASIS_OAS1_0001_MR1", "OASIS_OAS1_0002_MR1"}
    assert all(name.endswith("aligned_norm.nii.gz") for name in names_of(tmp_path / "neurite"))


def test_a_label_map_under_a_scans_name_is_left_out(tmp_path):
    folder_of(tmp_path, 2)
    labels = np.zeros((24, 20, 12), np.int16)
    labels[4:10, 4:10] = 3
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "miller9_t1.nii.gz")
    look = seen_in(tmp_path)
    assert ["a label map, not a scan" in (one.error or "") for one in look.seen] == [False, False, True]
