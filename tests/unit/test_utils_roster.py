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


# -- exports of Canvas and Moodle ------------------------------------------------------------------------------------

CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,ps1 (1001),Current Score
    Points Possible,,,,,10,
"Lind, Ada",4711,u1,Ada,Data 101 A,9,90
"Haddad, Cleo",4712,u2,cleo,"Data 101 A, Data 101 B",,
"Student, Test",4713,,,Data 101 A,,
"""
MOODLE = """\
"First name","Last name","Email address",Roles,Groups
Ada,Lind,Ada.Lind@class.test,Student,A
Grace,Okafor,grace@class.test,"Non-editing teacher",
Pat,Moreau,pat@class.test,"Teacher, Student",
"""


def test_canvas_export():
    people, faults = roster.parse("\ufeff" + CANVAS.replace("\n", "\r\n"), ROLES)
    assert faults == []
    assert [(p["username"], p["name"], p["role"], p["section"]) for p in people] == [
        ("ada", "Ada Lind", "student", "Data 101 A"),
        ("cleo", "Cleo Haddad", "student", "Data 101 A, Data 101 B"),
    ]


def test_moodle_export():
    people, faults = roster.parse(MOODLE, ROLES, by_email=True)
    assert faults == []
    assert [(p["username"], p["name"], p["role"], p["section"]) for p in people] == [
        ("ada-lind", "Ada Lind", "student", "A"),
        ("grace", "Grace Okafor", "grader", ""),
        ("pat", "Pat Moreau", "instructor", ""),
    ]


def test_who_may_be_whom_at_github_is_not_guessed_from_an_address():
    people, faults = roster.parse(MOODLE, ROLES)
    assert (people, faults) == ([], ["roster line 1: no column username"])


def test_logins_that_are_added_to_an_export_say_who_is_whom():
    text = MOODLE.replace("Groups", "Groups,GitHub")
    text = text.replace(",A\n", ",A,9Lives\n").replace('teacher",\n', 'teacher",,grace-o\n')
    people, faults = roster.parse(text, ROLES)
    assert [(p["username"], p["login"]) for p in people] == [
        ("ada-lind", "9lives"),
        ("grace", "grace-o"),
    ]
    assert faults == [
        "roster line 4: login is missing, and an address does not say whose account it is"
    ]


def test_column_that_is_added_to_an_export_counts():
    text = MOODLE.replace("Groups", "Groups,username").replace(",A\n", ",A,ada-l\n")
    people, faults = roster.parse(text, ROLES)
    assert people[0]["username"] == "ada-l"
    assert len(faults) == 2, "the others have none"
    assert faults[0].startswith("roster line 3: username ''")


def test_role_that_is_not_known_in_an_export():
    _, faults = roster.parse(MOODLE.replace("Student,A", "Observer,A"), ROLES, by_email=True)
    assert faults == [
        "roster line 2: unknown role 'Observer'; the roles are student, grader, instructor"
    ]


def test_columns_that_say_the_same_twice():
    _, faults = roster.parse("Student,name,SIS Login ID\nx,y,z\n", ROLES)
    assert faults == ["roster line 1: two columns are the name"]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_separators_of_spreadsheets(delimiter):
    text = "username,role,name\nada,student,Ada\n".replace(",", delimiter)
    people, faults = roster.parse(text, ROLES)
    assert (faults, people[0]["name"]) == ([], "Ada")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('username,role\nada,student\n"bob,student\ncleo,student\n', 3),
        ('username,role\n"a"da,student\n', 2),
        ("username,role\nada,stu\0dent\n", 2),
    ],
)
def test_what_is_no_csv_is_told_with_its_line(text, line):
    people, faults = roster.parse(text, ROLES)
    assert people == []
    assert faults[0].startswith(f"roster line {line}: "), faults


def test_line_of_a_fault_is_where_its_record_begins():
    text = 'username,role,section\nada,student,"A\nB"\nbob,pupil,A\n'
    assert roster.parse(text, ROLES)[1][0].startswith("roster line 4: unknown role 'pupil'")


# -- uids ------------------------------------------------------------------------------------------------------------


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
        ({"bob": 20007}, set(), "uid 20007 belongs to another account or group"),
        ({}, {20007}, "uid 20007 belongs to another account or group"),
    ],
)
def test_contradictions_are_faults_and_change_nothing(ledger, taken, fault):
    grown, faults = roster.assign([person("ada", 20007)], ledger, taken, 20000)
    assert fault in faults[0]
    assert grown == ledger
