"""Which index is asked, what `list` marks, and bundles that are fetched because somebody used them."""

import pytest
from toy_zoo import Zoo, faulty, tree

from diffzoo.errors import InputError
from diffzoo.zoo import obtain as module
from diffzoo.zoo.index import INDEX, SIGNATURES
from diffzoo.zoo.listing import rows
from diffzoo.zoo.obtain import chosen, forget_index, obtain, store_index

TOLD = dict.fromkeys(("description", "intended_use", "limits", "accepts", "gives"), "a toy") | {"references": []}


@pytest.fixture
def zoo(tmp_path, home, monkeypatch):
    monkeypatch.delenv("DIFFZOO_INDEX", raising=False)
    made = Zoo(tmp_path / "zoo")
    made.add("0.1.0", told=TOLD)
    made.publish()
    monkeypatch.setenv("DIFFZOO_INDEX_KEYS", made.public)
    return made


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """An empty checkout, so that nothing is here."""
    (tmp_path / "checkout" / "bundles").mkdir(parents=True)
    monkeypatch.setattr(module, "CHECKOUT", tmp_path / "checkout" / "bundles")
    return tmp_path / "checkout"


def test_the_option_goes_before_the_variable_before_the_stored_one_before_the_checkout(zoo, checkout, monkeypatch):
    assert chosen() is None
    (checkout / "dist").mkdir()
    assert chosen() is None  # no index in it
    (checkout / "dist" / INDEX).write_text("{}")
    assert chosen() == (str(checkout / "dist"), "this checkout")
    store_index(zoo.folder)
    assert chosen() == (zoo.folder.as_uri() + "/", "stored")
    monkeypatch.setenv("DIFFZOO_INDEX", "https://example.org/zoo")
    assert chosen() == ("https://example.org/zoo", "DIFFZOO_INDEX")
    assert chosen("elsewhere") == ("elsewhere", "--index")
    monkeypatch.delenv("DIFFZOO_INDEX")
    forget_index()
    assert chosen()[1] == "this checkout"


def test_an_index_that_is_not_sound_is_not_stored(zoo, checkout, home):
    (zoo.folder / SIGNATURES).write_text("no signature")
    with pytest.raises(InputError, match="signatures"):
        store_index(zoo.folder)
    assert chosen() is None and not (home / module.SETTINGS).exists()


def test_settings_that_cannot_be_read_are_told(home):
    home.mkdir(parents=True)
    (home / module.SETTINGS).write_text("{")
    with pytest.raises(InputError, match="delete it"):
        chosen()


def test_a_bundle_is_fetched_once_after_one_line_that_tells_what_and_from_whom(zoo, monkeypatch):
    said = []
    with faulty(zoo.folder) as server:
        monkeypatch.setenv("DIFFZOO_INDEX", server.url)
        root = obtain("toy", say=said.append).root
        assert zoo.public in said[0] and "remembered" in said.pop(0)  # the first meeting with this signer
        assert [word in said[0] for word in ("toy 0.1.0", "MiB", zoo.public[:16], "trusted", server.url)] == [True] * 5
        asked = len(server.asked)
        assert obtain("toy", say=said.append).root == root and obtain("toy==0.1.0").root == root
        assert len(server.asked) == asked  # what is here needs no network
    assert obtain("toy").root == root


def test_offline_takes_a_folder_and_refuses_an_address(zoo, home):
    with faulty(zoo.folder) as server, pytest.raises(InputError, match="--offline forbids"):
        obtain("toy", server.url, offline=True)
    assert not server.asked and not list(home.glob("bundles/*"))
    assert obtain("toy", str(zoo.folder), offline=True).name == "toy"


def test_without_an_index_the_way_to_one_is_told(zoo, checkout):
    with pytest.raises(InputError, match=r"no bundle 'toy'.*diffzoo index set"):
        obtain("toy")
    with pytest.raises(InputError, match=r"no bundle '\./toy'") as told:
        obtain("./toy", str(zoo.folder))  # a path is no name
    assert "index" not in str(told.value)
    with pytest.raises(InputError, match="the index has no bundle 'tox'"):
        obtain("tox", str(zoo.folder))


def spoil_pack(zoo: Zoo) -> None:
    path = zoo.folder / "toy_v0.1.0.zip"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def spoil_signature(zoo: Zoo) -> None:
    path = zoo.folder / SIGNATURES
    line = path.read_text()
    path.write_text(line[:-2] + ("0" if line[-2] != "0" else "1") + "\n")


@pytest.mark.parametrize(("spoil", "word"), [(spoil_pack, "sha256"), (spoil_signature, "signature of the index")])
def test_what_was_tampered_with_is_refused_and_nothing_is_installed(zoo, home, spoil, word):
    spoil(zoo)
    with faulty(zoo.folder) as server, pytest.raises(InputError, match=word):
        obtain("toy", server.url)
    assert not [path for path in tree(home) if path.startswith(("bundles", "incoming"))] if home.exists() else True


def test_an_older_index_than_one_seen_is_refused(zoo, home):
    zoo.publish(serial=5)
    with faulty(zoo.folder) as server:
        obtain("toy", server.url)
        zoo.add("0.2.0", told=TOLD)
        zoo.publish(serial=4)
        with pytest.raises(InputError, match="rolled back"):
            obtain("toy==0.2.0", server.url)
    assert [path.name for path in (home / "bundles" / "toy").iterdir()] == ["0.1.0"]


def test_a_cut_transfer_goes_on_where_it_broke_off(zoo, monkeypatch):
    monkeypatch.setattr("diffzoo.zoo.transfer.PAUSE", 0.0)
    said = []
    with faulty(zoo.folder, cut=1000, cuts=3) as server:
        with pytest.raises(InputError, match="goes on from there"):
            obtain("toy", server.url)
        obtain("toy", server.url, say=said.append)
        assert [asked for _, asked in server.asked if asked][-1] == "bytes=3000-"
    assert any("going on at" in line for line in said)


def test_the_list_marks_what_is_here_where_from_and_what_the_index_offers(zoo, monkeypatch):
    monkeypatch.setenv("DIFFZOO_INDEX", str(zoo.folder))
    found = {row[0]: row for row in rows(None, False, False)[0]}
    assert found["score_mri"][2] == "checkout" and found["toy"][2].startswith("in the index, 0.0 MiB")
    obtain("toy")
    zoo.add("0.2.0", told=TOLD)
    zoo.publish()
    listed, notes = rows(None, False, False)
    found = {row[0]: row for row in listed}
    assert found["toy"][1:3] == ("0.1.0", f"installed, trusted, from {zoo.folder.as_uri()}/")
    assert notes == ["toy: the index has 0.2.0; `diffzoo download toy==0.2.0` fetches it"]
    assert [row[:2] for row in rows(str(zoo.folder), False, False)[0]] == [("toy", "0.2.0")]  # asked for by name: it alone
    assert "toy" in {row[0] for row in rows(None, False, True)[0]}  # offline: what is here


def test_an_index_that_cannot_be_asked_is_a_note_unless_it_was_asked_for(zoo, monkeypatch, tmp_path):
    monkeypatch.setenv("DIFFZOO_INDEX", str(tmp_path / "gone"))
    listed, notes = rows(None, False, False)
    assert "score_mri" in {row[0] for row in listed} and len(notes) == 1 and "could not be asked" in notes[0]
    with pytest.raises(InputError, match="there is no"):
        rows(str(tmp_path / "gone"), False, False)
