"""classhub_roster functions: accounts of a hub that is only made up, homes and ledger that are real files."""

import grp
import os
import pwd
import shlex
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives homes to others")

GROUPS = {"student": "students", "grader": "graders", "instructor": "instructors"}


class Host:
    """A stand-in for passwd and group, and for what writes them: Salt's modules, systemd-sysusers, and the swarm's stop.

    The real ones are at work in tests/functional/test_roster.py.
    """

    def __init__(self):
        self.users, self.groups, self.calls, self.refuses = {}, {}, [], set()
        self.before = lambda: None  # called when accounts are about to be added

    # -- what pwd and grp would read
    def getpwall(self):
        return list(self.users.values())

    def getgrall(self):
        return [
            grp.struct_group((name, "x", gid, list(members)))
            for name, (gid, members) in self.groups.items()
        ]

    # -- systemd-sysusers
    def run_all(self, command, stdin, python_shell, ignore_retcode):
        assert (command, python_shell, ignore_retcode) == (["systemd-sysusers", "-"], False, True)
        self.before()
        for kind, name, *rest in map(shlex.split, stdin.splitlines()):
            verb = {"g": "group.add", "u": "user.add", "m": "group.adduser"}[kind]
            if not self._does(verb, name):
                continue
            if kind == "g":
                gid = 900 + len(self.groups) if rest[0] == "-" else int(rest[0])
                self.groups[name] = (gid, [])
            elif kind == "u":
                uid, gid = map(int, rest[0].split(":"))
                self.has(name, uid, rest[1].replace("%%", "%"), gid, *rest[2:])
            elif name in self.users:
                self.groups[rest[0]][1].append(name)

    # -- user and group of Salt
    def _does(self, what, name):
        self.calls.append((what, name))
        return (what, name) not in self.refuses

    def has(self, name, uid, gecos="", gid=None, home="/", shell="/bin/sh"):
        entry = (name, "x", uid, uid if gid is None else gid, gecos, home, shell)
        self.users[name] = pwd.struct_passwd(entry)

    def chfullname(self, name, fullname):
        done = self._does("user.chfullname", name)
        if done:
            self.users[name] = self._but(name, pw_gecos=fullname)
        return done

    def chshell(self, name, shell):
        done = self._does("user.chshell", name)
        if done:
            self.users[name] = self._but(name, pw_shell=shell)
        return done

    def _but(self, name, **changes):
        user = self.users[name]
        fields = [field for field in dir(user) if field.startswith("pw_")]
        whole = {field: getattr(user, field) for field in fields} | changes
        order = ("name", "passwd", "uid", "gid", "gecos", "dir", "shell")
        return pwd.struct_passwd([whole[f"pw_{field}"] for field in order])

    def adduser(self, group, name):
        done = self._does("group.adduser", name)
        if done and name not in self.groups[group][1]:
            self.groups[group][1].append(name)
        return done

    def deluser(self, group, name):
        done = self._does("group.deluser", name)
        if done:
            self.groups[group][1].remove(name)
        return done

    def stop(self, name):
        if not self._does("stop", name):
            raise CommandExecutionError("the engine does not answer")

    def functions(self):
        return {
            "cmd.run_all": self.run_all,
            "user.chfullname": self.chfullname,
            "user.chshell": self.chshell,
            "group.adduser": self.adduser,
            "group.deluser": self.deluser,
            "classhub_swarm.stop": self.stop,
        }


def person(username, role="student", name="", uid=None):
    return {"username": username, "role": role, "name": name or username.title(), "uid": uid}


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def people():
    return [person("ada"), person("bob"), person("prof", "instructor", "Moreau, Pat")]


@pytest.fixture
def module(host, people, monkeypatch, tmp_path):
    module = load("modules", "classhub_roster")
    monkeypatch.setattr(module, "LEDGER", str(tmp_path / "state/uids.json"))
    monkeypatch.setattr(module, "NAMES", str(tmp_path / "home/.nss"))
    monkeypatch.setattr(module, "HOMES", str(tmp_path / "home"))
    monkeypatch.setattr(module, "ARCHIVE", str(tmp_path / "home/.archive"))
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(module.pwd, "getpwall", host.getpwall)
    monkeypatch.setattr(module.grp, "getgrall", host.getgrall)
    roster = {"first_uid": 20000, "groups": GROUPS, "drops": 2}
    pillar = {"classhub": {"people": people, "roster": roster, "faults": []}}
    utils = {"classhub_roster.assign": load("utils", "classhub_roster").assign}
    monkeypatch.setattr(module, "__pillar__", pillar, raising=False)
    monkeypatch.setattr(module, "__salt__", host.functions(), raising=False)
    monkeypatch.setattr(module, "__utils__", utils, raising=False)
    return module


@pytest.fixture
def homes(tmp_path):
    return tmp_path / "home"


def mode(path):
    return path.stat().st_mode & 0o7777


# -- the first run, and the second ------------------------------------------------------------------------------------


def test_everybody_gets_an_account_and_a_second_plan_is_empty(module, host, homes):
    table = module.apply()
    assert table == dict.fromkeys(
        ["ada", "bob"], "done: account, group students, home, name files"
    ) | {"prof": "done: account, group instructors, home, name files"}
    assert module.ledger() == {"ada": 20000, "bob": 20001, "prof": 20002}
    ada = host.users["ada"]
    assert (ada.pw_uid, ada.pw_gid, ada.pw_shell) == (20000, 20000, "/usr/sbin/nologin")
    assert ada.pw_dir == str(homes / "ada")
    assert host.groups["students"][1] == ["ada", "bob"]
    assert module.plan() == {"ledger": module.ledger(), "people": {}, "left": {}, "faults": []}
    calls = list(host.calls)
    assert module.apply() == {}
    assert host.calls == calls


def test_home_is_the_students_alone(module, homes):
    module.apply()
    status = (homes / "ada").stat()
    assert (status.st_uid, status.st_gid, mode(homes / "ada")) == (20000, 20000, 0o700)
    names = sorted(path.name for path in homes.iterdir())
    assert names == [".archive", ".nss", "ada", "bob", "prof"]


def test_name_files_are_one_line_each_without_a_comma_in_the_name(module, homes):
    module.apply()
    folder = homes / ".nss/prof"
    line = f"prof:x:20002:20002:Moreau  Pat:{homes}/prof:/bin/bash\n"
    assert (folder / "passwd").read_text() == line
    assert (folder / "group").read_text() == "prof:x:20002:\n"
    assert (mode(homes / ".nss"), mode(folder), mode(folder / "passwd")) == (0o711, 0o755, 0o644)


def test_plan_changes_nothing(module, host, tmp_path):
    assert module.plan()["people"]["ada"][0] == "account"
    assert (host.calls, host.users) == ([], {})
    assert [path.name for path in tmp_path.rglob("*")] == ["home"]


# -- the ledger -------------------------------------------------------------------------------------------------------


def test_ledger_is_written_before_the_first_account(module, host):
    """A run that is killed between the two must not give the uid to somebody else."""
    seen = []
    host.before = lambda: seen.append(module.ledger())
    module.apply()
    assert seen == [{"ada": 20000, "bob": 20001, "prof": 20002}]
    assert mode(Path(module.LEDGER)) == 0o600


def test_uid_of_who_left_is_never_given_again(module, people):
    module.apply()
    people[:] = [person("ada"), person("zoe")]
    module.apply()
    assert module.ledger() == {"ada": 20000, "bob": 20001, "prof": 20002, "zoe": 20003}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"ada": "20000"}', '{"ada": true}'])
def test_damaged_ledger_is_refused_and_kept(module, host, text):
    path = Path(module.LEDGER)
    path.parent.mkdir()
    path.write_text(text)
    for function in (module.ledger, module.plan, module.apply):
        with pytest.raises(CommandExecutionError, match="restore it from the backup"):
            function()
    assert path.read_text() == text
    assert host.calls == []


@pytest.fixture
def reinstalled(module, host, people, homes):
    """The hub's own disk was lost, the homes were on another: everybody was there, and bob left."""
    module.apply()
    people[:] = [person("ada"), person("prof", "instructor", "Moreau, Pat")]
    module.apply()
    Path(module.LEDGER).unlink()
    host.users.clear()
    host.groups.clear()
    host.calls.clear()


@pytest.mark.usefixtures("reinstalled")
def test_homes_whose_ledger_is_lost_do_not_change_hands(module, host, people, homes):
    people[:] = [person("prof", "instructor"), person("bob"), person("ada")]
    told = "Restore {} from the backup, or give the roster the uid {}"
    faults = module.plan()["faults"]
    for name, path, uid in (("ada", "ada", 20000), ("bob", ".archive/bob", 20001)):
        (fault,) = [fault for fault in faults if fault.startswith(f"{name}: ")]
        assert f"{homes / path} belongs to the uid {uid}, and the class would" in fault
        assert fault.endswith(told.format(module.LEDGER, uid))
    with pytest.raises(CommandExecutionError, match="The roster was not applied"):
        module.apply()
    assert ((homes / "ada").stat().st_uid, host.calls) == (20000, [])


@pytest.mark.usefixtures("reinstalled")
def test_homes_whose_ledger_is_lost_are_theirs_again_by_the_roster(module, people, homes):
    people[:] = [person("zoe"), person("bob", uid=20001), person("ada", uid=20000)]
    assert module.plan()["faults"] == []
    module.apply()
    owners = [(homes / name).stat().st_uid for name in ("ada", "bob", "zoe")]
    assert owners == [20000, 20001, 20003]


@pytest.mark.usefixtures("reinstalled")
def test_who_is_new_does_not_get_the_uid_of_a_home_of_before(module, people):
    people[:] = [person("zoe")]
    assert module.plan()["ledger"] == {"zoe": 20003}


# -- faults: nothing is done ------------------------------------------------------------------------------------------


def test_account_of_the_host_with_the_same_name_is_a_fault(module, host, homes):
    host.has("ada", 1000)
    (fault,) = module.plan()["faults"]
    assert fault.startswith("ada: is an account of this host already (uid 1000)")
    with pytest.raises(CommandExecutionError, match="The roster was not applied:\n- ada: "):
        module.apply()
    assert (host.calls, list(homes.iterdir())) == ([], [])
    assert not Path(module.LEDGER).exists()


def test_account_of_the_host_is_adopted_when_the_roster_gives_its_uid(module, host, people):
    """The way out that the fault names."""
    host.has("ada", 3000, "Ada")
    host.groups["ada"] = (3000, [])
    people[0]["uid"] = 3000
    assert module.plan()["faults"] == []
    assert module.apply()["ada"] == "done: shell, group students, home, name files"
    assert ("user.add", "ada") not in host.calls
    assert module.ledger()["ada"] == 3000
    assert host.users["ada"].pw_shell == "/usr/sbin/nologin"


def test_uid_of_another_account_is_a_fault(module, host, people):
    host.has("daemon", 3000)
    people[0]["uid"] = 3000
    assert module.plan()["faults"] == ["ada: uid 3000 belongs to another account or group"]


def test_gid_of_another_group_is_a_fault(module, host, people):
    """The account would get it as its primary group, and would be one of that group."""
    host.groups["faculty"] = (3000, [])
    people[0]["uid"] = 3000
    assert module.plan()["faults"] == ["ada: uid 3000 belongs to another account or group"]


def test_gid_that_the_host_uses_is_skipped(module, host):
    host.groups["faculty"] = (20000, [])
    assert module.plan()["ledger"]["ada"] == 20001


def test_number_of_the_ledger_that_another_group_has_is_a_fault(module, host):
    """As on a new host to which the class was recovered."""
    Path(module.LEDGER).parent.mkdir()
    Path(module.LEDGER).write_text('{"ada": 20000}')
    host.groups["faculty"] = (20000, [])
    assert module.plan()["faults"] == [
        "ada: has the uid 20000, which is another account's or group's of this host. Give that another number"
    ]


def test_what_came_into_another_group_before_is_told_in_the_order_in_which_it_is_mended(
    module, host
):
    """systemd-sysusers gave the account the other group, and the person's own a number of its own."""
    module.apply()
    host.groups |= {"faculty": (20000, []), "ada": (991, [])}
    (fault,) = module.plan()["faults"]
    assert fault.startswith("ada: has the uid 20000, which is another account's or group's")
    host.groups["faculty"] = (30000, [])
    (fault,) = module.plan()["faults"]
    assert fault.endswith("if the group is that person's alone: groupmod --gid 20000 ada")
    host.groups["ada"] = (20000, [])
    assert module.plan()["faults"] == []


def test_group_of_the_host_with_the_same_name_is_a_fault(module, host, people):
    host.groups["docker"] = (992, [])
    people.append(person("docker"))
    (fault,) = module.plan()["faults"]
    assert fault.startswith("docker: is a group of this host already (gid 992)")


@pytest.mark.parametrize("ready", [False, True])
def test_username_that_is_a_roles_group_is_a_fault(module, people, ready):
    if ready:
        module.apply()
    people.append(person("instructors"))
    assert module.plan()["faults"] == [
        "instructors: is a group of the class. Give the person another username"
    ]


def test_uid_that_the_host_uses_is_skipped(module, host):
    host.has("daemon", 20000)
    assert module.plan()["ledger"]["ada"] == 20001


# -- one failure does not stop the others -----------------------------------------------------------------------------


def test_home_that_is_a_link_is_left_alone_and_the_others_go_on(module, homes, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    before = elsewhere.stat()
    (homes / "ada").symlink_to(elsewhere)
    table = module.apply()
    assert table["ada"] == f"failed: {homes / 'ada'} is a symbolic link; it was left alone"
    assert table["bob"].startswith("done:")
    after = elsewhere.stat()
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)
    assert (homes / "ada").is_symlink()
    assert module.plan()["people"] == {"ada": ["home", "name files"]}


def test_file_in_the_place_of_a_home(module, homes):
    (homes / "ada").write_text("mine")
    table = module.apply()
    assert table["ada"].startswith("failed: [Errno 20]")
    assert table["prof"].startswith("done:")
    assert (homes / "ada").read_text() == "mine"


REFUSALS = [
    (("user.add", "ada"), "user ada could not be added"),
    (("group.add", "ada"), "user ada could not be added"),
    (("group.adduser", "ada"), "ada could not be added to the group students"),
]


@pytest.mark.parametrize(("refusal", "sentence"), REFUSALS)
def test_refusal_of_the_system_is_told_and_the_others_go_on(module, host, refusal, sentence):
    host.refuses.add(refusal)
    table = module.apply()
    assert table["ada"] == f"failed: {sentence}; the minion's log says why"
    assert table["bob"].startswith("done:")
    host.refuses.clear()
    assert list(module.apply()) == ["ada"]
    assert module.plan()["people"] == {}


def test_role_group_that_cannot_be_made(module, host):
    host.refuses.add(("group.add", "students"))
    host.refuses |= {("group.adduser", "ada"), ("group.adduser", "bob")}
    table = module.apply()
    assert table["ada"].startswith("failed: ada could not be added to the group students")
    assert table["prof"].startswith("done:")


def test_account_that_got_another_uid_is_told(module, host, monkeypatch):
    """systemd-sysusers takes a free one where the wanted one is taken in that very moment."""
    monkeypatch.setitem(host.users, "ada", None)
    host.has("ada", 20000)
    host.groups |= {"ada": (20000, []), "students": (900, ["bob", "ada"])}

    def sysusers(*_, **__):
        host.has("bob", 777)
        host.groups["bob"] = (20001, [])

    monkeypatch.setitem(module.__salt__, "cmd.run_all", sysusers)
    people = module.__pillar__["classhub"]["people"]
    people[:] = [person("ada", uid=20000), person("bob")]
    assert module.apply()["bob"].startswith("failed: user bob did not get the uid 20001")


def test_group_that_got_another_gid_is_told(module, host, monkeypatch):
    """The same, of a group."""

    def sysusers(*_, **__):
        host.has("ada", 20000)
        host.groups |= {"ada": (777, []), "students": (900, ["ada"])}

    monkeypatch.setitem(module.__salt__, "cmd.run_all", sysusers)
    assert module.apply()["ada"].startswith("failed: group ada did not get the gid 20000")


def test_account_of_another_primary_group_is_told_and_all_else_is_done(module, host, people, homes):
    host.has("ada", 3000, "Ada", gid=100)
    people[0]["uid"] = 3000
    assert module.apply()["ada"] == (
        "failed: the primary group of ada has the gid 100, not 3000: usermod --gid 3000 ada"
    )
    assert (homes / "ada").stat().st_uid == 3000
    assert module.plan()["people"] == {"ada": ["primary group"]}


# -- what drifted is mended -------------------------------------------------------------------------------------------


def test_new_name_is_taken_over(module, host, people):
    module.apply()
    people[0]["name"] = "Ada Lind"
    assert module.plan()["people"] == {"ada": ["name", "name files"]}
    module.apply()
    assert host.users["ada"].pw_gecos == "Ada Lind"
    assert module.plan()["people"] == {}


def test_new_name_that_the_system_refuses(module, host, people):
    module.apply()
    people[0]["name"] = "Ada Lind"
    host.refuses.add(("user.chfullname", "ada"))
    assert module.apply()["ada"].startswith("failed: the name of ada could not be changed")


def test_shell_of_an_account_that_is_there_already_is_taken_away(module, host):
    """A student could put a key into the home by a notebook, and sign in to the hub itself."""
    module.apply()
    host.users["ada"] = host._but("ada", pw_shell="/bin/bash")
    assert module.plan()["people"] == {"ada": ["shell"]}
    assert module.apply() == {"ada": "done: shell"}
    ada = host.users["ada"]
    assert (ada.pw_shell, ada.pw_uid, ada.pw_gecos) == ("/usr/sbin/nologin", 20000, "Ada")
    assert module.plan()["people"] == {}


def test_shell_that_the_system_keeps(module, host):
    module.apply()
    host.users["ada"] = host._but("ada", pw_shell="/bin/bash")
    host.refuses.add(("user.chshell", "ada"))
    assert module.apply()["ada"].startswith("failed: the shell of ada could not be changed")


def test_new_role_leaves_the_old_group(module, host, people):
    module.apply()
    people[0]["role"] = "grader"
    assert module.plan()["people"] == {"ada": ["group graders", "other groups left"]}
    module.apply()
    assert host.groups["students"][1] == ["bob"]
    assert host.groups["graders"][1] == ["ada"]
    assert module.plan()["people"] == {}


def test_old_group_that_the_system_keeps(module, host, people):
    module.apply()
    people[0]["role"] = "grader"
    host.refuses.add(("group.deluser", "ada"))
    assert module.apply()["ada"].startswith(
        "failed: ada could not be taken out of the group students"
    )


def test_rights_of_a_home_are_mended_and_its_content_stays(module, homes):
    module.apply()
    (homes / "ada/work.txt").write_text("mine")
    (homes / "ada").chmod(0o755)
    assert module.plan()["people"] == {"ada": ["home rights"]}
    assert module.apply() == {"ada": "done: home rights"}
    assert mode(homes / "ada") == 0o700
    assert (homes / "ada/work.txt").read_text() == "mine"


# -- who left, and who comes back -------------------------------------------------------------------------------------


@pytest.fixture
def left(module, people, homes):
    """The class without bob, who had work."""
    module.apply()
    (homes / "bob/work.txt").write_text("mine")
    people[:] = [person("ada"), person("prof", "instructor", "Moreau, Pat")]
    return homes / ".archive"


def test_who_left_is_locked_and_the_home_archived(module, host, homes, left):
    assert module.plan()["left"] == {"bob": ["locked", "home archived"]}
    assert module.apply() == {"bob": "done: locked, home archived"}
    assert "bob" not in host.groups["students"][1]
    assert not (homes / "bob").exists()
    assert (left / "bob/work.txt").read_text() == "mine"
    assert (mode(left), mode(left / "bob")) == (0o700, 0o500)
    assert (left / "bob").stat().st_uid == 20001
    assert "bob" in host.users
    assert module.plan()["left"] == {}
    assert module.apply() == {}


@pytest.mark.usefixtures("left")
@pytest.mark.parametrize("refusal", ["group.adduser", "group.deluser", "stop"])
def test_who_leaves_is_denied_by_ssh_at_every_step(module, host, refusal):
    """The home with its keys is there until the server has ended."""
    host.refuses.add((refusal, "bob"))
    assert module.apply()["bob"].startswith("failed: ")
    denied = {*GROUPS.values(), module.LEFT}
    assert any("bob" in members for group, (_, members) in host.groups.items() if group in denied)
    host.refuses.clear()
    assert module.apply()["bob"].startswith("done: ")


@pytest.mark.usefixtures("left")
def test_server_is_stopped_when_no_new_one_can_start(module, host):
    module.apply()
    calls = [call for call in host.calls if call[1] == "bob"]
    assert calls[-2:] == [("group.deluser", "bob"), ("stop", "bob")]


def test_server_that_does_not_stop_keeps_the_home_in_place_until_the_next_run(
    module, host, homes, left
):
    host.refuses.add(("stop", "bob"))
    assert module.apply() == {"bob": "failed: the engine does not answer"}
    assert (homes / "bob/work.txt").exists()
    host.refuses.clear()
    assert module.apply() == {"bob": "done: home archived"}
    assert (left / "bob/work.txt").exists()


def test_who_comes_back_gets_uid_and_home_back(module, host, people, homes, left):
    module.apply()
    people.append(person("bob", "grader"))
    assert module.plan()["people"] == {"bob": ["group graders", "home back from the archive"]}
    module.apply()
    assert (homes / "bob/work.txt").read_text() == "mine"
    status = (homes / "bob").stat()
    assert (status.st_uid, mode(homes / "bob")) == (20001, 0o700)
    assert list(left.iterdir()) == []
    assert host.groups["graders"][1] == ["bob"]
    assert module.plan()["people"] == {}


def test_home_in_the_archive_is_not_overwritten(module, people, homes, left):
    module.apply()
    (homes / "bob").mkdir()
    (homes / "bob/newer.txt").write_text("newer")
    assert module.apply() == {"bob": "done: home archived"}
    assert sorted(path.name for path in left.glob("*/*")) == ["newer.txt", "work.txt"]


def test_link_in_the_place_of_a_home_is_not_followed(module, homes, tmp_path, left):
    (homes / "bob").rename(tmp_path / "elsewhere")
    (homes / "bob").symlink_to(tmp_path / "elsewhere")
    assert module.apply()["bob"].startswith("failed: ")
    assert (tmp_path / "elsewhere/work.txt").exists()
    assert mode(tmp_path / "elsewhere") == 0o700


def test_many_who_leave_at_once_are_asked_about(module, host, people, homes):
    """A roster that was cut off must not stop the class."""
    module.apply()
    calls = list(host.calls)
    people[:] = []
    (fault,) = module.plan()["faults"]
    assert fault == (
        "3 people of the class are not on the roster any more: ada, bob, prof. If they are to leave: "
        "salt hub classhub.roster drops=3"
    )
    with pytest.raises(CommandExecutionError, match="drops=3"):
        module.apply()
    assert host.calls == calls
    assert (homes / "ada").is_dir()
    assert set(module.apply(drops=3)) == {"ada", "bob", "prof"}


def test_nobody_leaves_by_a_roster_with_faults(module, host, people):
    """Who stands on the faulty line is not among the people."""
    module.apply()
    del people[1]
    module.__pillar__["classhub"]["faults"] = ["roster.csv: line 3: unknown role 'stud'"]
    with pytest.raises(CommandExecutionError, match="line 3"):
        module.apply()
    assert "bob" in host.groups["students"][1]
