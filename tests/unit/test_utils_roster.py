"""The roster is read forgivingly and judged strictly; uids are pinned for ever."""

import pytest

from tests.support.loading import load

roster = load("utils", "classhub_roster")
ROLES = ("student", "grader", "instructor")
HEADER = "username,name,email,role,section\n"


def test_a_plain_roster():
    people, faults = roster.parse(HEADER + "ada,Ada Lind,ada@class.test,student,A\n", ROLES)
    assert faults == []
    assert people == [
        {
            "username": "ada",
            "name": "Ada Lind",
            "email": "ada@class.test",
            "role": "student",
            "section": "A",
            "uid": None,
            "login": "",
        }
    ]


def logins(*lines: str) -> tuple[list[dict], list[str]]:
    return roster.parse("username,role,login\n" + "".join(f"{line}\n" for line in lines), ROLES)


def test_logins_elsewhere():
    given = ["0xBob", "mona_corp", "a" * 39, "Ada@Class.example.edu"]
    names = ["bob", "mona", "long", "ada"]
    lines = [f"{name},student,{login}" for name, login in zip(names, given, strict=True)]
    people, faults = logins(*lines, "cleo,student,", "dan,student,dan")
    assert faults == []
    lower = [login.lower() for login in given]
    assert [person["login"] for person in people] == [*lower, "", "dan"]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (("ada,student,-ada",), "line 2: login '-ada' is not a name of an account"),
        (("ada,student,ada lind",), "line 2: login 'ada lind' is not a name of an account"),
        (("ada,student,_ada",), "line 2: login '_ada' is not a name of an account"),
        (("ada,student,A1", "bob,student,a1"), "line 3: login a1 is that of the person on line 2"),
        (
            ("ada,student,Bob", "bob,student,b1"),
            "line 3: login bob is that of the person on line 2",
        ),
        (
            ("bob,student,b1", "ada,student,bob"),
            "line 3: login bob is that of the person on line 2",
        ),
    ],
)
def test_a_login_is_one_persons(lines, fault):
    assert any(fault in found for found in logins(*lines)[1])


def test_bom_crlf_blank_lines_quotes_and_case():
    text = '\ufeffUsername, Name ,email,role,section\r\n\r\n"Ada","Lind, Ada",,student,\r\n,,,,\r\n'
    people, faults = roster.parse(text, ROLES)
    assert faults == []
    assert people[0]["username"] == "ada"
    assert people[0]["name"] == "Lind, Ada"


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (
            "ada,Ada,,student,A\nbob,Bob,,student,A\nADA,Ada,,student,A\n",
            "line 4: username ada is on line 2",
        ),
        ("ada,Ada,,pupil,A\n", "line 2: unknown role 'pupil'"),
        ("../ada,Ada,,student,A\n", "line 2: username '../ada'"),
        ("root:x,Ada,,student,A\n", "line 2: username 'root:x'"),
        ("9lives,Ada,,student,A\n", "line 2: username '9lives'"),
        ("ada-,Ada,,student,A\n", "line 2: username 'ada-'"),
        (f"{'a' * 33},Ada,,student,A\n", f"line 2: username '{'a' * 33}'"),
        ("ada,Ada,not-an-address,student,A\n", "line 2: 'not-an-address' is not an email address"),
        ("ada,Ada,,student,A,extra\n", "line 2: 6 fields, the header has 5"),
        ("ada,A:da,,student,A\n", "line 2: name has a colon"),
    ],
)
def test_faults_have_their_line(lines, fault):
    _, faults = roster.parse(HEADER + lines, ROLES)
    assert any(fault in found for found in faults), faults


@pytest.mark.parametrize("name", ["a", "a-b", "a--9", "a" * 32])
def test_usernames_that_are_taken(name):
    people, faults = roster.parse(f"username,role\n{name},student\n", ROLES)
    assert (faults, people[0]["username"]) == ([], name)


@pytest.mark.parametrize(
    ("first", "second"), [("20005", "20005"), ("20000", "020000"), ("020000", "20000")]
)
def test_duplicate_uid(first, second):
    text = f"username,role,uid\nada,student,{first}\nbob,student,{second}\n"
    _, faults = roster.parse(text, ROLES)
    assert faults == [f"roster line 3: uid {second} is on line 2 already"]


@pytest.mark.parametrize("uid", ["0", "000", "1999", "60001", "-20000", "2e4", "²", "٢٠٠٠٠"])
def test_uid_of_the_system_or_none_at_all_is_refused(uid):
    people, faults = roster.parse(f"username,role,uid\nada,student,{uid}\n", ROLES)
    assert faults == [f"roster line 2: uid {uid!r} is not a number from 2000 to 60000"]
    assert people == []


@pytest.mark.parametrize("text", ["", "name,email\nx,y\n"])
def test_missing_columns(text):
    people, faults = roster.parse(text, ROLES)
    assert people == []
    assert "roster line 1: no column username" in faults


def test_empty_roster():
    assert roster.parse(HEADER, ROLES)[1] == ["roster: nobody is in it"]


def person(name, uid=None):
    return {"username": name, "uid": uid}


def test_uids_are_given_upwards_and_kept():
    first, _ = roster.assign([person("ada"), person("bob")], {}, set(), 20000)
    assert first == {"ada": 20000, "bob": 20001}
    later, _ = roster.assign([person("zoe"), person("bob")], first, set(), 20000)
    assert later == {"ada": 20000, "bob": 20001, "zoe": 20002}


def test_a_leavers_uid_is_not_given_again():
    ledger, _ = roster.assign([person("new")], {"gone": 20000}, set(), 20000)
    assert ledger["new"] == 20001


def test_a_roster_uid_is_taken_and_skipped():
    ledger, faults = roster.assign([person("ada"), person("bob", 20000)], {}, {20001}, 20000)
    assert faults == []
    assert ledger == {"bob": 20000, "ada": 20002}


@pytest.mark.parametrize(
    ("ledger", "taken", "fault"),
    [
        ({"ada": 20000}, set(), "has been 20000 from the start"),
        ({"bob": 20007}, set(), "uid 20007 belongs to another account"),
        ({}, {20007}, "uid 20007 belongs to another account"),
    ],
)
def test_contradictions_are_faults_and_change_nothing(ledger, taken, fault):
    grown, faults = roster.assign([person("ada", 20007)], ledger, taken, 20000)
    assert fault in faults[0]
    assert grown == ledger
