"""What may be a secret in a lab file is in no message about it, and in nothing that is shown of it."""

from __future__ import annotations

import string
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import LabFileError
from labkit.lab import answers, masking, options, scenarios, yaml
from labkit.lab.file import check
from labkit.lab.resolve import resolve
from labkit.lab.topology import Form
from labkit.packstack.repositories import proxy_url, repo_template, without_password
from tests.support.examples import LAB_ID

if TYPE_CHECKING:
    from collections.abc import Callable

LAB = """\
name: demo
box: rehearsal
dns: {{domain: demo.test}}
networks:
  lan: {{mode: nat, cidr: 10.0.0.0/24, gateway: 10.0.0.1}}
nodes:
  one:
    roles: [controller, compute]
    cpus: 1
    memory: 512 MiB
    nics: {{enp0s3: {{network: lan, address: 10.0.0.3}}}}
repos:
  base: {base}
  fallbacks: [{fallback}]
  proxy: {proxy}
deployment:
  scenario: allinone
  form: {form}
  answers: {answers}
{more}
"""
USUAL = {
    "base": "https://vault.example",
    "fallback": "https://other.example",
    "proxy": "http://proxy.example:3128",
    "form": "answer-file",
    "answers": "{CONFIG_SERVICE_WORKERS: 2}",
    "more": "",
}
SECRET_KEYS = st.sampled_from(options.secret_keys())
# Long enough not to be in a message by chance.
WORDS = st.text(string.ascii_letters + string.digits, min_size=12, max_size=20)
# What ends up in YAML beside it: whatever somebody types who knows nothing of quotes.
SIGNS = st.text("*&!|>%@`'\"{}[]#:,?- ~^$;=/\\.\t", max_size=2)
# How a URL with a password stands in the file, and where.
URL_FORMS = (
    "@LOGIN@@proxy.example:3128",
    "@LOGIN@@proxy.example:3128" + "/x" * 40,
    "'@LOGIN@@proxy.example'",
    "@LOGIN@@",
    "[@LOGIN@@proxy.example]",
)
URL_PLACES = (
    {"base": "@"},
    {"fallback": "@"},
    {"proxy": "@"},
    {"more": "proxy: @"},
    {"answers": "{CONFIG_REPO: @}"},
    {"answers": "{CONFIG_REPO: @}", "form": "command"},
    {"answers": "@"},
)


def said(**values: str) -> str:
    """Return all that labkit says about a lab file: its problems, and what it shows of its plan."""
    text = LAB.format(**{**USUAL, **values})
    try:
        lab, problems = check(yaml.parse(text, "lab.yaml"))
    except LabFileError as exc:
        return "\n".join((str(exc), *exc.details, exc.hint or ""))
    lines = [problem.line("lab.yaml") for problem in problems]
    if lab is None or problems:
        return "\n".join([*lines, repr(lab)])
    resolved = resolve(lab, lab_id=LAB_ID)
    call = scenarios.call(resolved, {}).masked()
    places = [without_password(base) for base in resolved.repositories.bases]
    return "\n".join([repr(lab), repr(resolved), *call.argv, call.answer_file or "", *places])


@settings(max_examples=30)
@given(key=SECRET_KEYS, secret=WORDS, before=SIGNS, after=SIGNS, form=st.sampled_from(Form))
def test_case_21_secret_answer_is_in_nothing_that_is_said(
    key: str, secret: str, before: str, after: str, form: Form
) -> None:
    for written in (
        f"{{{key}: {before}{secret}{after}}}",
        f"\n    {key}: {before}{secret}{after}",
        f"\n    {key}: {before}{secret}{after} {secret}: {secret}",
        f"{{{key}: [{before}{secret}{after}, a, ~]}}",
        f"{{{key}: {{{secret}: , {secret}: 1}}}}",
        f"{{{key}_: {before}{secret}{after}}}",
        f"{{{key}_: '{secret}\\n'}}",
        f"\n    {key}={before}{secret}{after}",
        f"[{key}={before}{secret}{after}]",
        f"{{{key}: ,{secret}}}",
    ):
        assert secret not in said(answers=written, form=form)


@settings(max_examples=150)
@given(
    secret=WORDS,
    login=st.tuples(st.sampled_from(["http://", "https://", "socks5://", "HTTP://", ""]), WORDS),
    signs=st.tuples(SIGNS, SIGNS),
    encode=st.sampled_from([str, partial(quote, safe="")]),
    written=st.tuples(st.sampled_from(URL_FORMS), st.sampled_from(URL_PLACES)),
)
def test_case_21_password_of_a_url_is_in_nothing_that_is_said(
    secret: str,
    login: tuple[str, str],
    signs: tuple[str, str],
    encode: Callable[[str], str],
    written: tuple[str, dict[str, str]],
) -> None:
    form, place = written
    url = form.replace("@LOGIN@", f"{''.join(login)}:{encode(secret.join(signs))}")
    assert secret not in said(**{key: text.replace("@", url) for key, text in place.items()})


@pytest.mark.parametrize("key", ["CONFIG_RH_SAT6_KEY", "CONFIG_MANILA_SERVICE_INSTANCE_PASSWORD"])
def test_secret_that_packstack_does_not_mark_is_masked_too(key: str) -> None:
    assert answers.masked(f"{key}=hunter2") == f"{key}={answers.MASK}"


@pytest.mark.parametrize(
    "values",
    [
        {"fallback": "http://user:,hunter2secret@proxy.example"},
        {"fallback": "http://user: hunter2secret@proxy.example"},
        {"base": "'user:hunter2secret'#@proxy.example"},
        {"answers": "{CONFIG_REPO: http://user:,hunter2secret@proxy.example}"},
        {"answers": "{CONFIG_REPO: 'http://user:'hunter2secret@proxy.example}"},
        {"proxy": "user:hunter2secret"},
        {"more": "proxy: [http://user:, hunter2secret@proxy.example]"},
    ],
    ids=lambda values: next(iter(values.values())),
)
def test_case_21_password_that_yaml_cut_off_its_url_is_not_said(values: dict[str, str]) -> None:
    assert "hunter2secret" not in said(**values)


def test_case_21_proxy_with_an_encoded_password_is_accepted_and_decoded_for_yum() -> None:
    written = "http://alice:p%40ss%2Fword@proxy.example.net:3128"
    text = LAB.format(**{**USUAL, "proxy": written})
    lab, problems = check(yaml.parse(text, "lab.yaml"))
    assert problems == []
    assert lab
    resolved = resolve(lab, lab_id=LAB_ID)
    repos = resolved.repositories
    lines = repo_template(repos, resolved.release).splitlines()
    assert "proxy_password=p@ss/word" in lines
    assert "proxy=http://proxy.example.net:3128" in lines
    assert proxy_url(resolved.repositories.proxy) == written


@pytest.mark.parametrize(
    "url",
    [
        "http://alice@proxy.example",
        "http://alice:s3cr3t@proxy.example:3128/",
        "http://alice:a%2Bb%25c%3A@192.0.2.1",
        "http://DOM%5Calice:!$&'()*+,;=:x@[2001:db8::1]:3128",
        "http://b%C3%BCrger:%E7%BD%91@proxy.example",
    ],
)
def test_case_21_url_with_user_and_password_is_accepted(url: str) -> None:
    for key in ("base", "fallback", "proxy"):
        assert "expected" not in said(**{key: f'"{url}"'})


@pytest.mark.parametrize(
    "url",
    [
        "http://alice:p@ss@proxy.example",
        "http://alice:p/w@proxy.example",
        "http://alice:50%@proxy.example",
        "http://alice:%4@proxy.example",
        "http://alice:a b@proxy.example",
        "alice:s3cr3t@proxy.example:3128",
        "http://proxy.example?password=s3cr3t",
    ],
)
def test_case_21_url_that_is_not_encoded_is_refused_with_the_advice_to_encode(url: str) -> None:
    line = said(proxy=f'"{url}"')
    assert "with '%' and two hex digits for each special character" in line
    assert not any(part in line for part in ("alice", "ss@", "s3cr3t", "50%", "a b"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://h.example/a", "https://h.example/a"),
        ("https://me:s@h.example:8/a@b", "https://***@b"),
        ("me:s@h:3128", "***@h:3128"),
        ("me@h", "me@h"),
        ("http://h/?token=x", "http://h/?***"),
        ("CONFIG_KEYSTONE_ADMIN_PW = x", "CONFIG_KEYSTONE_ADMIN_PW =***"),
        ("CONFIG_LBAAS_INSTALL", "CONFIG_LBAAS_INSTALL"),
    ],
)
def test_anything_is_shown_without_what_may_be_a_secret(text: str, shown: str) -> None:
    assert masking.anything(text) == shown
    assert masking.anything(shown) == shown
