"""The JavaScript client's pure logic: node's own test runner, a socket and a clock that are the tests' (tests/js)."""
import pathlib
import subprocess

import pytest

from runtimes import ROOT, Missing, node_command

FILES = sorted((ROOT / "tests/js/unit").glob("*.test.mjs"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name.removesuffix(".test.mjs"))
def test_unit(path: pathlib.Path):
    try:
        node = node_command()
    except Missing as e:
        pytest.skip(str(e))
    done = subprocess.run([*node, "--test", str(path)], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "# fail 0" in done.stdout and "# pass 0" not in done.stdout, done.stdout[-2000:]


def test_there_are_tests():
    assert len(FILES) >= 3
