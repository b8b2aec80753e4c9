"""Semantic versions in their order, names, and versions side by side."""

import functools
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffzoo.errors import InputError
from diffzoo.zoo.versions import at_least, home_folder, is_version, newest, order, split, versions_at

numbers = st.integers(0, 30).map(str)
words = numbers | st.text("abzAB-", min_size=1, max_size=3) | st.from_regex(r"[0-9]{1,2}[a-z-]", fullmatch=True)
releases = st.tuples(numbers, numbers, numbers).map(".".join)
versions = releases | st.tuples(releases, st.lists(words, min_size=1, max_size=3).map(".".join)).map("-".join)


def compared(one: str, other: str) -> int:
    """-1, 0 or 1, sentence by sentence from section 11 of semver.org 2.0.0."""
    (release, _, pre), (other_release, _, other_pre) = one.partition("-"), other.partition("-")
    for mine, theirs in zip(release.split("."), other_release.split("."), strict=True):
        if int(mine) != int(theirs):
            return 1 if int(mine) > int(theirs) else -1
    if not pre or not other_pre:
        return bool(other_pre) - bool(pre)
    for mine, theirs in zip(pre.split("."), other_pre.split("."), strict=False):
        if mine == theirs:
            continue
        if mine.isdigit() and theirs.isdigit():
            return 1 if int(mine) > int(theirs) else -1
        if mine.isdigit() or theirs.isdigit():
            return -1 if mine.isdigit() else 1
        return 1 if mine.encode() > theirs.encode() else -1
    mine, theirs = len(pre.split(".")), len(other_pre.split("."))
    return (mine > theirs) - (mine < theirs)


@settings(deadline=None, max_examples=300)
@given(versions, versions)
def test_the_order_is_that_of_the_standard(one, other):
    mine, theirs = order(one), order(other)
    assert (mine > theirs) - (mine < theirs) == compared(one, other)


@settings(deadline=None, max_examples=50)
@given(st.lists(versions, min_size=1, max_size=8))
def test_the_newest_is_the_last_release_and_a_prerelease_only_where_there_is_none(found):
    candidates = [version for version in found if "-" not in version] or found
    assert compared(newest(found), max(candidates, key=functools.cmp_to_key(compared))) == 0


def test_the_example_of_the_standard():
    told = [
        "0.9.0",
        "0.10.0",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
    ]
    shuffled = random.Random(0).sample(told, len(told))
    assert sorted(shuffled, key=order) == told and newest(told[:-1]) == "0.10.0"


WRONG = ["", "1", "1.0", "1.0.0.0", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0-a..b", "1.0.0+build", "1.0.0 ", "1.0.0\n"]
WRONG += ["1.0.0-ä", "-1.0.0", "1.٣.0", "1.0.0/..", "../1.0.0", "1.0." + "9" * 20, "1.0.0-" + "a" * 99, 1, None]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_version_is_refused(text):
    assert not is_version(text)
    with pytest.raises(InputError, match="no semantic version"):
        order(text)


def test_a_wish_is_a_name_with_or_without_a_version():
    assert split("toy") == ("toy", None) and split("toy==0.2.0") == ("toy", "0.2.0")
    for wish in ("", "Toy", "../toy", "toy==", "toy==../1", "toy=0.1.0", "toy==0.1", "a" * 65, "toy>=1.0.0", "toy\n"):
        with pytest.raises(InputError):
            split(wish)
    with pytest.raises(InputError, match="no version"):
        newest([])


PAIRS = [("1.10.0", "1.6.1", True), ("1.6", "1.6.0", True), ("1.6.0", "1.6", True), ("1.5.9", "1.6", False)]
PAIRS += [("2.13.0+cpu", "2.13.0", True), ("2.13.0rc1", "2.13.0", True), ("0.9.0", "0.10.0", False), ("source", "1", False)]


@pytest.mark.parametrize(("have", "need", "fits"), PAIRS)
def test_package_versions_compare_by_number(have, need, fits):
    assert at_least(have, need) is fits


def test_versions_lie_side_by_side_oldest_first(tmp_path):
    for place in ("0.10.0/toy/configs", "0.9.0/toy/configs", "0.11.0/other/configs", "latest/toy/configs"):
        (tmp_path / "toy" / place).mkdir(parents=True)
        (tmp_path / "toy" / place / "metadata.json").write_text("{}")
    assert list(versions_at(tmp_path / "toy")) == ["0.9.0", "0.10.0"]
    assert versions_at(tmp_path / "toy")["0.9.0"] == tmp_path / "toy" / "0.9.0" / "toy"
    assert versions_at(tmp_path / "none") == {}


def test_the_home_is_the_argument_then_the_variable_then_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFZOO_HOME", str(tmp_path / "set"))
    assert (home_folder("given").name, home_folder().name) == ("given", "set")
    monkeypatch.delenv("DIFFZOO_HOME")
    assert home_folder().parts[-2:] == (".cache", "diffzoo")


def test_a_user_without_a_home_has_a_folder_all_the_same(monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("DIFFZOO_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", nowhere)
    assert home_folder().name.startswith("diffzoo-") and home_folder("there") == Path("there")
