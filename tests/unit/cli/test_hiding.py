"""Secrets of a lab are in nothing that a verb prints or writes down, wherever they come from."""

from __future__ import annotations

import io
import json
import logging
import shutil
import string
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.cli.hiding import HidingStream, Pieces, Secrets, shown
from labkit.cli.output import print_error, print_table
from labkit.cli.session import start_log
from labkit.errors import OperationError
from labkit.state.directory import LabDirectory
from labkit.state.lock import lab_lock
from labkit.state.secrets import password_file
from tests.support import labs
from tests.support.examples import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commandline import Run

# As long as labkit makes them itself, and never a part of other text by chance.
SECRET = st.text(string.ascii_letters + string.digits, min_size=16, max_size=24)
# Others are refused in this lab, whose file then goes no further.
KEYS = (
    "CONFIG_KEYSTONE_ADMIN_PW",
    "CONFIG_MARIADB_PW",
    "CONFIG_NOVA_KS_PW",
    "CONFIG_NEUTRON_DB_PW",
)
VERBS = (
    "validate", "graph", "graph --svg", "schema", "scenarios", "deploy --dry-run", "render rendered",
    "verify --from outputs", "verify --from outputs --json --junit report.xml", "logs nonsense",
    "ssh nobody", "console nobody", "restore nothing --dry-run", "snapshot --delete --all --dry-run",
)  # fmt: skip


@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(KEYS), secrets=st.tuples(SECRET, SECRET, SECRET))
def test_secret_is_in_no_output_of_any_verb_that_needs_no_guest(
    run: Run, key: str, secrets: tuple[str, str, str]
) -> None:
    place = Path.cwd()
    written, made, proxy = secrets
    text = (ROOT / "lab.yaml").read_text(encoding="utf-8")
    text += f"  answers: {{{key}: {written}}}\n"
    text += f"repos: {{proxy: 'http://kim:{proxy}@192.0.2.1:3128'}}\n"
    Path("lab.yaml").write_text(text, encoding="utf-8")
    directory = LabDirectory(place / ".labkit" / "packstack")
    directory.create()
    password_file(directory).write_text(json.dumps({"CONFIG_NOVA_DB_PW": made}))
    for node in ("controller", "compute"):
        outputs = place / "outputs" / node
        outputs.mkdir(parents=True, exist_ok=True)
        (outputs / "ip-addr.txt").write_text(f"{written} {proxy} {made}")
        (outputs / "ip-addr.txt.error").write_text(f"exit 1\n{written} {proxy} {made}")
        (outputs / "ifcfg-br-ex").write_text(f"IPADDR={made}\nGATEWAY={written}\nMTU={proxy}\n")

    shutil.rmtree("rendered", ignore_errors=True)
    for words in VERBS:
        ended = run(*words.split())
        said = ended.out + ended.err
        assert said
        assert not [secret for secret in secrets if secret in said], words
    ours = [
        path
        for part in ("rendered", ".labkit", "report.xml")
        for path in (place / part, *(place / part).rglob("*"))
        if path.is_file() and path != password_file(directory)
    ]
    assert len(ours) > 10
    for path in ours:
        # yum's configuration in a guest has the proxy's password.
        assert not [s for s in (written, made) if s.encode() in path.read_bytes()], path


def keep(tmp_path: Path, *secrets: str) -> Secrets:
    directory = LabDirectory(tmp_path / "demo")
    directory.create()
    kept = {f"CONFIG_{number}": secret for number, secret in enumerate(secrets)}
    password_file(directory).write_text(json.dumps(kept))
    return Secrets(labs.lab(), directory)


@pytest.fixture
def hiding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], io.StringIO]:
    """Return what has both streams hide 'letmein-2018', and returns what they print into."""

    def begin() -> io.StringIO:
        printed = io.StringIO()
        for name in ("stdout", "stderr"):
            stream = HidingStream(printed)
            stream.hide = keep(tmp_path, "letmein-2018").hide
            monkeypatch.setattr(sys, name, stream)
        return printed

    # Not at once: pytest puts streams of its own in their place before the test begins.
    return begin


def test_error_with_a_secret_of_a_guest_is_shown_without_it(
    hiding: Callable[[], io.StringIO],
) -> None:
    printed = hiding()
    print_error(OperationError("It said letmein-2018.", details=("db://root:letmein-2018@x",)))
    assert printed.getvalue() == "error: It said ********.\n  db://root:********@x\n"


def test_cell_of_a_table_is_hidden_before_a_line_is_broken_within_it(
    hiding: Callable[[], io.StringIO],
) -> None:
    printed = hiding()
    print_table(("check", "seen"), [("x" * 30, f"{'y' * 40} letmein-2018")])
    assert "2018" not in printed.getvalue()
    assert "********" in printed.getvalue()


def test_bytes_are_refused_as_by_any_text_stream(tmp_path: Path) -> None:
    stream = HidingStream(io.StringIO())
    for hide in (stream.hide, keep(tmp_path).hide, keep(tmp_path, "letmein-2018").hide):
        stream.hide = hide
        with pytest.raises(TypeError):
            stream.write(b"")  # type: ignore[arg-type] # as libraries try it


def test_text_for_a_file_is_hidden_too(hiding: Callable[[], io.StringIO]) -> None:
    printed = hiding()
    assert shown('{"seen": "letmein-2018"}') == '{"seen": "********"}'
    assert printed.getvalue() == ""


def test_secret_stays_hidden_when_the_lab_has_lost_it(tmp_path: Path) -> None:
    secrets = keep(tmp_path, "letmein-2018")
    assert secrets.hide("letmein-2018") == "********"
    password_file(LabDirectory(tmp_path / "demo")).unlink()
    assert secrets.hide("letmein-2018") == "********"


def test_log_has_no_secret_in_a_record_or_a_traceback(tmp_path: Path) -> None:
    secrets = keep(tmp_path, "letmein-2018")
    directory = LabDirectory(tmp_path / "demo")
    handler = start_log(directory.logs, "deploy", hide=secrets.hide)
    with lab_lock(directory, "deploy"):
        try:
            raise ValueError("letmein-2018")  # noqa: EM101, TRY301 -- for its traceback
        except ValueError:
            logging.getLogger("labkit").exception("it was %s", "letmein-2018")
    text = Path(handler.path).read_text(encoding="utf-8")
    assert "it was ********" in text
    assert "ValueError: ********" in text
    assert "2018-" not in text.replace("letmein", "")


@given(st.lists(st.integers(min_value=1, max_value=9), min_size=1, max_size=12))
def test_output_in_pieces_is_whole_and_no_word_of_it_is_cut(sizes: list[int]) -> None:
    text = "Réseau  letmein-2018\nüber letmein-2018 end"
    raw, pieces, texts = text.encode(), Pieces(), []
    while raw:
        for size in sizes:
            texts.append(pieces.whole(raw[:size]))
            raw = raw[size:]
    assert "".join(texts) + pieces.rest == text
    assert all(part == "" or part[-1].isspace() for part in texts)
