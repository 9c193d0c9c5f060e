"""The names of tests are the same in every worker of a run."""

from __future__ import annotations

import gzip

import pytest

from tests.conftest import pytest_make_parametrize_id


def test_name_of_a_test_made_of_what_gzip_packed_is_refused() -> None:
    with pytest.raises(pytest.UsageError, match="name these tests by ids="):
        pytest_make_parametrize_id(gzip.compress(b"text"))


@pytest.mark.parametrize("value", [b"", b"220 mail.test ESMTP\r\n", "text", None])
def test_name_of_a_test_made_of_another_value_is_left_to_pytest(value: object) -> None:
    assert pytest_make_parametrize_id(value) is None  # type: ignore[func-returns-value]  # a hook
