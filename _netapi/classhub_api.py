"""What staff say to the class as themselves: salt-api's way in, for the command `classhub` and nothing else.

It takes one request, ``POST /``, of a person, a token, a verb and its arguments; says the runner ``classhub.<verb>``
if the person's role has a right to it at this moment; and answers with what the runner returned. There is no session,
no other path, no other client of Salt's, and nothing of the event bus. Salt's own REST interface is not used, and
`external_auth` is not needed: whom that lets in is root on every minion in Salt 3008.3, if the master's port can be
reached (tests/integration/test_bypass.py).

Each request has a process of its own, because Salt puts who says a runner into the runner's module.

Master configuration, which ``bootstrap.sh master --api`` writes::

    classhub_api:
      address: 192.0.2.11
      port: 8444
      certificate: /etc/salt/pki/api/api.crt
      key: /etc/salt/pki/api/api.key
"""

import http.server
import inspect
import json
import logging
import signal
import socketserver
import ssl
import time
from http import HTTPStatus

import salt.loader
import salt.runner
import salt.utils.process

log = logging.getLogger(__name__)

__virtualname__ = "classhub_api"

_LARGEST = 65536  # bytes of a request
_AT_ONCE = 40  # requests
_OF_ONE_ADDRESS = 10  # of them
_PATIENCE = 20  # seconds for a caller to say what is wanted
_PENALTY = 1  # seconds that a wrong token costs
_KINDS = {str: "a text", int: "a number", bool: "true or false, as --test or --no-test"}


class _Refused(Exception):
    """A sentence for who asked, and the status of HTTP that says the same."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def __virtual__():
    if "classhub_api" not in __opts__:
        return False, "the master has no classhub_api; bootstrap.sh master --api ADDR:PORT"
    return __virtualname__


def start() -> None:
    """Answer until the process is told to end; salt-api starts this."""
    settings = __opts__["classhub_api"]
    with _Server(settings, __opts__) as server:
        server.serve_forever()


class _Server(socketserver.ForkingMixIn, socketserver.TCPServer):
    """A process a request; TLS begins in that process, where a caller who is slow holds up nobody."""

    allow_reuse_address = True
    request_queue_size = 64
    max_children = _AT_ONCE + 1
    block_on_close = False

    def __init__(self, settings: dict, opts: dict) -> None:
        self.opts, self.utils = opts, salt.loader.utils(opts)
        self.utils["classhub_staff.is_right"]  # loaded now, and not by each request
        self.callers: dict[int, str] = {}  # address by process
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self.tls.load_cert_chain(settings["certificate"], settings["key"])
        super().__init__((settings["address"], settings["port"]), _Request)

    def verify_request(self, request, client_address) -> bool:
        """Whether there is room for one more, and for one more of this address."""
        self.collect_children()
        alive = self.active_children or set()
        self.callers = {pid: ip for pid, ip in self.callers.items() if pid in alive}
        of_this = list(self.callers.values()).count(client_address[0])
        return len(alive) < _AT_ONCE and of_this < _OF_ONE_ADDRESS

    def process_request(self, request, client_address) -> None:
        before = set(self.active_children or ())
        super().process_request(request, client_address)
        self.callers |= dict.fromkeys(self.active_children - before, client_address[0])

    def finish_request(self, request, client_address) -> None:
        """In the process of the request."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.alarm(_PATIENCE)  # its end, unless the caller is known by then
        try:
            with self.tls.wrap_socket(request, server_side=True) as spoken:
                self.RequestHandlerClass(spoken, client_address, self)
        except OSError as error:  # of TLS, or of the way to the caller
            log.info("%s: %s", client_address[0], error)


class _Request(http.server.BaseHTTPRequestHandler):
    server_version, sys_version = "classhub", ""

    def do_POST(self) -> None:
        try:
            answer = HTTPStatus.OK, self._answer()
        except _Refused as refused:
            answer = refused.status, {"error": str(refused)}
        except Exception:
            log.exception("a verb could not be said")
            answer = HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "the log of salt-api says why"}
        body = json.dumps(answer[1], default=str).encode()
        self.send_response(answer[0])
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        log.info("%s: " + format, self.client_address[0], *args)

    def _answer(self) -> dict:
        asked = self._asked()
        user, verb = asked["user"], asked["verb"]
        staff = self.server.utils["classhub_staff.tokens_file"](self.server.opts)
        if not self.server.utils["classhub_staff.is_right"](staff, user, asked["token"]):
            # not among what is recorded: whoever reaches this port could fill the disk with it
            log.warning("%s: a wrong token of %.40r", self.client_address[0], user)
            time.sleep(_PENALTY)
            raise _Refused(HTTPStatus.UNAUTHORIZED, "the name or the token is wrong")
        signal.alarm(0)
        runners = salt.loader.runner(self.server.opts, utils=self.server.utils)
        role = self.server.utils["classhub_staff.roles"](
            runners["pillar.show_pillar"], self.server.opts["id"]
        ).get(user, "")
        if not self.server.utils["classhub_staff.may"](role, verb):
            self._record_refusal(user, verb)
            what = f"{role}s have no right to it" if role else f"{user} is not on the roster"
            raise _Refused(HTTPStatus.FORBIDDEN, f"{verb}: {what}")
        return _said(self.server.opts, user, verb, asked)

    def _asked(self) -> dict:
        """What the request says, if it says anything that can be."""
        length = self.headers.get("Content-Length", "")
        # read in any case: who is answered before, sees a broken connection
        body = self.rfile.read(min(int(length), _LARGEST)) if length.isdecimal() else b""
        if self.path != "/" or not body or int(length) > _LARGEST:
            raise _Refused(HTTPStatus.NOT_FOUND, "there is nothing here but the class's verbs")
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            asked = None
        texts = ("user", "token", "verb")
        shape = dict.fromkeys(texts, str) | {"words": list, "options": dict}
        if not isinstance(asked, dict) or {k: type(v) for k, v in asked.items()} != shape:
            raise _Refused(HTTPStatus.BAD_REQUEST, f"a request has {', '.join(shape)}")
        return asked

    def _record_refusal(self, user: str, verb: str) -> None:
        file = self.server.utils["classhub_audit.audit_file"](self.server.opts)
        entry = {"who": user, "how": "classhub", "verb": verb, "outcome": "refused: no right to it"}
        try:
            self.server.utils["classhub_audit.append"](file, **entry)
        except OSError as error:
            log.error("%s cannot be written: %s", file, error)


def _said(opts: dict, user: str, verb: str, asked: dict) -> dict:
    """What the runner returned: ``return``, and ``failed``, whether it or somebody in its table did."""
    function = f"classhub.{verb}"
    with salt.runner.RunnerClient(opts) as client:
        if function not in client.functions:
            raise _Refused(HTTPStatus.NOT_FOUND, f"{verb}: there is no such verb")
        arguments = _bound(client.functions[function], asked["words"], asked["options"])
        done = client.cmd(
            function,
            kwarg=arguments,
            # no account is named so: the runner knows by it who came this way
            pub_data={"user": f"{user}@classhub"},
            print_event=False,
            full_return=True,
        )
    returned = done["return"]
    if not done["success"]:
        lines = str(returned).strip().splitlines() or ["it failed without a word"]
        # of an error that nobody foresaw, the last line of its traceback
        raise _Refused(HTTPStatus.CONFLICT, lines[-1] if "Traceback" in lines[0] else str(returned))
    failed = isinstance(returned, dict) and bool(returned.pop("retcode", 0))
    return {"return": returned, "failed": failed}


def _bound(function, words: list, options: dict) -> dict:
    """A verb's arguments by name, each of the type that the verb wants."""
    parameters = inspect.signature(function)
    try:
        given = parameters.bind(*words, **options).arguments
    except TypeError as error:
        raise _Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
    for name, value in given.items():
        kind = parameters.parameters[name].annotation
        if kind is int and isinstance(value, str) and value.isascii() and value.isdigit():
            given[name] = int(value)
        elif type(value) is not kind:
            word = _KINDS.get(kind, str(kind))
            raise _Refused(HTTPStatus.BAD_REQUEST, f"{name}: must be {word}")
        if isinstance(value, str) and (value.startswith("-") or not value.isprintable()):
            raise _Refused(HTTPStatus.BAD_REQUEST, f"{name}: {value!r} is not a value")
    return given
