"""The example page in Chromium, as a person uses it; and the door for files that serves it."""
import socket
from urllib.parse import urlsplit

import pytest

from conftest import running_stack
from runtimes import ROOT
from stack import http, wait_for

UNTIL = """
globalThis.$ = (id) => document.getElementById(id);
globalThis.until = async (what, predicate, ms = 20000) => {
	const end = Date.now() + ms;
	for (;;) {
		const value = predicate();
		if (value) return value;
		if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}; ${document.body.innerText.slice(0, 600)}`);
		await new Promise((r) => setTimeout(r, 20));
	}
};
globalThis.bubbles = () => [...document.querySelectorAll(".message .bubble")].map((b) => b.textContent);
"""


@pytest.fixture(scope="module")
def own():
    with running_stack(edges=1, routers=1, workers=1, stores=1) as stack:
        yield stack


@pytest.fixture
def stack(own):
    own.start_one("edge-1")
    own.wait_ready()
    return own


@pytest.fixture
def person(stack, browser):
    """Opens the page for somebody: person(room, name)."""
    pages = []

    def open_page(room=None, name=None, key=True):
        hash = "&".join([*([f"key={stack.state['key']}"] if key else []), *([f"room={room}"] if room else [])])
        page = browser.page(f"{stack.edge_url}/example/#{hash}")
        page.run(UNTIL)
        if name:
            page.run("$('name').value = args.name", name=name)
        if key:
            page.run("await until('connected', () => $('status').dataset.state === 'open')")
        pages.append(page)
        return page
    yield open_page
    stray = [e for page in pages for e in page.stray]
    # What the policy of the page refuses is said on the console.
    refused = [text for page in pages for kind, texts in page.console for text in texts if "Content Security" in str(text)]
    for page in pages:
        page.close()
    assert stray == [] and refused == []


def type_text(page, text):
    page.run("$('text').focus()")
    page.call("Input.insertText", text=text)
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    page.call("Input.dispatchKeyEvent", type="keyUp", key="Enter", code="Enter", windowsVirtualKeyCode=13)


def press_tab(page):
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)


def test_two_people_talk(person):
    ada, bob = person("talk", "Ada"), person("talk", "Bob")
    ada.run("$('text').focus()")
    ada.call("Input.insertText", text="H")
    bob.run("await until('who types', () => $('typing').textContent.includes('Ada'))")
    ada.run("$('text').value = ''")
    type_text(ada, "Hello <b>Bob</b>")
    bob.run("await until('it', () => bubbles().length === 1)")
    type_text(bob, "Hello Ada")
    for page in (ada, bob):
        got = page.run("await until('both', () => bubbles().length === 2); return bubbles();")
        assert got == ["Hello <b>Bob</b>", "Hello Ada"]
    got = ada.run("""
        await until("stored", () => document.querySelector('.mine[data-state="stored"]'));
        return { mine: document.querySelectorAll(".mine").length, tags: document.querySelectorAll(".bubble b").length,
                 typing: $("typing").textContent, hash: location.hash, field: $("text").value };
    """)
    assert got == {"mine": 1, "tags": 0, "typing": "", "hash": "", "field": ""}


def test_a_room_is_read_again_after_a_reload(person):
    page = person("again", "Ada")
    type_text(page, "one")
    page.run("await until('stored', () => document.querySelector('.mine[data-state=\"stored\"]'))")
    page.go(page.run("return location.href"))
    page.run(UNTIL)
    got = page.run("await until('it', () => bubbles().length); return [bubbles(), $('room').value];")
    assert got == [["one"], "again"]


def test_summary(person):
    page = person("sum", "Ada")
    page.run("$('seed').click(); await until('five', () => document.querySelectorAll('[data-state=stored]').length === 5);")
    got = page.run("""
        $("summarise").click();
        await until("the end", () => !$("summarise").disabled && $("facts").textContent);
        return { stages: [...$("stages").children].map((s) => s.dataset.state), paper: $("paper").innerText,
                 facts: $("facts").textContent, live: document.querySelectorAll(".live").length, items: $("paper").querySelectorAll("li").length };
    """)
    assert got["stages"] == ["done"] * 4 and got["live"] == 0 and got["items"] >= 3
    assert "drain one edge" in got["paper"] and "token" in got["facts"]


def test_offline_and_back(stack, person):
    page = person("away", "Ada")
    stack.kill("edge-1")
    page.run("await until('the banner', () => !$('banner').hidden)")
    type_text(page, "while it is down")
    got = page.run("""
        await until("it is counted", () => $("banner").innerText.includes("1 message"));
        return [document.querySelector(".mine").dataset.state, $("status-text").textContent, $("banner").innerText];
    """)
    assert got[0] == "sending" and got[1] in ("Reconnecting", "Connecting…") and "connection was lost" in got[2]
    stack.start_one("edge-1")
    stack.wait_ready("edge-1")
    page.run("""
        if (!$("banner").hidden) $("again").click();
        await until("stored", () => document.querySelector('.mine[data-state="stored"]'), 40000);
        await until("no banner", () => $("banner").hidden);
    """)


def test_key_at_the_door(stack, person):
    """Asked for; a wrong one is told so and forgotten; then the right one."""
    page = person(key=False)
    page.run("await until('the door', () => !$('gate').hidden && document.activeElement === $('key'))")
    page.run("$('key').value = 'pk_no_such'; $('gate-form').requestSubmit();")
    page.run("await until('the error', () => $('gate-error').textContent.includes('does not accept'))")
    assert page.run("return sessionStorage.getItem('penstock.key')") is None
    page.run("$('key').value = args.key; $('gate-form').requestSubmit(); "
             "await until('connected', () => $('status').dataset.state === 'open' && !$('desk').hidden)",
             key=stack.state["key"])


@pytest.mark.parametrize("width,height", [(320, 568), (390, 844), (768, 1024), (1280, 720)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screens(person, tmp_path, width, height, scheme):
    """Nothing sticks out; text can be told from its ground; what is pressed is large enough for a finger."""
    page = person("look", "Ada")
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.run("if (!document.querySelector('.message')) $('seed').click(); "
             "await until('five', () => document.querySelectorAll('[data-state=stored]').length >= 5);")
    got = page.run("""
        const rgb = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4))
            .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
        const contrast = (e, ground) => {
            const [a, b] = [light(rgb(getComputedStyle(e).color)), light(rgb(getComputedStyle(ground).backgroundColor))].sort((x, y) => y - x);
            return (a + .05) / (b + .05);
        };
        const bubble = document.querySelector(".bubble");
        const card = document.querySelector(".chat");
        const outside = [...document.querySelectorAll("#desk *, header *")].filter((e) => {
            const r = e.getBoundingClientRect();
            return r.width > 0 && getComputedStyle(e).clipPath === "none" && (r.right > innerWidth + 1 || r.left < -1);
        }).map((e) => e.outerHTML.slice(0, 80));
        const send = $("send").getBoundingClientRect();
        return { wide: document.scrollingElement.scrollWidth, tall: document.scrollingElement.scrollHeight, outside,
                 contrast: [contrast(bubble, bubble), contrast(document.querySelector(".name"), card), contrast($("summarise"), $("summarise")), contrast($("facts"), card)],
                 send: Math.min(send.width, send.height), composer: send.bottom <= innerHeight };
    """)
    page.screenshot(tmp_path / "page.png")
    assert got["wide"] <= width and got["tall"] <= height and got["outside"] == []
    assert min(got["contrast"]) >= 4.5, got["contrast"]
    assert got["send"] >= 40 and got["composer"]


def test_by_keyboard_alone(person):
    """Every control can be reached in order, is named, and shows that it has the focus."""
    page = person("keys", "Ada")
    page.call("Emulation.setDeviceMetricsOverride", width=1280, height=720, deviceScaleFactor=1, mobile=False)
    page.run("$('room').focus(); await until('the summary beside it', () => $('summarise').offsetParent)")
    seen = [["room", True, True]]
    for _ in range(8):
        press_tab(page)
        seen.append(page.run("""
            const e = document.activeElement;
            const name = e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent.trim();
            return [e.id || e.className, Boolean(name), getComputedStyle(e).outlineStyle !== "none"];
        """))
    ids = [s[0] for s in seen]
    for id in ("room", "name", "log", "seed", "text", "send", "summarise"):
        assert id in ids, seen
    assert ids.index("room") < ids.index("text") < ids.index("send") < ids.index("summarise")
    assert all(name and outline for id, name, outline in seen if id in ("room", "name", "log", "seed", "text", "send", "summarise")), seen


# --- the door

def raw(stack, request):
    """The answer to these very bytes: no client in between makes the path a nice one."""
    where = urlsplit(stack.edge_url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as s:
        s.sendall(request.encode() + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while chunk := s.recv(65536):
            data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode(), body


def test_files_and_their_headers(stack):
    status, head, body = http("GET", stack.edge_url + "/example/")
    assert status == 200 and body == (ROOT / "clients/js/example/index.html").read_text()
    assert head["Content-Type"] == "text/html; charset=utf-8"
    policy = head["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert head["X-Content-Type-Options"] == "nosniff" and head["Referrer-Policy"] == "no-referrer"
    status, head, body = http("GET", stack.edge_url + "/penstock.js")
    assert status == 200 and head["Content-Type"] == "text/javascript; charset=utf-8"
    assert body == (ROOT / "clients/js/penstock.js").read_text()
    status, text, body = raw(stack, "HEAD /example/style.css HTTP/1.1")
    assert status == 200 and body == b"" and "text/css" in text
    status, text, _ = raw(stack, "GET /example HTTP/1.1")
    assert status == 301 and "\r\nLocation: example/\r\n" in text
    status, head, _ = http("POST", stack.edge_url + "/penstock.js", {})
    assert status == 405 and head["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", [
    "/../Makefile", "/example/../../../Makefile", "/%2e%2e/%2e%2e/Makefile", "/..%2f..%2fMakefile", "/example/%2e%2e/penstock.js",
    "/.git/config", "//etc/passwd", "/example//index.html", "/penstock.js/", "/penstock.js%00.html", "/penstock.d.ts",
    "/nothing.html", "/" + "a/" * 300, "/example/index.html%0a"])
def test_what_is_no_file_there(stack, path):
    status, head, body = raw(stack, f"GET {path} HTTP/1.1")
    if path == "/penstock.js%00.html":  # libmicrohttpd's text ends at the zero byte: it is the file before it, or none
        assert status in (200, 400, 404)
        return
    assert status in (400, 404), (path, status)
    assert b"penstock" not in body.lower() or b"problem" in head.lower().encode() or status == 400


def test_off_by_default(private):
    stack = private(start=False)
    stack.extra = {"edge": {"PENSTOCK_EDGE_STATIC_DIR": None}}
    stack.start()
    assert http("GET", stack.edge_url + "/example/")[0] == 404
    stack.kill("edge-1")
    stack.extra = {"edge": {"PENSTOCK_EDGE_STATIC_DIR": "/nowhere"}}
    stack.start_one("edge-1")
    wait_for("its end", lambda: stack.pid("edge-1") is None)
    assert "PENSTOCK_EDGE_STATIC_DIR" in stack.tail("edge-1")
