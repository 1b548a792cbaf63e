"""The class's own certificates are what TLS wants, and what a certificate says is told."""

import datetime
import stat

import pytest
from cryptography import x509

from tests.support.loading import load

certificates = load("utils", "classhub_certificate")
NAME = "hub.classhub.internal"


@pytest.fixture
def authority():
    return certificates.authority()


def test_authority_lasts_ten_years_and_signs_certificates_alone(authority):
    read = x509.load_pem_x509_certificate(authority.encode())
    constraints = read.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    assert 3650 <= certificates.described(authority)["days_left"] <= 3653


def test_issued_is_known_by_its_authority_and_by_no_other(authority):
    issued = certificates.issue(authority, NAME)
    told = certificates.described(issued, issued)
    assert (told["names"], told["key_fits"], told["self_signed"]) == ([NAME], True, False)
    assert 363 <= told["days_left"] <= 365
    assert certificates.is_issued_by(issued, authority)
    assert not certificates.is_issued_by(issued, certificates.authority())


def test_two_authorities_have_different_names(authority):
    """nginx looks for the one that issued by its name."""
    assert (
        certificates.described(authority)["issuer"]
        != certificates.described(certificates.authority())["issuer"]
    )


def test_public_has_no_key(authority):
    both = certificates.public(authority + certificates.authority())
    assert both.count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE" not in both


def test_key_of_another(authority):
    issued = certificates.issue(authority, NAME)
    assert not certificates.described(issued, authority)["key_fits"]


def test_expired(authority, monkeypatch):
    then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=400)
    with monkeypatch.context() as patched:
        patched.setattr(certificates, "_now", lambda: then)
        issued = certificates.issue(authority, NAME)
    assert certificates.described(issued)["days_left"] in (-36, -35)


@pytest.mark.parametrize("texts", [("none",), ("",)])
def test_unreadable(texts):
    with pytest.raises(ValueError):  # noqa: PT011
        certificates.described(*texts)


@pytest.mark.parametrize(
    ("domain", "names", "fits"),
    [
        ("class.example.edu", ["class.example.edu"], True),
        ("class.example.edu", ["www.example.edu", "*.example.edu"], True),
        ("class.example.edu", ["*.edu"], False),
        ("class.example.edu", [], False),
    ],
)
def test_is_for(domain, names, fits):
    assert certificates.is_for(domain, names) is fits


# -- files ------------------------------------------------------------------------------------------------------------


def test_file_is_replaced_whole(tmp_path):
    files = load("utils", "classhub_file")
    path = tmp_path / "secret"
    path.write_text("old")
    user, group, _ = files.owner(str(path))
    files.write(str(path), "new", user, group, "0600")
    assert path.read_text() == "new"
    assert files.owner(str(path)) == (user, group, "0600")
    with pytest.raises(LookupError, match="no user nobody-such"):
        files.write(str(path), "other", "nobody-such", group)
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_file_that_cannot_be_replaced_leaves_nothing(tmp_path):
    files = load("utils", "classhub_file")
    place = tmp_path / "place"
    (place / "full").mkdir(parents=True)
    user, group, _ = files.owner(str(tmp_path))
    with pytest.raises(OSError, match="directory"):
        files.write(str(place), "text", user, group)
    assert [entry.name for entry in tmp_path.iterdir()] == ["place"]
