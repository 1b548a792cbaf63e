"""What instructors may do on the hub of the class: look after servers, and not look into them."""

from tests.support.waiting import wait_until


def test_an_instructor_looks_after_servers_and_not_into_them(student):
    prof, ada = student("prof"), student("ada")
    assert prof.page("/hub/admin").status_code == 200
    assert ada.page("/hub/admin").status_code == 403
    assert student("grace").page("/hub/admin").status_code == 403

    assert ada.start().ready
    assert prof.hub_request("GET", "users/ada").json()["servers"][""]["ready"]
    assert prof.page("/user/ada/lab").status_code == 403

    assert prof.hub_request("DELETE", "users/ada/server").status_code in (202, 204)
    wait_until(
        "the server of ada has stopped",
        lambda: not prof.hub_request("GET", "users/ada").json()["servers"],
        60,
    )
