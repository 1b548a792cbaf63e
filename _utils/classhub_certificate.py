"""Certificates: what one says, and those of the class's own authority.

An authority, and a certificate that it issues, is one PEM text with the key: who replaces the file replaces both.
"""

import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_DAYS = 3653
DAYS = 365


def described(certificate: str, key: str = "") -> dict:
    """What the first certificate of a PEM text says.

    Args:
        certificate: PEM text.
        key: PEM text of the private key that should belong to it.

    Returns:
        ``names`` (of hosts), ``issuer``, ``self_signed``, ``begins`` and ``ends`` (UTC, ISO 8601), ``days_left``
        (whole days; negative: it has expired), ``fingerprint`` (SHA-256), and ``key_fits``, with a key.

    Raises:
        ValueError: one of them cannot be read.
    """
    leaf = x509.load_pem_x509_certificates(certificate.encode())[0]
    told = {
        "names": names(leaf),
        "issuer": leaf.issuer.rfc4514_string(),
        "self_signed": leaf.issuer == leaf.subject,
        "begins": leaf.not_valid_before_utc.isoformat(),
        "ends": leaf.not_valid_after_utc.isoformat(),
        "days_left": (leaf.not_valid_after_utc - _now()).days,
        "fingerprint": leaf.fingerprint(hashes.SHA256()).hex(":").upper(),
    }
    return told | ({"key_fits": _load_key(key).public_key() == leaf.public_key()} if key else {})


def names(certificate: x509.Certificate) -> list[str]:
    """The host names that a certificate is for."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.DNSName)


def is_for(domain: str, of: list[str]) -> bool:
    """Whether these names, one of which may have a wildcard, hold the domain."""
    return bool({domain, f"*.{domain.partition('.')[2]}"} & set(of))


def authority() -> str:
    """A new authority: PEM text of its certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    # a number in the name: the proxy tells two of them apart by it
    serial = x509.random_serial_number()
    name = _name(f"classhub authority {serial:x}"[:40])
    built = (
        _builder(name, name, key, AUTHORITY_DAYS, serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    )
    return _pem(built.sign(key, hashes.SHA256()), key)


def issue(signer: str, name: str) -> str:
    """A certificate of a server called ``name``: PEM text of it and its key.

    Args:
        signer: PEM text of the authority.
        name: host name.
    """
    signer_key = _load_key(signer)
    signer_certificate = x509.load_pem_x509_certificate(signer.encode())
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key.public_key())
    built = (
        _builder(_name(name), signer_certificate.subject, key, DAYS, x509.random_serial_number())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
    )
    return _pem(built.sign(signer_key, hashes.SHA256()), key)


def is_issued_by(certificate: str, signer: str) -> bool:
    """Whether ``signer`` signed the certificate. Both are PEM texts."""
    try:
        x509.load_pem_x509_certificate(certificate.encode()).verify_directly_issued_by(
            x509.load_pem_x509_certificate(signer.encode())
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def public(pem: str) -> str:
    """The certificates of a PEM text, without its keys."""
    found = x509.load_pem_x509_certificates(pem.encode())
    return "".join(each.public_bytes(serialization.Encoding.PEM).decode() for each in found)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int, serial: int
) -> x509.CertificateBuilder:
    now = _now()
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - datetime.timedelta(hours=1))  # clocks of the class may differ
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(identifier, critical=False)
    )


def _usage(**allowed: bool) -> x509.KeyUsage:
    kinds = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**dict.fromkeys(kinds, False) | allowed)


def _load_key(pem: str) -> ec.EllipticCurvePrivateKey:
    try:
        return serialization.load_pem_private_key(pem.encode(), password=None)
    except TypeError:  # it is encrypted
        raise ValueError("the private key has a password; take it off") from None


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> str:
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(encoding).decode() + private.decode()
