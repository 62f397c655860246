"""The model simulator: what other tests rely on must be true of it."""
import json
import socket
import subprocess
import threading
import urllib.parse

import pytest

from conftest import BIN
from stack import http, wait_for

DOC = ("Rivers carry water to the sea. The water of rivers drives turbines. A turbine without water stands still. "
       "Some people like cheese. Turbines make power from the water of rivers.")


@pytest.fixture
def sim():
    process = subprocess.Popen([str(BIN / "penstock-modelsim"), "--port", "0", "--seed", "7"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    yield process.stdout.readline().split()[-1]
    process.terminate()
    assert process.wait(20) == 0
    process.stdout.close()


def chat(url, model="sim-a", text=DOC, headers=None, timeout=20, **more):
    return http("POST", url + "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": text}],
                                                       **more}, headers=headers, timeout=timeout)


def stats(url, model="sim-a"):
    return http("GET", url + "/sim/stats?keys=all")[2]["models"][model]


def knobs(url, **k):
    status, _, doc = http("POST", url + "/sim/knobs", k)
    assert status == 200, doc


def raw(url, body, headers=""):
    """A socket with the request sent."""
    parts = urllib.parse.urlsplit(url)
    s = socket.create_connection((parts.hostname, parts.port), 20)
    data = json.dumps(body).encode()
    s.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(data)}\r\n\r\n".encode()
              + data)
    return s


def read_all(s):
    got = b""
    while not got.endswith(b"0\r\n\r\n"):
        more = s.recv(65536)
        if not more:
            break
        got += more
    return got


def test_answers_are_made_of_the_input(sim):
    _, _, doc = chat(sim)
    text = doc["choices"][0]["message"]["content"]
    assert all(sentence.strip() in DOC for sentence in text.split(". "))
    assert "water" in text
    assert text != chat(sim, "sim-b")[2]["choices"][0]["message"]["content"]
    assert chat(sim)[2]["choices"][0]["message"]["content"] == text


def test_usage_is_counted_and_max_tokens_kept(sim):
    _, _, doc = chat(sim, max_tokens=5)
    assert doc["usage"]["completion_tokens"] == 5 and doc["choices"][0]["finish_reason"] == "length"
    assert doc["usage"]["total_tokens"] == doc["usage"]["prompt_tokens"] + 5
    assert doc["usage"]["prompt_tokens"] >= len(DOC.split())
    s = stats(sim)
    assert (s["prompt_tokens"], s["completion_tokens"]) == (doc["usage"]["prompt_tokens"], 5)


def test_a_stream_is_the_same_answer(sim):
    whole = chat(sim)[2]
    with raw(sim, {"model": "sim-a", "messages": [{"role": "user", "content": DOC}], "stream": True,
                   "stream_options": {"include_usage": True}}) as s:
        got = read_all(s).decode()
    chunks = [json.loads(line[6:]) for line in got.splitlines() if line.startswith("data: {")]
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["usage"] == whole["usage"] and chunks[-1]["choices"] == []
    assert "data: [DONE]" in got


@pytest.mark.parametrize("body,status", [
    (b"{", 400), (b"[]", 400), ({}, 400), ({"model": "sim-a"}, 400), ({"model": "sim-a", "messages": []}, 400),
    ({"model": "sim-a", "messages": [{"role": "king", "content": "x"}]}, 400),
    ({"model": "sim-a", "messages": [{"role": "user", "content": 7}]}, 400),
    ({"model": "sim-a", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0}, 400),
    ({"model": "gpt", "messages": [{"role": "user", "content": "x"}]}, 404)])
def test_bad_requests_in_the_apis_shape(sim, body, status):
    got, _, doc = http("POST", sim + "/v1/chat/completions", body)
    assert got == status and doc["error"]["message"] and doc["error"]["type"] == "invalid_request_error"


def test_key():
    process = subprocess.Popen([str(BIN / "penstock-modelsim"), "--key", "s3cret"], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    url = process.stdout.readline().split()[-1]
    assert chat(url)[0] == 401
    assert chat(url, headers={"Authorization": "Bearer wrong"})[0] == 401
    assert chat(url, headers={"Authorization": "Bearer s3cret"})[0] == 200
    process.terminate()
    process.communicate()


def test_limits_and_retry_after(sim):
    knobs(sim, model="sim-a", rpm=2)
    answers = [chat(sim) for _ in range(4)]
    assert [a[0] for a in answers] == [200, 200, 429, 429]
    assert 1 <= int(answers[2][1]["Retry-After"]) <= 60
    assert answers[2][2]["error"]["code"] == "rate_limit_exceeded"
    knobs(sim, model="sim-b", tpm=10)
    assert chat(sim, "sim-b")[0] == 429
    s = stats(sim)
    assert (s["requests"], s["admitted"], s["limited"], s["rpm_peak"], s["rpm_admitted_peak"]) == (4, 2, 2, 4, 2)


def test_faults_on_demand(sim):
    knobs(sim, model="sim-a", fail={"status": 500, "count": 2})
    assert [chat(sim)[0] for _ in range(3)] == [500, 500, 200]
    assert chat(sim, headers={"X-Sim": "fail=502"})[0] == 502
    assert chat(sim, "sim-a@fail=503")[0] == 503
    body = {"model": "sim-a", "messages": [{"role": "user", "content": DOC}], "stream": True}
    with raw(sim, body, "X-Sim: cut=3\r\n") as s:
        got = read_all(s)
    assert got.count(b'"content"') == 3 and b"[DONE]" not in got and not got.endswith(b"0\r\n\r\n")
    with raw(sim, body, "X-Sim: hang=1\r\n"):
        wait_for("the hang", lambda: stats(sim)["hung"] == 1 and stats(sim)["concurrent"] == 1)
    wait_for("the client's end to be seen", lambda: stats(sim)["cancelled"] == 1 and stats(sim)["concurrent"] == 0)
    assert http("POST", sim + "/sim/knobs", {"nosuch": 1})[0] == 400
    http("POST", sim + "/sim/reset", {})
    assert stats(sim)["requests"] == 0


def test_idempotency_keys_are_counted(sim):
    for key in ("a", "b", "a"):
        chat(sim, headers={"Idempotency-Key": key})
    s = stats(sim)
    assert s["idempotency_keys"] == {"a": 2, "b": 1} and (s["keys_distinct"], s["keys_repeated"]) == (2, 1)


def test_embeddings(sim):
    def embed(*texts, **more):
        return [d["embedding"] for d in http("POST", sim + "/v1/embeddings", {
            "model": "sim-embed", "input": list(texts), **more})[2]["data"]]
    a, b, c = embed("the gate of the river", "the river and the gate", "cheese tastes good")
    assert len(a) == 256 and abs(sum(x * x for x in a) - 1) < 1e-5
    dot = lambda x, y: sum(p * q for p, q in zip(x, y))  # noqa: E731
    assert dot(a, b) > dot(a, c)
    assert a == embed("the gate of the river")[0] and len(embed("x", dimensions=8)[0]) == 8
    assert {m["id"] for m in http("GET", sim + "/v1/models")[2]["data"]} >= {"sim-a", "sim-b", "sim-embed"}


def test_two_thousand_streams_at_once(sim):
    """Held open by one thread; some are given up in the middle."""
    n, gone = 2000, 100
    body = {"model": "sim-a", "messages": [{"role": "user", "content": DOC}], "stream": True, "max_tokens": 10}
    socks = [raw(sim, body, "X-Sim: first_token_ms=3000,token_ms=20\r\n") for _ in range(n)]
    try:
        wait_for("all of them under way", lambda: stats(sim)["concurrent_peak"] == n, 30)
        assert http("GET", sim + "/sim/stats")[2]["connections"] >= n
        for s in socks[:gone]:
            s.close()
        done = []
        socks = socks[gone:]
        readers = [threading.Thread(target=lambda part=socks[i::8]: done.extend(
            read_all(s).count(b"data: ") for s in part)) for i in range(8)]
        for r in readers:
            r.start()
        for r in readers:
            r.join(60)
        assert done == [12] * (n - gone)  # ten tokens, the end, [DONE]
        wait_for("the count", lambda: (stats(sim)["completed"], stats(sim)["cancelled"]) == (n - gone, gone), 20)
    finally:
        for s in socks:
            s.close()
