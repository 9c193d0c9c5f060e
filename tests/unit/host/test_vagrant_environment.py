from __future__ import annotations

import json
from pathlib import Path

import pytest

from labkit.host.vagrant_environment import (
    Treatment,
    provide_home,
    rules,
    users_home,
    vagrant_environment,
)

HOME = Path("/labs/demo/vagrant/home")
# What Vagrant 2.3.4 and vagrant-libvirt 0.11.2 read, by `grep -o 'VAGRANT_[A-Z_]*'` over both.
READ_BY_VAGRANT = [
    "ALIAS_FILE",
    "ALLOW_PLUGIN_SOURCE_ERRORS",
    "ALLOW_PRERELEASE",
    "APPIMAGE",
    "APPIMAGE_HOST_LD_LIBRARY_PATH",
    "BOX_UPDATE_CHECK_DISABLE",
    "CHECKPOINT_DISABLE",
    "CLOUD_LOG",
    "CLOUD_TOKEN",
    "CWD",
    "DEFAULT_PROVIDER",
    "DEFAULT_TEMPLATE",
    "DETECTED_OS",
    "DISABLE_PLUGIN_INIT",
    "DISABLE_RESOLV_REPLACE",
    "DISABLE_SMBMFSYMLINKS",
    "DISABLE_STRICT_DEPENDENCY_ENFORCEMENT",
    "DISABLE_VBOXSYMLINKCREATE",
    "DOTFILE_PATH",
    "ENABLE_RESOLV_REPLACE",
    "EXPERIMENTAL",
    "FORCE_COLOR",
    "HOME",
    "I_KNOW_WHAT_IM_DOING_PLEASE_BE_QUIET",
    "INSTALLER_EMBEDDED_DIR",
    "INSTALLER_ENV",
    "INSTALL_LOCAL_PLUGINS",
    "IS_HYPERV_ADMIN",
    "LIBVIRT_BOX_FORMAT_VERSION",
    "LIBVIRT_VIRT_SYSPREP_OPERATIONS",
    "LIBVIRT_VIRT_SYSPREP_OPTIONS",
    "LOCAL_PLUGINS_LOAD",
    "LOG_FILE",
    "LOG_MAPPER",
    "LOG_TIMESTAMP",
    "MAX_REBOOT_RETRY_DURATION",
    "NO_COLOR",
    "NO_PARALLEL",
    "NO_PLUGINS",
    "OLD_ENV_PATH",
    "PREFERRED_PROVIDERS",
    "PREFER_SYSTEM_BIN",
    "SERVER_ACCESS_TOKEN_BY_URL",
    "SERVER_URL",
    "SKIP_SUBPROCESS_JAILBREAK",
    "USER_AGENT_PROVISIONAL_STRING",
    "USE_VAGRANT_TRIGGERS",
    "VAGRANTFILE",
]


@pytest.mark.parametrize("ending", [*READ_BY_VAGRANT, "A_VARIABLE_OF_NEXT_YEAR"])
def test_variable_of_vagrant_that_the_user_sets_does_not_reach_it(ending: str) -> None:
    name = f"VAGRANT_{ending}"
    assert vagrant_environment({name: "users"}, HOME).get(name) != "users"


@pytest.mark.parametrize(
    "name",
    [
        *("RUBYOPT", "RUBYLIB", "RUBY_GC_MALLOC_LIMIT", "GEM_HOME", "GEM_PATH"),
        *("BUNDLE_GEMFILE", "BUNDLER_VERSION", "LIBVIRT_DEFAULT_URI", "FOG_RC", "FOG_CREDENTIAL"),
        *("FOG_MOCK", "LC_ALL"),
    ],
)
def test_variable_of_ruby_fog_or_libvirt_that_the_user_sets_does_not_reach_it(name: str) -> None:
    assert vagrant_environment({name: "users"}, HOME).get(name) != "users"


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "TMPDIR", "VAGRANT_LOG", "http_proxy", "LIBVIRT_AUTH_FILE"]
)
def test_variable_that_changes_no_machine_is_kept(name: str) -> None:
    assert vagrant_environment({name: "users"}, HOME)[name] == "users"


def test_environment_of_an_empty_caller_has_what_is_set_and_nothing_else() -> None:
    found = vagrant_environment({}, HOME)
    assert set(found) == {rule.name for rule in rules() if rule.treatment is Treatment.SET}
    assert found["VAGRANT_HOME"] == str(HOME)
    assert all(found.values())


def test_rules_name_each_variable_once_and_no_rule_is_hidden_by_an_earlier_one() -> None:
    for position, rule in enumerate(rules()):
        name = rule.name.removesuffix("*")
        assert not any(earlier.covers(name) for earlier in rules()[:position]), rule.name


def record(home: Path, **installed: object) -> None:
    home.mkdir()
    (home / "gems").mkdir()
    (home / "plugins.json").write_text(json.dumps({"version": "1", "installed": installed}))


def test_home_takes_over_the_provider_and_no_other_plugin(tmp_path: Path) -> None:
    users = tmp_path / "users"
    record(users, **{"vagrant-libvirt": {"gem_version": ""}, "vagrant-vbguest": {}})
    (users / "Vagrantfile").write_text("raise 'the user\\'s'")
    for _ in range(2):
        provide_home(tmp_path / "home", users)
    made = json.loads((tmp_path / "home" / "plugins.json").read_text())
    assert made == {"version": "1", "installed": {"vagrant-libvirt": {"gem_version": ""}}}
    assert (tmp_path / "home" / "gems").resolve() == users / "gems"
    assert {path.name for path in (tmp_path / "home").iterdir()} == {"plugins.json", "gems"}


@pytest.mark.parametrize("known", [None, "", "[]", "{}", '{"installed": []}', "{", "\x80"])
def test_home_without_a_plugin_on_record_is_empty(tmp_path: Path, known: str | None) -> None:
    users = tmp_path / "users"
    record(users, **{"vagrant-libvirt": {}})
    provide_home(tmp_path / "home", users)
    if known is None:
        (users / "plugins.json").unlink()
    else:
        (users / "plugins.json").write_text(known, encoding="latin-1")
    provide_home(tmp_path / "home", users)
    assert not list((tmp_path / "home").iterdir())


@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        ({}, "/home/me/.vagrant.d"),
        ({"VAGRANT_HOME": ""}, "/home/me/.vagrant.d"),
        ({"VAGRANT_HOME": "/big/disk"}, "/big/disk"),
    ],
)
def test_users_home_is_where_vagrant_looks(caller: dict[str, str], expected: str) -> None:
    assert users_home(caller, Path("/home/me")) == Path(expected)
