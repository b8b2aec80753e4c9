"""The signed list of what a zoo publishes: read, believed or refused, and made. Light: no torch is imported here."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffzoo.errors import InputError
from diffzoo.names import nearest
from diffzoo.zoo.pack import check_facts, pack_name
from diffzoo.zoo.versions import at_least, check_name, newest, order

INDEX, SIGNATURES = "index.json", "index.json.sig"
SCHEMA = 1
MOST_INDEX = 8 * 2**20  # bytes
MOST_PACK = 2 * 2**30
KEY = re.compile("[0-9a-f]{64}")
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
FACTS = {"file", "size", "sha256", "manifest_sha256", "task", "headline", "licenses", "min_diffzoo", "min_monai"}


@dataclass(frozen=True)
class Entry:
    """One version of one bundle: its pack and what to know before it is fetched."""

    name: str
    version: str
    file: str
    size: int
    sha256: str
    manifest_sha256: str
    task: str
    headline: str
    licenses: Mapping[str, str]
    min_diffzoo: str
    min_monai: str

    def obstacle(self) -> str:
        """Why this installation cannot run it, "" if it can."""
        from importlib.metadata import PackageNotFoundError, version

        for package, need in (("diffzoo", self.min_diffzoo), ("monai", self.min_monai)):
            try:
                have = version(package)
            except PackageNotFoundError:
                continue  # run from source
            if not at_least(have, need):
                return f"needs {package} {need}, here is {have}"
        return ""


@dataclass(frozen=True)
class Index:
    """A parsed index: the zoo's own name, a serial number that only rises, the date, who signed, and how far to believe it.

    level: "official" when a keeper of the zoo signed it, "trusted" when a key that this person named did, "community" for
    another key, "local" when nobody did.
    """

    zoo: str
    serial: int
    date: str
    bundles: Mapping[str, Mapping[str, Entry]]
    signers: tuple[str, ...]
    level: str
    content: bytes
    signatures: bytes

    @property
    def signed(self) -> str:
        """Who signed it, in words: the beginnings of the keys."""
        return f"signed by {', '.join(key[:16] for key in self.signers)}" if self.signers else "not signed"

    def choose(self, name: str, version: str | None = None) -> Entry:
        """The entry of that version, or of the newest that this installation can run; InputError telling what there is."""
        if name not in self.bundles:
            raise InputError(f"the index has no bundle {name!r}; {nearest(name, self.bundles)}")
        entries = self.bundles[name]
        if version is not None and version not in entries:
            raise InputError(f"the index has no {name} {version}; it has {', '.join(sorted(entries, key=order))}")
        usable = [v for v in entries if not entries[v].obstacle()]
        if version is None and usable:
            return entries[newest(usable)]
        entry = entries[version or newest(entries)]
        if reason := entry.obstacle():
            raise InputError(f"{name} {entry.version} {reason}: upgrade it, or choose another version")
        return entry


def read_index(content: bytes, signatures: bytes | None, keys: Sequence[str] | None = None, unsigned: bool = False) -> Index:
    """The index in `content`, if its signatures hold; keys: public keys that a person trusts, by default `trusted_keys()`.

    Raises InputError for a wrong signature, for none unless `unsigned`, for a signer who is neither trusted nor a keeper where
    there are trusted keys, and for content that is not an index.
    """
    from diffzoo.zoo.keys import official_keys

    trusted, official = set(trusted_keys() if keys is None else keys), set(official_keys())
    signers = _signers(content, signatures) if signatures else ()
    if not signers and not unsigned:
        raise InputError(f"the index is not signed ({SIGNATURES} is missing): refused; ask for it as unsigned if you trust it")
    if signers and trusted and not set(signers) & (trusted | official):
        raise InputError(f"the index is signed by {signers[0][:16]}..., whom DIFFZOO_INDEX_KEYS does not name: refused")
    by = {"official": official, "trusted": trusted, "community": set(signers)}
    level = next((level for level, known in by.items() if set(signers) & known), "local")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{INDEX} cannot be read: {error}") from error
    zoo, serial, date, bundles = _parsed(document)
    return Index(zoo, serial, date, bundles, signers, level, content, signatures or b"")


def _signers(content: bytes, signatures: bytes) -> tuple[str, ...]:
    """Public keys whose signature over exactly these bytes holds; one line "KEY SIGNATURE" each, all must hold."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    lines = signatures.decode("ascii", "replace").split("\n")[:17]
    matches = [re.fullmatch("([0-9a-f]{64}) ([0-9a-f]{128})", line) for line in lines if line]
    if not matches or not all(matches):
        raise InputError(f"{SIGNATURES} is not a list of ed25519 signatures")
    for match in matches:
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(match[1])).verify(bytes.fromhex(match[2]), content)
        except (InvalidSignature, ValueError) as error:
            raise InputError(f"the signature of the index by {match[1][:16]}... is wrong: it was changed, refused") from error
    return tuple(sorted({match[1] for match in matches}))


def _parsed(document: Mapping) -> tuple[str, int, str, dict[str, dict[str, Entry]]]:
    try:
        if document["schema"] != SCHEMA:
            raise InputError(f"the index has the form {document['schema']!r}, this diffzoo reads {SCHEMA}: upgrade diffzoo")
        sound = type(document["serial"]) is int and 0 < document["serial"] < 2**53 and DATE.fullmatch(document["date"])
        if not sound or set(document) != {"schema", "zoo", "serial", "date", "bundles"}:
            raise InputError("the index has no sound serial number or date")
        check_name(document["zoo"])
        bundles = {}
        for name, versions in document["bundles"].items():
            bundles[check_name(name)] = {version: _entry(name, version, facts) for version, facts in versions.items()}
        if not all(bundles.values()):
            raise InputError("the index names a bundle without a version")
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{INDEX} is not of the form that tools/build_index.py writes") from error
    return document["zoo"], document["serial"], document["date"], bundles


def _entry(name: str, version: str, facts: Mapping) -> Entry:
    order(version)
    if not facts.keys() >= FACTS:
        raise InputError(f"the index tells too little of {name} {version}: {', '.join(sorted(FACTS - facts.keys()))}")
    entry = Entry(name, version, **{key: facts[key] for key in FACTS})  # more may be told some day
    if entry.file != pack_name(name, version):
        raise InputError(f"the index names the file {entry.file!r} where only {pack_name(name, version)} is taken")
    if type(entry.size) is not int or not 0 < entry.size <= MOST_PACK:
        raise InputError(f"the index gives {name} {version} a size of {entry.size!r}, beyond {MOST_PACK} bytes")
    if not KEY.fullmatch(entry.sha256) or not KEY.fullmatch(entry.manifest_sha256):
        raise InputError(f"the index has no sound sha256 of {name} {version}")
    check_facts({"name": name, "version": version, **facts}, "the index")
    return entry


def trusted_keys() -> tuple[str, ...]:
    """Public keys that a person trusts, and no others but the keepers': those of the variable DIFFZOO_INDEX_KEYS.

    It holds keys in hexadecimal, or files with a key a line (# starts a comment), parted by the system's path
    separator. Raises InputError for what is neither.
    """
    keys = []
    for word in filter(None, os.environ.get("DIFFZOO_INDEX_KEYS", "").split(os.pathsep)):
        keys += [word] if KEY.fullmatch(word) else _keys_in(Path(word))
    return tuple(keys)


def _keys_in(path: Path) -> list[str]:
    try:
        lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"DIFFZOO_INDEX_KEYS names {str(path)!r}, neither a key of 64 hexadecimal digits nor a file") from error
    if wrong := [line for line in lines if line and not KEY.fullmatch(line)]:
        raise InputError(f"{path}: {wrong[0][:40]!r} is no public key of 64 hexadecimal digits")
    return [line for line in lines if line]


def new_key(path: str | Path) -> str:
    """Writes a new private key (PEM, for the owner's eyes alone) and returns its public key in hexadecimal.

    Raises InputError where the file exists: a lost key is not to be had again.
    """
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InputError(f"{path}: no new key can be written there: {error.strerror}") from error
    with open(descriptor, "wb") as file:
        file.write(text)
    return key.public_key().public_bytes_raw().hex()


def sign(content: bytes, keys: Sequence[str | Path]) -> bytes:
    """The content of index.json.sig: a signature over these bytes by each private key (PEM files); InputError for others."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    lines = []
    for path in keys:
        try:
            key = load_pem_private_key(Path(path).read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path} is no private key: make one with --new-key") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise InputError(f"{path} is no ed25519 key: make one with --new-key")
        lines.append(f"{key.public_key().public_bytes_raw().hex()} {key.sign(content).hex()}\n")
    return "".join(lines).encode()


def written(zoo: str, serial: int, date: str, packs: Sequence[Mapping]) -> bytes:
    """The content of index.json that lists packs (as `pack_facts` gives them); what `read_index` would refuse is refused here."""
    bundles: dict[str, dict] = {}
    for facts in packs:
        bundles.setdefault(facts["name"], {})[facts["version"]] = {key: facts[key] for key in FACTS}
    document = {"schema": SCHEMA, "zoo": zoo, "serial": serial, "date": date, "bundles": bundles}
    _parsed(document)
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
