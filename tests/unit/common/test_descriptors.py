from __future__ import annotations

import os
from contextlib import suppress

import pytest

from exporter.common.descriptors import closing_fd


@pytest.mark.parametrize("fails", [False, True])
def test_a_descriptor_is_open_in_its_block_alone_however_that_ends(*, fails: bool) -> None:
    with suppress(LookupError), closing_fd(os.open("/", os.O_PATH | os.O_CLOEXEC)) as descriptor:
        assert os.fstat(descriptor)
        if fails:
            raise LookupError
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
