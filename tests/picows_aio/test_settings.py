"""Settings from the environment."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = {
    "MAX_LINE_LENGTH": 8192,
    "MAX_NUM_HEADERS": 128,
    "MAX_BODY_SIZE": 1 << 20,
    "MAX_REDIRECTS": 10,
    "MAX_FRAGMENTS": None,
    "MAX_LOG_SIZE": 75,
    "BACKOFF_INITIAL_DELAY": 5.0,
    "BACKOFF_MIN_DELAY": 3.1,
    "BACKOFF_MAX_DELAY": 90.0,
    "BACKOFF_FACTOR": 1.618,
}
PROGRAM = "import json; from picows_aio import settings; print(json.dumps({n: v for n, v in vars(settings).items() "
PROGRAM += "if n.isupper()}))"


def read_settings(**variables: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WEBSOCKETS_")}
    environment = clean | {f"WEBSOCKETS_{name}": value for name, value in variables.items()}
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


def test_defaults():
    settings = json.loads(read_settings().stdout)
    product = settings.pop("PRODUCT")
    assert settings.pop("SERVER") == settings.pop("USER_AGENT") == product
    assert re.fullmatch(rf"Python/3\.{sys.version_info.minor} picows_aio/[0-9.]+\S*", product)
    assert settings == DEFAULTS


def test_the_environment_sets_all():
    numbers = {name: index for index, name in enumerate(DEFAULTS, 1)}
    settings = json.loads(
        read_settings(SERVER="mine", USER_AGENT="", **{name: str(value) for name, value in numbers.items()}).stdout
    )
    assert settings.pop("SERVER") == "mine"
    assert settings.pop("USER_AGENT") == ""
    assert {name: settings[name] for name in DEFAULTS} == numbers


def test_an_empty_number_is_the_default():
    settings = json.loads(read_settings(MAX_LINE_LENGTH="", BACKOFF_FACTOR="", MAX_FRAGMENTS="").stdout)
    assert {name: settings[name] for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_LINE_LENGTH", "8k"),
        ("MAX_NUM_HEADERS", "-1"),
        ("MAX_BODY_SIZE", "1.5"),
        ("MAX_LOG_SIZE", "\u0663"),
        ("BACKOFF_MIN_DELAY", "soon"),
        ("BACKOFF_MAX_DELAY", "inf"),
        ("BACKOFF_INITIAL_DELAY", "nan"),
        ("BACKOFF_FACTOR", "-1"),
    ],
)
def test_a_bad_number_names_the_variable(name, value):
    done = read_settings(**{name: value})
    assert done.returncode
    assert re.search(rf"ValueError: WEBSOCKETS_{name}='.*' in the environment is not a ", done.stderr)


def test_delays_come_from_the_environment():
    environment = {"INITIAL_DELAY": "0", "MIN_DELAY": "1.5", "FACTOR": "3", "MAX_DELAY": "10"}
    program = "import itertools; from picows_aio.reconnect import backoff; print(*itertools.islice(backoff(), 6))"
    variables = {f"WEBSOCKETS_BACKOFF_{name}": value for name, value in environment.items()}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["0.0", "1.5", "4.5", "10.0", "10.0", "10.0"]
