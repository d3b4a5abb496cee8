"""The C code on its own: no warning, and nothing for the sanitizers to find in a few seconds of fuzzing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMPILER = os.environ.get("CC", "gcc").split()


@pytest.fixture
def sanitizers(tmp_path):
    """A compiler whose sanitized programs run here."""
    source = tmp_path / "empty.c"
    program = tmp_path / "empty"
    source.write_text("int main(void) { return 0; }")
    try:
        subprocess.run(
            [*COMPILER, "-fsanitize=address,undefined", source, "-o", program], check=True, capture_output=True
        )
        subprocess.run([program], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"{' '.join(COMPILER)} has no -fsanitize=address,undefined: {error}")


@pytest.mark.usefixtures("sanitizers")
def test_fuzzed_for_a_moment():
    """`python .ci/dev.py sanitize` does it for longer."""
    command = [sys.executable, HERE / "sanitize.py", "--only", "c", "--seconds", "2"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "mutations of them, no fault" in result.stdout
    assert "clock and sockets behave" in result.stdout
