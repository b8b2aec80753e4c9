"""A bundle as an object: found by name or path, its parameters, and what a person may set them to."""

import pytest

from diffzoo.errors import InputError
from diffzoo.zoo.bundle import CHECKOUT, Bundle, find, installed
from diffzoo.zoo.describe import describe

INFERENCE = """# A test.
bundle_root: .
dataset_dir: input   # where
output_dir: out
device_name: auto
seed: 0              # of the noise
rate: 2.5            # a number: with a colon, and # a hash
dose: 1.0            # null for none
name: linear         # a word
flag: false
limit: null          # a number or nothing
weights: $@bundle_root + '/models/model.safetensors'
shown: '@rate'
network: {_target_: torch.nn.Identity}
sizes: [1, 2]
"""

GOOD = {
    "rate=3": 3.0,
    "rate=1e-2": 0.01,
    "rate=-.5": -0.5,
    "seed=7": 7,
    "seed=7.0": 7,
    "name=cosine": "cosine",
    "name=12": "12",
    "name=a=b": "a=b",
    "name=60:70": "60:70",
    "name=18:21": "18:21",
    "flag=true": True,
    "limit=3": 3,
    "limit=null": None,
    "dose=null": None,
    "limit=word": "word",
}
BAD = {
    "rate": "key=value",
    "rate=fast": "takes a number such as 2.5, not 'fast'",
    "rate=": "takes a number",
    "rate=true": "takes a number",
    "rate=null": "takes a number",
    "seed=null": "takes a whole number",
    "rate=nan": "takes a number",
    "rate=inf": "takes a number",
    "rate=[1, 2]": "takes a number",
    "rate=[1": "takes a number",
    "seed=0.5": "takes a whole number",
    "name=true": "takes text",
    "flag=1": "takes true or false",
    "raet=1": "did you mean rate",
    "zzz=1": "known: dose, flag, limit",
    "bundle_root=/": "unknown parameter",
    "weights=x": "unknown parameter",
    "network=x": "unknown parameter",
    "=1": "unknown parameter",
}


@pytest.fixture
def bundle(tmp_path):
    (tmp_path / "toy" / "configs").mkdir(parents=True)
    (tmp_path / "toy" / "configs" / "inference.yaml").write_text(INFERENCE)
    (tmp_path / "toy" / "configs" / "slow.yaml").write_text("# Overlay.\nrate: 9.0   # slower\nname: cosine\nextra: 1  # new\n")
    (tmp_path / "toy" / "configs" / "train.yaml").write_text("# Train.\nepochs: 1\n")
    return Bundle(tmp_path / "toy")


def test_parameters_are_the_scalars_a_person_may_set_with_their_comments(bundle):
    found = bundle.parameters()
    assert {key: (p.default, p.help) for key, p in found.items()} == {
        "seed": (0, "of the noise"),
        "rate": (2.5, "a number: with a colon, and # a hash"),
        "dose": (1.0, "null for none"),
        "name": ("linear", "a word"),
        "flag": (False, ""),
        "limit": (None, "a number or nothing"),
    }
    assert list(found) == ["seed", "rate", "dose", "name", "flag", "limit"]


def test_an_overlay_changes_defaults_and_adds_parameters(bundle):
    found = bundle.parameters(("inference", "slow"))
    assert (found["rate"].default, found["rate"].help, found["extra"].default) == (9.0, "slower", 1)
    assert (found["name"].default, found["name"].help) == ("cosine", "a word")  # what it is has not changed
    assert bundle.overlays == ["slow"]
    assert bundle.settings(["extra=2"], ("inference", "slow")) == {"extra": 2}
    with pytest.raises(InputError, match="unknown parameter 'extra'"):
        bundle.settings(["extra=2"])


@pytest.mark.parametrize(("word", "value"), GOOD.items())
def test_settings_take_the_type_of_the_default(bundle, word, value):
    [(_, found)] = bundle.settings([word]).items()
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(("word", "told"), BAD.items())
def test_settings_refuse(bundle, word, told):
    with pytest.raises(InputError, match=r"^[^\n]*$") as error:
        bundle.settings([word])
    assert told in str(error.value)


def test_the_last_of_two_settings_counts(bundle):
    assert bundle.settings(["rate=3", "rate=4"]) == {"rate": 4.0}
    assert bundle.settings(None) == {}


def test_missing_config_names_the_nearest(bundle):
    with pytest.raises(InputError, match="no config 'slov'; did you mean slow"):
        bundle.config("slov")


def test_find_by_name_by_path_and_the_nearest(copy):
    assert find("copied").root == copy.root
    assert find(str(copy.root)).root == copy.root.resolve()
    assert find("score_mri").root == CHECKOUT / "score_mri"
    for wrong in ("copid", "score-mri", str(copy.root / "configs")):
        with pytest.raises(InputError, match="no bundle"):
            find(wrong)
    with pytest.raises(InputError, match="did you mean copied"):
        find("copid")


def test_the_checkout_counts_before_an_installed_bundle_of_the_same_name(copy):
    copy.root.rename(copy.root.with_name("score_mri"))
    assert [b.root for b in installed() if b.name == "score_mri"] == [CHECKOUT / "score_mri"]


def test_a_folder_without_metadata_is_no_bundle(home):
    (home / "bundles" / "empty" / "configs").mkdir(parents=True)
    assert "empty" not in [bundle.name for bundle in installed()]


def test_broken_metadata_is_an_input_error(copy):
    (copy.root / "configs" / "metadata.json").write_text("{")
    with pytest.raises(InputError, match=r"copied: metadata\.json cannot be read"):
        _ = Bundle(copy.root).metadata
    (copy.root / "configs" / "metadata.json").write_text('{"name": "copied"}')
    with pytest.raises(InputError, match="lacks version, kind, task"):
        _ = Bundle(copy.root).metadata


def test_describe_tells_of_metadata_and_parameters(copy):
    text = describe(copy)
    for key in ("version", "description", "intended_use", "limits", "accepts", "gives", "headline"):
        assert copy.metadata[key] in text
    assert copy.metadata["weights_sha256"][:16] in text and str(copy.root) in text
    assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize(
    ("name", "pair", "words"),
    [
        ("anoddpm", "threshold=-1", "takes 0.001 to 2, not -1.0"),
        ("anoddpm", "rim=100", "takes 0 to 10, not 100"),
        ("anoddpm", "noise_level=50", "takes 0 to 1"),
        ("diffusemorph", "eta=3", "takes 0 to 1"),
        ("anoddpm", "sampler=eulr", "did you mean euler"),
    ],
)
def test_what_gives_nonsense_is_refused_by_the_limits_that_a_bundle_declares(name, pair, words):
    with pytest.raises(InputError, match=words):
        find(name).settings([pair])


def test_an_overlay_may_declare_limits_of_its_own():
    score = find("score_mri")
    assert score.settings(["steps=3"]) == {"steps": 3}
    with pytest.raises(InputError, match="takes 100 to 2000, not 3"):
        score.settings(["steps=3"], ["inference", "published"])
    assert score.settings(["autocast=null"]) == {"autocast": None}
