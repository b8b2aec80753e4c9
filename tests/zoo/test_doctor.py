"""The doctor finds what is wrong with an installation, and says what to do."""

from diffzoo.zoo import doctor


def named(checks, what):
    [check] = [c for c in checks if c.what == what]
    return check


def test_whole_bundle_is_good(copy):
    check = named(doctor.checks(), "bundle copied")
    assert check.good and copy.metadata["version"] in check.detail


def test_broken_weights_are_found(copy):
    copy.weights.write_bytes(b"other weights")
    check = named(doctor.checks(), "bundle copied")
    assert not check.good and check.remedy and "not those" in check.detail


def test_missing_weights_are_found(copy):
    copy.weights.unlink()
    check = named(doctor.checks(), "bundle copied")
    assert not check.good and "no weights" in check.detail


def test_broken_metadata_of_one_bundle_does_not_hide_the_others(copy):
    (copy.root / "configs" / "metadata.json").write_text('{"name": "copied"}')
    checks = doctor.checks()
    assert not named(checks, "bundle copied").good
    assert named(checks, "bundle score_mri").what
    (copy.root / "configs" / "metadata.json").write_text("{")
    assert not named(doctor.checks(), "bundle copied").good


def test_packages_and_device_are_told(monkeypatch):
    monkeypatch.setitem(doctor.NEEDED, "no_such_package", "1.0")
    monkeypatch.setitem(doctor.NEEDED, "numpy", "99.0")
    checks = doctor.checks()
    assert named(checks, "torch").good and named(checks, "device").good and named(checks, "python").good
    assert named(checks, "no_such_package").remedy == "pip install 'no_such_package>=1.0'"
    assert not named(checks, "numpy").good


def test_no_bundle_at_all_is_bad(monkeypatch):
    monkeypatch.setattr(doctor, "installed", lambda: [])
    check = named(doctor.checks(), "bundles")
    assert not check.good and "DIFFZOO_HOME" in check.remedy
