"""Quotas by a real kernel, on ext4 and XFS: the cases are those of tests/support/quota_cases.py."""

import os
import sys

import pytest

from tests.support.usermode import within

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root sets quotas"),
]


def test_all_cases_hold_in_a_kernel_that_keeps_quotas(tmp_path):
    options = f"-q -ra --tb=short --durations=5 -p no:cacheprovider -p no:xdist --basetemp={tmp_path}/cases"
    told = within(tmp_path, f"{sys.executable} -m pytest {options} tests/support/quota_cases.py")
    print(told)
    assert " passed" in told
    assert "skipped" not in told
