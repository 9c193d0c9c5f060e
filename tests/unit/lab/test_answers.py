from __future__ import annotations

import configparser

from hypothesis import given
from hypothesis import strategies as st

from labkit.lab import answers, options

# Keys of which Packstack judges nothing, so that only its parser is in the way.
FREE = tuple(
    option.key
    for option in options.options()
    if not (option.validators or option.allowed or option.random)
    and "bool" not in option.processors
    and option.key != options.DEFAULT_PASSWORD
)
HOSTILE = st.lists(
    st.sampled_from([*"aB1 =:;#%(){}[]'\"\\$`|&\t\n\0,.ü", "%(", " ;", '""']), max_size=12
).map("".join)


def read_as_packstack_does(text: str) -> dict[str, str]:
    """Read a file with Python's own parser, set to what that of Python 2.7 does.

    Its interpolation happens at '%(' alone, and `options.problem` lets none of those through.
    """
    parser = configparser.RawConfigParser(
        delimiters=("=", ":"),
        comment_prefixes=("#", ";"),
        inline_comment_prefixes=(";",),
        strict=True,
        empty_lines_in_values=False,
    )
    parser.read_string(text)
    assert parser.sections() == ["general"]
    return {key.upper(): value for key, value in parser["general"].items()}


@given(st.dictionaries(st.sampled_from(FREE), HOSTILE | st.text(max_size=8), max_size=6))
def test_accepted_values_are_read_back_exactly(wanted: dict[str, str]) -> None:
    accepted = {key: value for key, value in wanted.items() if options.problem(key, value) is None}
    text = answers.render(accepted, asked=frozenset(accepted))
    assert "%(" not in text
    assert read_as_packstack_does(text) == accepted
    assert answers.parse(text) == accepted


def test_render_groups_hosts_scenario_own_keys_and_secrets() -> None:
    text = answers.render(
        {
            "CONFIG_KEYSTONE_ADMIN_PW": "secret",
            "CONFIG_SERVICE_WORKERS": "2",
            "CONFIG_CONTROLLER_HOST": "192.0.2.1",
            "CONFIG_NTP_SERVERS": "",
        },
        asked=frozenset({"CONFIG_SERVICE_WORKERS"}),
    )
    assert text == (
        "[general]\n"
        "\n# where everything runs: all eight host keys, always together\n"
        "CONFIG_CONTROLLER_HOST=192.0.2.1\n"
        "\n# what the scenario asks for\n"
        "CONFIG_NTP_SERVERS=\n"
        "\n# what deployment.answers of the lab file asks for\n"
        "CONFIG_SERVICE_WORKERS=2\n"
        "\n# secrets: made once for this lab and never changed\n"
        "CONFIG_KEYSTONE_ADMIN_PW=secret\n"
    )


def test_parse_takes_a_file_that_packstack_wrote_again() -> None:
    text = (
        "[general]\n\n# a comment\0 with a NUL byte\n"
        'CONFIG_A=  1 \nconfig_b: two ;three\nCONFIG_C=\nCONFIG_D = ;x\nCONFIG_E=""\n'
        "; CONFIG_F=no\n  CONFIG_G=continues\nnonsense\n[other]\nCONFIG_H=no\n"
    )
    assert answers.parse(text) == {
        "CONFIG_A": "1",
        "CONFIG_B": "two",
        "CONFIG_C": "",
        "CONFIG_D": ";x",
        "CONFIG_E": "",
    }


@given(st.text())
def test_parse_takes_any_text(text: str) -> None:
    assert all(key for key in answers.parse(f"[general]\n{text}"))


def test_masked_text_holds_no_secret_and_all_else() -> None:
    values = {option.key: f"value-{index}" for index, option in enumerate(options.options())}
    text = answers.masked(answers.render(values))
    shown = answers.parse(text)
    assert set(shown) == set(values)
    for option in options.options():
        hidden = option.secret
        assert shown[option.key] == (answers.MASK if hidden else values[option.key])


def test_masked_text_shows_that_a_secret_is_empty() -> None:
    assert answers.masked("CONFIG_RH_PW=\nconfig_rh_pw = x\n") == (
        f"CONFIG_RH_PW=\nconfig_rh_pw ={answers.MASK}\n"
    )


def test_secrets_of_answers_leave_out_those_of_services_that_are_not_installed() -> None:
    assert answers.secrets_of(
        {
            "CONFIG_HEAT_DB_PW": "PW_PLACEHOLDER",
            "CONFIG_HEAT_AUTH_ENC_KEY": "madeupateveryrun",
            "CONFIG_SWIFT_HASH": "0123456789abcdef",
            "CONFIG_RH_PW": "",
            "CONFIG_MARIADB_PW": "kept",
            "CONFIG_SERVICE_WORKERS": "2",
        }
    ) == {"CONFIG_MARIADB_PW": "kept", "CONFIG_SWIFT_HASH": "0123456789abcdef"}


def test_case_21_masked_text_shows_no_password_of_a_url() -> None:
    text = answers.masked("CONFIG_REPO=http://me:hunter2@h.example/a,http://h.example/b\n")
    assert text == "CONFIG_REPO=http://***@h.example/a,http://h.example/b\n"
