"""Which files are used: MONAI datalists, folders, and what is wrong with either."""

import json

import numpy as np
import pytest

from diffzoo.errors import InputError
from diffzoo.training.datalist import entries, files


@pytest.fixture
def folder(tmp_path, nifti):
    """A folder of 21 small scans, s00 to s20."""
    for k in range(21):
        nifti(np.arange(8.0).reshape(2, 2, 2), name=f"scans/s{k:02d}.nii")
    return tmp_path / "scans"


def names(paths) -> list[str]:
    return [path.rsplit("/", 1)[1].removesuffix(".nii") for path in paths]


def listing(folder, content, name="datalist.json"):
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return str(folder / name)


def test_a_folder_is_split_by_name_every_tenth_for_validation(folder):
    training, validation = files(str(folder), "training"), files(str(folder), "validation")
    assert names(validation) == ["s00", "s10", "s20"]
    assert len(training) == 18 and not set(training) & set(validation)
    assert sorted(training + validation) == files(str(folder), "test")


def test_one_case_is_all_there_is(folder):
    one = str(folder / "s03.nii")
    assert files(one, "training") == files(one, "validation") == files(one, "test") == [one]


@pytest.mark.parametrize("where", ["the list itself", "its folder"])
def test_a_datalist_names_its_parts_from_its_own_folder(folder, where):
    path = listing(folder, {"training": [{"image": "s01.nii", "label": 3}, "s02.nii"], "test": ["../scans/s05.nii"]})
    source = path if where == "the list itself" else str(folder)
    assert entries(source, "training") == [
        {"image": str(folder / "s01.nii"), "label": 3},
        {"image": str(folder / "s02.nii")},
    ]
    assert files(source, "test") == [str(folder / "s05.nii")]


def test_absolute_paths_stay(folder, tmp_path):
    path = listing(tmp_path, {"validation": [{"image": str(folder / "s07.nii")}]}, "other.json")
    assert names(files(path, "validation")) == ["s07"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{ not json", "is not a datalist with a 'training' list"),
        ("\xff\xfe", "is not a datalist with a 'training' list"),
        ([{"image": "s01.nii"}], "is not a datalist with a 'training' list"),
        ({"validation": ["s01.nii"]}, "is not a datalist with a 'training' list"),
        ({"training": [{"picture": "s01.nii"}]}, "is not a datalist with a 'training' list"),
        ({"training": [3]}, "is not a datalist with a 'training' list"),
        ({"training": None}, "is not a datalist with a 'training' list"),
        ({"training": []}, "the 'training' list is empty"),
        ({"training": ["s01.nii", "gone.nii", "lost.nii"]}, r"names 2 files that are not there, first .*gone\.nii"),
    ],
)
def test_what_is_wrong_with_a_datalist_is_told_in_one_line(folder, content, message):
    path = listing(folder, content)
    with pytest.raises(InputError, match=message) as caught:
        entries(path, "training")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_told(folder):
    (folder / "datalist.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not a datalist"):
        entries(str(folder), "training")


@pytest.mark.parametrize(
    ("source", "part", "message"),
    [
        ("scans", "train", "unknown part 'train'"),
        ("none.json", "training", "no datalist"),
        ("none", "training", "no such file"),
        ("empty", "training", "no image found"),
    ],
)
def test_a_source_that_holds_nothing_is_told(folder, source, part, message):
    (folder.parent / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        entries(str(folder.parent / source), part)


def test_lists_of_files_are_placed_and_missed_like_single_ones(folder, tmp_path):
    some = {"image": "scans/s00.nii", "t1": "scans/s01.nii", "borrowed": ["scans/s02.nii", "scans/s03.nii"], "weight": 0.5}
    [entry] = entries(listing(tmp_path, {"training": [some]}), "training")
    assert entry["borrowed"] == [str(folder / f"s0{k}.nii") for k in (2, 3)] and entry["t1"] == str(folder / "s01.nii")
    assert entry["weight"] == 0.5
    with pytest.raises(InputError, match=r"1 files that are not there, first .*none\.nii"):
        entries(listing(tmp_path, {"training": [some | {"borrowed": ["none.nii"]}]}), "training")
