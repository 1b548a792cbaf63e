"""The ext_pillar gives each minion the whole settings, people to the hub alone, and names every fault."""

import datetime
import shutil

import pytest
import yaml

from tests.support.loading import ROOT, load

EXAMPLE = ROOT / "pillar/example/lab"


@pytest.fixture
def compile_pillar(tmp_path, monkeypatch):
    """``compile_pillar(minion, **changes)`` -> the minion's settings, for the lab's class with ``changes``."""
    module = load("pillar", "classhub")
    settings, roster = load("utils", "classhub_settings"), load("utils", "classhub_roster")
    utils = {
        f"classhub_settings.{n}": getattr(settings, n)
        for n in ("compose", "for_minion", "recipe", "role_faults")
    }
    utils["classhub_roster.parse"] = roster.parse
    utils["classhub_staff.faults"] = load("utils", "classhub_staff").faults
    utils["classhub_quota.faults"] = load("utils", "classhub_quota").faults
    calendar = load("utils", "classhub_calendar")
    utils |= {
        f"classhub_calendar.{n}": getattr(calendar, n) for n in ("plain", "faults", "cull_faults")
    }
    monkeypatch.setattr(module, "__utils__", utils, raising=False)
    monkeypatch.setattr(
        module, "__opts__", {"pillar_roots": {"base": [str(tmp_path)]}}, raising=False
    )
    shutil.copy(EXAMPLE / "roster.csv", tmp_path)
    given = {
        "domain": "class.test",
        "hosts": yaml.safe_load((EXAMPLE / "hosts.yaml").read_text()),
        "storage": {"driver": "shared"},
        "hub": {"lab_password": "lab"},
    }

    def run(minion, **changes):
        merged = settings.merge(given, changes)
        monkeypatch.setattr(module, "_own", lambda _: merged)
        forged = {"classhub": {"hosts": {minion: {"roles": ["hub"]}}}}
        return module.ext_pillar(minion, forged)["classhub"]

    run.root = tmp_path
    return run


def test_sound_class(compile_pillar):
    hub, node = compile_pillar("hub"), compile_pillar("node1")
    assert hub["faults"] == node["faults"] == []
    assert "ada" in {person["username"] for person in hub["people"]}
    assert "people" not in node
    assert node["nodes"] == {"node1": "10.77.0.21", "node2": "10.77.0.22"}
    assert len(node["image"]["recipe"]) == 16


def test_recipe_follows_the_stack(compile_pillar):
    plain = compile_pillar("hub")["image"]["recipe"]
    assert compile_pillar("hub", image={"stack": ["numpy==2.4.6"]})["image"]["recipe"] != plain
    assert compile_pillar("hub", server={"memory": "2G"})["image"]["recipe"] == plain


def test_missing_roster_is_a_fault_on_every_host(compile_pillar):
    (compile_pillar.root / "roster.csv").unlink()
    for minion in ("hub", "node1", "proxy"):
        assert any(
            "classhub:roster:file: there is no roster.csv" in fault
            for fault in compile_pillar(minion)["faults"]
        )


def test_roster_faults_carry_file_and_line(compile_pillar):
    (compile_pillar.root / "roster.csv").write_text("username,role\nada,student\nada,student\n")
    assert (
        "classhub:roster:file: roster.csv: line 3: username ada is on line 2 already"
        in compile_pillar("node1")["faults"]
    )


def test_roster_in_another_encoding(compile_pillar):
    (compile_pillar.root / "roster.csv").write_bytes(
        "username,role,name\nada,student,Ren\xe9\n".encode("latin-1")
    )
    assert any("is not UTF-8 text" in fault for fault in compile_pillar("hub")["faults"])


def test_staff_can_be_in_a_file_of_their_own(compile_pillar):
    (compile_pillar.root / "students.csv").write_text('Student,SIS Login ID\n"Lind, Ada",ada\n')
    (compile_pillar.root / "staff.csv").write_text("username,role\nprof,instructor\n")
    roster = {"file": "students.csv", "staff_file": "staff.csv"}
    hub = compile_pillar("hub", roster=roster)
    assert hub["faults"] == []
    assert [(p["username"], p["role"]) for p in hub["people"]] == [
        ("ada", "student"),
        ("prof", "instructor"),
    ]
    (compile_pillar.root / "staff.csv").write_text("username,role\nada,instructor\n")
    assert compile_pillar("hub", roster=roster)["faults"] == [
        "classhub:roster:staff_file: staff.csv: ada is in students.csv already"
    ]


@pytest.mark.parametrize(
    ("student", "staff", "twice"),
    [
        ("ada,student,", "grace,instructor,ada", "ada"),
        ("ada,student,grace", "grace,instructor,", "grace"),
        ("ada,student,0xadd", "grace,instructor,0xadd", "0xadd"),
        ("ada,student,0xadd", "ada,instructor,0xadd", "ada"),
    ],
)
def test_a_login_is_one_persons_in_both_files(compile_pillar, student, staff, twice):
    """Whoever signs in with it would be the other: a student an instructor."""
    header = "username,role,login\n"
    (compile_pillar.root / "roster.csv").write_text(f"{header}{student}\n")
    (compile_pillar.root / "staff.csv").write_text(f"{header}{staff}\n")
    hub = compile_pillar("hub", roster={"staff_file": "staff.csv"})
    assert hub["faults"] == [
        f"classhub:roster:staff_file: staff.csv: {twice} is in roster.csv already"
    ]
    assert [person["username"] for person in hub["people"]] == ["ada"]


def test_stranger(compile_pillar):
    faults = compile_pillar("mallory")["faults"]
    assert faults == ["classhub:hosts: this minion, mallory, is not one of the class's hosts"]


def test_everything_wrong_at_once(compile_pillar):
    (compile_pillar.root / "roster.csv").write_text(
        "username,role,uid\nada,student,20001\nbob,student,20001\n"
    )
    faults = compile_pillar(
        "node1",
        server={"memory": "1 GBB"},
        engine={"bip": "172.30.0.1/240"},
        hosts={"node2": {"address": "10.77.0.22", "roles": ["nodes"]}},
    )["faults"]
    for key in (
        "classhub:server:memory",
        "classhub:engine:bip",
        "classhub:hosts:node2:roles",
        "classhub:roster:file",
    ):
        assert sum(fault.startswith(key) for fault in faults) == 1, faults


def test_who_may_open_servers_is_staff(compile_pillar):
    assert compile_pillar("hub", staff={"access_servers": ["prof"]})["faults"] == []
    where = "classhub:staff:access_servers"
    for names in (["ada"], ["mallory"]):
        assert compile_pillar("node1", staff={"access_servers": names})["faults"] == [
            f"{where}: {names[0]} is not on the roster as grader or instructor"
        ]


def test_calendar_is_plain_text_and_its_faults_leave_none(compile_pillar):
    ada = {"ada": datetime.datetime(2030, 2, 1, 12)}
    entry = {"due": datetime.datetime(2030, 1, 31, 23, 59), "extensions": ada}
    hub = compile_pillar("hub", course={"assignments": {"ps1": entry}})
    assert hub["faults"] == []
    assert hub["course"]["assignments"]["ps1"]["due"] == "2030-01-31T23:59:00"
    hub = compile_pillar("hub", course={"assignments": {"ps1": entry | {"cutoff": "never"}}})
    assert hub["course"]["assignments"] == {}
    assert "classhub:course:assignments:ps1:cutoff: 'never' is not a time" in hub["faults"][0]


def test_idle_servers_have_plain_times_and_their_faults_are_told(compile_pillar):
    exam = {"from": datetime.datetime(2030, 6, 1, 9), "to": datetime.datetime(2030, 6, 1, 12)}
    hub = compile_pillar("hub", cull={"exams": [exam], "pins": ["ada"]})
    assert hub["faults"] == []
    assert hub["cull"]["exams"] == [{"from": "2030-06-01T09:00:00", "to": "2030-06-01T12:00:00"}]
    assert hub["cull"]["idle"] == 86400
    assert compile_pillar("hub", cull={"pins": ["zed"]})["faults"] == [
        "classhub:cull:pins: zed is not in the roster"
    ]


def test_an_assignment_with_a_fault_is_in_the_calendar_all_the_same(compile_pillar):
    """One fault, and not a second one because culling knows nothing of the assignment any more."""
    (fault,) = compile_pillar(
        "hub",
        course={"assignments": {"ps1": {"due": "soon"}}},
        cull={"assignments": {"ps1": {"open": True}}},
    )["faults"]
    assert fault.startswith("classhub:course:assignments:ps1:due")


def test_a_time_zone_that_does_not_exist_is_a_fault_and_no_crash(compile_pillar):
    (fault,) = compile_pillar("hub", course={"timezone": "Paris"})["faults"]
    assert fault.startswith("classhub:course:timezone: 'Paris' is not a time zone")
