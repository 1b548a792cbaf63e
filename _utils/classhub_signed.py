"""Answers that a host signs with the key of its minion: Salt (3008.3) lets every minion answer in another's name."""

import os
import secrets

import salt.cache
import salt.client
import salt.crypt
import salt.payload

_ALGORITHM = salt.crypt.PKCS1v15_SHA224
_SILENCE = "Minion did not return"  # Salt's words in the place of a minion's
_FORGED = (
    "ERROR: there is an answer in {minion}'s name that is not signed by it. Either the class's modules there are older than "
    "the master's (salt {minion} saltutil.sync_all), or another host spoke for it, and is taken over. It says: {said}"
)


def sign(opts: dict, nonce: str, ret: object, retcode: int) -> dict:
    """What a minion answers, in a form that nobody else can give.

    Args:
        opts: of the minion.
        nonce: of who asks, so that no older answer is taken for this one.
        ret: the answer.
        retcode: 0, or that of an error.

    Returns:
        ``text`` and its ``signature``, as bytes.
    """
    text = salt.payload.dumps([nonce, ret, retcode])
    key = os.path.join(opts["pki_dir"], "minion.pem")
    return {"text": text, "signature": salt.crypt.sign_message(key, text, algorithm=_ALGORITHM)}


def ask(
    opts: dict,
    target: str | list[str],
    function: str,
    args: list | tuple = (),
    kwargs: dict | None = None,
    **options: object,
) -> dict[str, dict | bool]:
    """Ask minions, and take for an answer what they sign alone.

    Args:
        opts: of the master.
        target: who is asked.
        function: what, of the execution modules.
        args: for the function.
        kwargs: for the function.
        options: of ``LocalClient.cmd``, such as ``tgt_type`` and ``timeout`` (seconds).

    Returns:
        minion id -> ``ret`` and ``retcode``, or False for a silent minion. That somebody else answered is an error of
        the minion whose name was taken.
    """
    nonce = secrets.token_hex(16)
    said = [nonce, function, list(args), kwargs or {}]
    with salt.client.get_local_client(opts["conf_file"]) as client:
        answers = client.cmd(target, "classhub_signed.answer", said, full_return=True, **options)
    return {minion: _checked(opts, minion, nonce, answer) for minion, answer in answers.items()}


def _checked(opts: dict, minion: str, nonce: str, answer: object) -> dict | bool:
    signed = answer.get("ret") if isinstance(answer, dict) else False
    if signed is False or str(signed).startswith(_SILENCE):
        return False
    try:
        text, signature = signed["text"], signed["signature"]
        key = salt.crypt.PublicKey.from_str(_key(opts, minion))
        if key.verify(text, signature, algorithm=_ALGORITHM):
            known, ret, retcode = salt.payload.loads(text)
            if known == nonce:
                return {"ret": ret, "retcode": retcode}
    except (KeyError, TypeError, ValueError):
        pass
    return {"ret": _FORGED.format(minion=minion, said=str(signed)[:1000]), "retcode": 1}


def _key(opts: dict, minion: str) -> str:
    """The public key of a minion, as PEM; ValueError if the master has accepted none."""
    found = salt.cache.Cache(opts, driver=opts["keys.cache_driver"]).fetch("keys", minion)
    if not found or found.get("state") != "accepted":
        raise ValueError(f"no key of {minion} is accepted")
    return found["pub"]
