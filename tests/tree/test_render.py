"""Every SLS renders for every host of every example class, by real Salt, and compiles to one highstate."""

import pytest
import salt.config
import salt.loader
import yaml

from tests.support.loading import ROOT, load
from tests.support.masterless import caller

EXAMPLES = {
    path.name: yaml.safe_load((path / "hosts.yaml").read_text())
    for path in sorted((ROOT / "pillar/example").iterdir())
}
HOSTS = [(example, minion) for example, hosts in EXAMPLES.items() for minion in hosts]


@pytest.fixture(scope="module")
def as_minion(tmp_path_factory):
    """``as_minion(example, minion)`` -> a masterless caller, made once."""
    made = {}

    def get(example, minion):
        if (example, minion) not in made:
            made[example, minion] = caller(example, minion, tmp_path_factory.mktemp("salt"))
        return made[example, minion]

    return get


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A host of all roles, in whose settings a list is a text."""
    root = tmp_path_factory.mktemp("pillar")
    settings = {"classhub": {"firewall": {"admin": "192.0.2.0/28"}}}
    (root / "machine.sls").write_text(yaml.safe_dump(settings))
    return caller("lab-one", "hub", tmp_path_factory.mktemp("salt"), root)


@pytest.mark.parametrize(("example", "minion"), HOSTS)
def test_highstate_compiles(as_minion, example, minion):
    compiled = as_minion(example, minion).cmd("state.show_highstate")
    assert isinstance(compiled, dict), "\n".join(compiled)
    assert compiled["Class settings are valid"]["test"][-2] == "succeed_without_changes"


@pytest.mark.parametrize(("example", "minion"), HOSTS)
def test_low_chunks_compile(as_minion, example, minion):
    """Requisites that name no state show up only here."""
    chunks = as_minion(example, minion).cmd("state.show_lowstate")
    assert all(isinstance(chunk, dict) for chunk in chunks), "\n".join(map(str, chunks))


@pytest.mark.parametrize("minion", ["proxy", "hub", "node1"])
def test_no_container_runs_before_the_firewall_is_in_force(as_minion, minion):
    chunks = as_minion("campus", minion).cmd("state.show_lowstate")
    order = [chunk["__id__"] for chunk in sorted(chunks, key=lambda chunk: chunk["order"])]
    wanted = [
        "Common packages are installed",
        "Firewall is in force",
        "Engine package is installed",
    ]
    assert sorted(wanted, key=order.index) == wanted


@pytest.mark.parametrize("name", ["firewall", "course", "hub", "proxy", "node", "backup"])
def test_faults_in_the_settings_stop_a_component_that_is_applied_alone(faulty, name):
    chunks = faulty.cmd("state.show_low_sls", name)
    assert all(isinstance(chunk, dict) for chunk in chunks), "\n".join(map(str, chunks))
    first = min(chunks, key=lambda chunk: chunk["order"])
    assert (first["__id__"], first["result"], first["failhard"]) == (
        "Class settings are valid",
        False,
        True,
    )


def is_for(stage, minion, roles):
    """Whether a stage of an orchestration is for this host."""
    pillar = {"classhub": {"roles": roles}}
    options = {**salt.config.DEFAULT_MINION_OPTS, "id": minion, "pillar": pillar, "grains": {}}
    kind = stage.get("tgt_type", "glob")
    return salt.loader.matchers(options)[f"{kind}_match.match"](stage["tgt"], opts=options)


@pytest.mark.parametrize("example", EXAMPLES)
def test_no_stage_of_a_deployment_follows_one_that_restarts_the_hosts_minion(as_minion, example):
    """The minion ends what runs five seconds later; and a stage that is for nobody fails."""
    roles = {minion: host["roles"] for minion, host in EXAMPLES[example].items()}
    apart = sorted({role for some in roles.values() if "hub" not in some for role in some})
    stages = as_minion(example, "hub").cmd(
        "state.show_low_sls", "orch.deploy", pillar={"apart": apart}
    )
    assert all(isinstance(stage, dict) for stage in stages), "\n".join(map(str, stages))
    reached = dict.fromkeys((stage["__id__"] for stage in stages), 0)
    for minion, some in roles.items():
        restarted = False
        for stage in sorted(stages, key=lambda stage: stage["order"]):
            if is_for(stage, minion, some):
                assert not restarted, f"{minion}: {stage['__id__']}"
                reached[stage["__id__"]] += 1
                restarted = "node" in some and ("node" in stage.get("sls", ["node"]))
    assert all(reached.values()), reached


CLEAN = sorted(
    str(path.parent.relative_to(ROOT / "salt")) for path in (ROOT / "salt").rglob("clean.sls")
)


@pytest.mark.parametrize("component", CLEAN)
def test_clean_states_compile(as_minion, component):
    compiled = as_minion("lab-one", "hub").cmd(
        "state.show_sls", f"{component.replace('/', '.')}.clean"
    )
    assert isinstance(compiled, dict), "\n".join(compiled)


def test_homes_are_exported_to_the_nodes_alone(as_minion):
    chunks = as_minion("campus", "hub").cmd("state.show_lowstate")
    (exports,) = [chunk["contents"] for chunk in chunks if chunk["name"].endswith(".exports")]
    lines = [line for line in exports.splitlines() if line.startswith("/")]
    nodes = {k: v for k, v in EXAMPLES["campus"].items() if "node" in v["roles"]}
    assert [line.split("(")[0].split()[1] for line in lines] == [
        v["address"] for v in nodes.values()
    ]
    for line in lines:
        options = line.split("(")[1].rstrip(")").split(",")
        assert line.startswith("/home ")
        assert {"rw", "sync", "root_squash"} <= set(options)


def test_a_node_mounts_the_hubs_homes(as_minion):
    chunks = as_minion("campus", "node1").cmd("state.show_lowstate")
    mount, at_boot = [chunk for chunk in chunks if chunk["state"] == "mount"]
    assert (mount["name"], mount["device"], mount["fstype"]) == (
        "/home",
        "192.0.2.11:/home",
        "nfs4",
    )
    assert {"hard", "nosuid", "nodev", "_netdev"} <= set(mount["opts"])
    assert (at_boot["name"], at_boot["fs_file"]) == (mount["device"], mount["name"])
    # at boot all the same, but that it tries without an end and holds up nobody else
    assert at_boot["fs_mntops"].split(",") == [*mount["opts"][:-1], "bg"]
    assert mount["opts"][-1] == "retry=0"


def test_hubs_authority_is_published_to_the_proxy_host_alone(as_minion):
    chunks = as_minion("campus", "hub").cmd("state.show_lowstate")
    (published,) = [c for c in chunks if c["name"] == "classhub_hub_authorities"]
    assert published["readers"] == ["proxy"]


@pytest.mark.parametrize(("example", "minion"), HOSTS)
def test_directory_of_all_settings_is_open_to_services_with_accounts_of_their_own(
    as_minion, example, minion
):
    """Salt gives a directory's mode to the parents that it makes, too."""
    chunks = as_minion(example, minion).cmd("state.show_lowstate")
    closed = [
        chunk["name"]
        for chunk in chunks
        if (chunk["state"], chunk["fun"]) == ("file", "directory")
        and chunk["name"].startswith("/etc/classhub/")
        and chunk.get("mode") != "0755"
        and chunk.get("makedirs")
    ]
    assert closed == []


def test_what_a_recovery_needs_makes_no_class(as_minion):
    """`state.apply backup` on a new hub: what it would make is what the recovery refuses, or brings itself."""
    chunks = as_minion("lab", "hub").cmd("state.show_low_sls", "backup")
    assert all(isinstance(chunk, dict) for chunk in chunks), "\n".join(map(str, chunks))
    made = {chunk["state"] for chunk in chunks if chunk["state"].startswith("classhub_")}
    assert made == {"classhub_service", "classhub_backup"}
    running = {chunk["name"] for chunk in chunks if chunk["state"] == "classhub_service"}
    assert running == {f"classhub-backup{end}.timer" for end in ("", "-drill", "-prune")}
    accounts = {chunk["name"] for chunk in chunks if chunk["state"] in ("user", "group")}
    assert accounts == {"jupyterhub", "classhub-activity"}


def test_what_is_saved_is_what_the_settings_keep_repositories_out_of(as_minion):
    chunks = as_minion("lab", "hub").cmd("state.show_low_sls", "backup.config")
    (settings,) = [c for c in chunks if c["name"] == "/etc/classhub/backup/backup.json"]
    trees = settings["dataset"]["trees"]
    assert {"/home", "/var/lib/classhub", "/var/lib/jupyterhub", "/etc/jupyterhub"} < set(trees)
    for database in settings["dataset"]["databases"]:
        assert any(database.startswith(f"{tree}/") for tree in trees), database
    assert settings["mode"] == "0600"
    assert settings["show_changes"] is False


def test_hubs_proxy_is_reached_through_tls_alone():
    unit = (ROOT / "salt/hub/files/jupyterhub-proxy.service").read_text()
    assert "--ip 127.0.0.1 --port ${CLASSHUB_PORT} --api-ip 127.0.0.1 " in unit


def test_class_by_acme_has_a_certificate_that_stands_in_before_it_asks(tmp_path):
    root = tmp_path / "pillar"
    root.mkdir()
    (root / "machine.sls").write_text("classhub: {proxy: {tls: acme}}\n")
    chunks = caller("lab", "proxy", tmp_path, root).cmd("state.show_low_sls", "proxy")
    assert all(isinstance(chunk, dict) for chunk in chunks), "\n".join(map(str, chunks))
    order = {chunk["__id__"]: chunk["order"] for chunk in chunks}
    steps = ["certificate is there", "service is running", "certificate is obtained"]
    places = [order[f"Proxy {step}"] for step in [*steps, "certificate is good"]]
    assert places == sorted(places)
    (stand_in,) = [c for c in chunks if c["__id__"] == "Proxy certificate is there"]
    assert stand_in["creates"] == stand_in["name"]


def pem(text):
    return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----"


def trusted(chunks):
    """{file: content} of the authorities that the host is made to trust."""
    return {
        chunk["name"]: chunk["contents"]
        for chunk in chunks
        if chunk["__sls__"] == "common.trust" and "contents" in chunk
    }


def test_each_authority_of_the_site_is_a_file_of_its_own(tmp_path):
    root = tmp_path / "pillar"
    root.mkdir()
    bundle = f"# the campus\n{pem('b25l')}\n\n  # its proxy\n{pem('dHdv')}\n# the end\n"
    settings = {"classhub": {"site": {"ca_bundle": bundle}}}
    (root / "machine.sls").write_text(yaml.safe_dump(settings))
    chunks = caller("lab", "node1", tmp_path, root).cmd("state.show_lowstate")
    assert all(isinstance(chunk, dict) for chunk in chunks), "\n".join(map(str, chunks))
    folder = "/usr/local/share/ca-certificates/classhub"
    assert trusted(chunks) == {
        f"{folder}/site-1.crt": pem("b25l"),
        f"{folder}/site-2.crt": pem("dHdv"),
    }
    (clean,) = [chunk for chunk in chunks if chunk["name"] == folder]
    assert clean["clean"] is True
    required = [each["file"] for each in clean["require"]]
    assert required == [f"Common trust in site authority {number}" for number in (1, 2)]


def test_class_without_authorities_of_its_own_trusts_none(as_minion):
    assert trusted(as_minion("lab", "node1").cmd("state.show_lowstate")) == {}


def test_a_faulty_class_gets_the_report_alone(tmp_path):
    root = tmp_path / "pillar"
    root.mkdir()
    (root / "machine.sls").write_text("classhub: {server: {memory: 1 GBB}, domain: nope}\n")
    compiled = caller("lab", "node1", tmp_path, root).cmd("state.show_highstate")
    assert list(compiled) == ["Class settings are valid"]
    report = str(compiled["Class settings are valid"])
    assert "classhub:server:memory: '1 GBB' is not a size" in report
    assert "classhub:domain: 'nope' is not a domain name" in report


def test_the_hub_is_told_whose_login_is_whose(as_minion):
    chunks = as_minion("campus", "hub").cmd("state.show_lowstate")
    (logins,) = [chunk for chunk in chunks if chunk["name"] == "/etc/jupyterhub/logins.json"]
    told = {name: name for name in ("prof", "grace", "ada", "bob", "eve")}
    assert logins["dataset"] == told | {"hz-cleo": "cleo", "0xdan": "dan"}
    assert (logins["mode"], logins["group"]) == ("0640", "jupyterhub")
    assert logins["show_changes"] is False


def test_ssh_knows_nobody_of_the_class_nor_who_left(as_minion):
    chunks = as_minion("lab", "hub").cmd("state.show_low_sls", "hub.users")
    (denied,) = [chunk["contents"] for chunk in chunks if "contents" in chunk]
    left = load("modules", "classhub_roster").LEFT
    assert denied.splitlines()[-1] == f"DenyGroups graders instructors students {left}"


def test_the_doctors_student_is_listed_in_its_group(as_minion):
    """The hub believes in no primary group."""
    chunks = as_minion("lab", "hub").cmd("state.show_low_sls", "hub.probe")
    (listed,) = [chunk for chunk in chunks if "addusers" in chunk]
    assert (listed["fun"], listed["name"]) == ("present", "classhub-probe")
    assert listed["addusers"] == ["classhub-probe"]


def test_the_client_secret_is_for_the_hub_alone(as_minion):
    secret = "not-a-secret-but-an-example"
    chunks = as_minion("campus", "hub").cmd("state.show_lowstate")
    having = [chunk for chunk in chunks if secret in str(chunk)]
    assert [chunk["name"] for chunk in having] == ["/etc/jupyterhub/classhub.json"]
    assert (having[0]["mode"], having[0]["show_changes"]) == ("0640", False)
    for minion in ("proxy", "node1"):
        caller = as_minion("campus", minion)
        assert secret not in str(caller.cmd("state.show_lowstate"))


def test_the_proxy_does_not_know_the_key_of_the_hubs_database(as_minion):
    chunks = as_minion("campus", "hub").cmd("state.show_lowstate")
    generated = {chunk["name"]: chunk["keys"] for chunk in chunks if chunk["fun"] == "generated"}
    assert "JUPYTERHUB_CRYPT_KEY" in generated["/etc/jupyterhub/secrets.env"]
    units = ROOT / "salt/hub/files"
    assert "secrets.env" in (units / "jupyterhub.service").read_text()
    assert "secrets.env" not in (units / "jupyterhub-proxy.service").read_text()
