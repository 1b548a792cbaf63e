"""Answers that a host signs: what is taken for one, and what is not."""

import pytest
import salt.payload
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.loading import load

DONE = {"ret": {"table": {1: ["ada", None]}}, "retcode": 0}
SILENT = [
    False,
    "Minion did not return. [No response]",
    {"ret": "Minion did not return. [No response]"},
]


def key_pair(folder):
    """The options of a minion with a new key, and the public one."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = serialization.Encoding.PEM
    folder.mkdir()
    (folder / "minion.pem").write_bytes(
        key.private_bytes(
            pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    return {"pki_dir": str(folder)}, public.decode()


@pytest.fixture
def keys(tmp_path):
    """Options and public keys of two minions."""
    return {name: key_pair(tmp_path / name) for name in ("hub", "node1")}


@pytest.fixture
def signed(keys, monkeypatch):
    module = load("utils", "classhub_signed")
    monkeypatch.setattr(module, "_key", lambda opts, minion: keys[minion][1])
    return module


def told(module, answer, nonce="n"):
    """What is taken for the hub's answer, as it comes over Salt's bus."""
    return module._checked({}, "hub", nonce, salt.payload.loads(salt.payload.dumps(answer)))


def answered(module, opts, ret=DONE["ret"], retcode=0):
    return {"ret": module.sign(opts, "n", ret, retcode), "retcode": 0}


def test_what_the_hub_signs_is_its_answer(signed, keys):
    assert told(signed, answered(signed, keys["hub"][0])) == DONE
    assert told(signed, answered(signed, keys["hub"][0], "no", 3)) == {"ret": "no", "retcode": 3}


@pytest.mark.parametrize("answer", SILENT)
def test_who_is_silent_is_silent(signed, answer):
    assert told(signed, answer) is False


def forgeries(module, keys):
    genuine = answered(module, keys["hub"][0])
    text, signature = genuine["ret"]["text"], genuine["ret"]["signature"]
    other = salt.payload.dumps(["n", "all is well", 0])
    return [
        DONE,
        {"ret": "all is well"},
        {"ret": None, "retcode": 0},
        {"ret": {"text": text}, "retcode": 0},
        {"ret": {"text": other, "signature": signature}, "retcode": 0},
        {"ret": {"text": "x", "signature": 5}, "retcode": 0},
        answered(module, keys["node1"][0]),
    ]


@pytest.mark.parametrize("number", range(7))
def test_what_the_hub_did_not_sign_is_an_error(signed, keys, number):
    found = told(signed, forgeries(signed, keys)[number])
    assert found["retcode"] == 1
    assert found["ret"].startswith(
        "ERROR: there is an answer in hub's name that is not signed by it"
    )


def test_an_older_answer_is_none(signed, keys):
    assert told(signed, answered(signed, keys["hub"][0]), nonce="another")["retcode"] == 1


def test_a_key_that_is_not_accepted_signs_nothing(signed, keys, monkeypatch):
    def none(opts, minion):
        raise ValueError("no key of hub is accepted")

    monkeypatch.setattr(signed, "_key", none)
    assert told(signed, answered(signed, keys["hub"][0]))["retcode"] == 1
