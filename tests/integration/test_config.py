"""What an operator knows of his change: its revision, and where it is in force."""
import secrets

from stack import http


def write(stack, method, path, body=None, **headers):
    """The revision that the answer names, of a change that nobody waited for. None: it names none."""
    status, head, doc = http(method, stack.control_url + "/v1" + path, body, stack.admin_key, headers)
    assert status in (200, 201, 204), doc
    return int(head["Penstock-Config-Revision"]) if "Penstock-Config-Revision" in head else None


def test_every_service_tells_when_a_change_is_in_force(stack):
    path = f"/tenants/t-{secrets.token_hex(4)}"
    services = [n for n in stack.names() if n.startswith(("edge-", "router-", "worker-", "control-"))]
    made = write(stack, "PUT", path, {"name": "one"})
    changed = write(stack, "PUT", path, {"name": "two"}, **{"If-Match": "*"})
    gone = write(stack, "DELETE", path, None, **{"If-Match": "*"})
    assert 0 < made < changed < gone
    stack.settled(gone)
    assert all(stack.config_revision(n) >= gone for n in services)


def test_what_changes_nothing_has_no_revision(stack):
    path = f"/tenants/t-{secrets.token_hex(4)}"
    assert write(stack, "PUT", path + "?validate_only=true", {"name": "one"}) is None
    assert write(stack, "GET", "/tenants") is None


def test_a_service_that_starts_has_what_was_written_before(private):
    stack = private(routers=2)
    stack.kill("router-2")
    c = stack.control()  # waits for those that run
    c.tenant("late")
    tag = c.call("GET", "/tenants/late")[1]["ETag"]
    # The last word is a deletion: a service that starts now finds nothing of it, and is up to date all the same.
    status, head, _ = c.call("DELETE", "/tenants/late", headers={"If-Match": tag})
    stack.start_one("router-2")
    stack.wait_ready("router-2")
    assert stack.config_revision("router-2") >= int(head["Penstock-Config-Revision"])
