"""The browser's side, without a browser."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from session_attachments.widgets import TEXTS

HERE = Path(__file__).parent
NODE = shutil.which("node")

pytestmark = pytest.mark.once


def node(*arguments):
    """What Node prints; when it fails, the test does and shows it."""
    if NODE is None:
        pytest.skip("there is no node")
    done = subprocess.run(
        [NODE, *arguments],
        cwd=HERE / "js",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr, sep="\n")
    assert done.returncode == 0
    return done.stdout


def test_unit_tests__pass():
    assert "\n# fail 0\n" in node("--test", "--test-reporter=tap")


def test_texts__are_the_same_in_both_languages():
    code = "import m from './shipped.js'; console.log(JSON.stringify(m.TEXTS))"
    script = json.loads(node("--input-type=module", "--eval", code))
    assert script == {key: str(text) for key, text in TEXTS.items()}
