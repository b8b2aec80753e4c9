"""What an image is, told by its name, by the command or by a datalist, and the cases and patterns that follow."""

import pytest

from diffzoo.errors import InputError
from diffzoo.tasks.translate.roles import available, chosen, pattern_cases, role_cases, role_of, with_first

ROLES = ("t1", "t1post", "t2", "flair")


@pytest.mark.parametrize(
    ("stem", "role", "rest"),
    [
        ("sub-01_T1w", "t1", "sub-01"),
        ("sub-01_ses-2_FLAIR", "flair", "sub-01_ses-2"),
        ("ms_cs07_t1post", "t1post", "ms_cs07"),
        ("P3_T1ce", "t1post", "P3"),
        ("sub-01_ce-gadolinium_T1w", "t1post", "sub-01"),
        ("T2_FLAIR_ax", "flair", "ax"),
        ("head_T2w", "t2", "head"),
        ("MPRAGE", "t1", "MPRAGE"),
        ("patient_CBCT", "cbct", "patient"),
        ("patient-ct", "ct", "patient"),
        ("cactus", None, "cactus"),
        ("scan", None, "scan"),
    ],
)
def test_a_name_tells_the_role(stem, role, rest):
    assert role_of(stem) == (role, rest)


def test_images_of_one_person_are_one_case():
    listed = [{"image": f"/d/{p}_{r}.nii", "case": f"{p}_{r}"} for p in ("a", "b") for r in ("t2", "t1")]
    first, second = role_cases(listed, ROLES)
    assert first == {"image": "/d/a_t2.nii", "case": "a", "t2": "/d/a_t2.nii", "t1": "/d/a_t1.nii"}
    assert second["case"] == "b" and available(second, ROLES) == ["t1", "t2"]


def test_equal_names_in_two_folders_are_two_people():
    listed = [{"image": f"/{f}/t1.nii", "case": f"{f}_t1"} for f in ("x", "y")]
    assert len(role_cases(listed, ROLES)) == 2


def test_roles_of_the_command_make_one_case_whatever_the_names():
    listed = [{"image": "/d/1.nii", "case": "1", "role": "t1"}, {"image": "/e/2.nii", "case": "2", "role": "flair"}]
    [case] = role_cases(listed, ROLES)
    assert (case["t1"], case["flair"], case["image"]) == ("/d/1.nii", "/e/2.nii", "/d/1.nii") and "role" not in case


@pytest.mark.parametrize(
    ("listed", "text"),
    [
        ([("a_t1.nii", None), ("a_T1w.nii", None)], "a second t1 beside .*a_t1.nii: keep one"),
        ([("a_ct.nii", None)], "ct is no image that this bundle takes"),
        ([("scan.nii", None)], "its name tells none of t1, t1post, t2, flair"),
        ([("a.nii", "t3")], "t3 is no image that this bundle takes; did you mean"),
    ],
)
def test_what_is_wrong_with_a_case_is_told_when_it_is_read(listed, text):
    cases = [{"image": f"/d/{n}", "case": n[:-4], **({"role": r} if r else {})} for n, r in listed]
    with pytest.raises(InputError, match=text):
        with_first(role_cases(cases, ROLES)[0], ROLES)


def test_where_one_role_is_taken_a_name_need_not_tell_it():
    [case] = role_cases([{"image": "/d/scan.nii", "case": "scan"}], ("cbct", "ct"), ["cbct"])
    assert case["cbct"] == "/d/scan.nii" and case["case"] == "scan"


def test_hounsfield_units_tell_more_than_a_name():
    [case] = role_cases([{"image": "/d/a_t1.nii", "case": "a_t1"}], ("cbct", "ct"), ["cbct"])
    assert case["cbct"] == "/d/a_t1.nii" and case["case"] == "a_t1" and "problem" not in case
    [case] = role_cases([{"image": "/d/a_ct.nii", "case": "a_ct"}], ("cbct", "ct"), ["cbct"])
    assert "cbct" not in case and case["ct"] == "/d/a_ct.nii"
    [case] = role_cases([{"image": "/d/a_t2.nii", "case": "a_t2"}], ("t1", "ct"), ["t1"])
    assert "t2 is no image" in case["problem"]


def test_an_array_has_the_first_role():
    image = object()
    assert with_first({"image": image, "case": "array"}, ROLES)["t1"] is image


def test_all_patterns_of_four_contrasts_are_fourteen():
    case = {"image": "/d/t1", "case": "p", **{r: f"/d/{r}" for r in ROLES}}
    found = pattern_cases([case], ROLES, ROLES, ROLES)
    assert len(found) == 14 and len({c["given"] for c in found}) == 14 and found[0]["case"] == "p_from_t1"
    assert {c["person"] for c in found} == {"p"}


def test_patterns_are_limited_to_what_is_known():
    case = {"image": "/d/t1", "case": "p", "t1": "/d/t1", "flair": "/d/flair"}
    assert [c["given"] for c in pattern_cases([case], ROLES, ROLES, ROLES)] == ["t1", "flair"]
    assert [c["given"] for c in pattern_cases([case], ROLES, ROLES, ROLES, "t1,t2+t1")] == ["t1"]
    [alone] = pattern_cases([{"image": "/d/a_t1.nii", "case": "a_t1"}], ROLES, ROLES, ROLES)
    assert "nothing to compare with" in alone["problem"]


def test_an_unknown_role_is_named():
    assert chosen("flair, t1", ROLES) == ["t1", "flair"]
    with pytest.raises(InputError, match="unknown role 'flare'; did you mean flair"):
        chosen("flare", ROLES)


def test_targets_can_be_cases_apart():
    case = {"image": "/d/t1", "case": "p", **{r: f"/d/{r}" for r in ("t1", "t2", "flair")}}
    found = pattern_cases([case], ROLES, ROLES, ROLES, "t1", apart=True)
    assert [(c["case"], c["wanted"]) for c in found] == [("p_from_t1_to_t2", "t2"), ("p_from_t1_to_flair", "flair")]
