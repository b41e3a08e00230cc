"""Why the programs couldn't be loaded or attached, in words: which object, the reason, and how to mend it."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

from exporter.errors import KernelError
from exporter.kernel.verifier import VerifierError
from exporter.limits import limit_hint

_HINTS = {
    "compile": "see that /sys is mounted, and that the checkout is whole and can be read",
    "load": "boot a kernel with CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF and CONFIG_NET_CLS_BPF",
    "attach": "boot a kernel with CONFIG_CGROUP_BPF",
    "pin": "see that bpffs is mounted read-write at /sys/fs/bpf",
}
_FORBIDDEN = {os.strerror(errno.EPERM), os.strerror(errno.EACCES)}
_RIGHTS = (
    "run as root, or with the capabilities that `ci-egress doctor` lists, "
    "where neither seccomp nor a security module forbids bpf(2)"
)


@contextmanager
def failures_told(stage: str, name: str) -> Iterator[None]:
    """Turn an error about `name` into a KernelError: the verifier's reason, a missing right, or a limit."""
    try:
        yield
    except VerifierError as error:
        if error.reason:
            raise KernelError(
                f"cannot load the programs: Linux {platform.release()} refuses {name}: {error.reason}",
                hint="boot another kernel, and report this one with what -v says",
                detail=error.log,
            ) from None
        what = str(error)
    except OSError as error:
        what = error.strerror or str(error)
    else:
        return
    is_forbidden = stage in {"load", "attach"} and what in _FORBIDDEN
    hint = _RIGHTS if is_forbidden else limit_hint(what) or _HINTS[stage]
    raise KernelError(f"cannot {stage} the programs: {name}: {what}", hint=hint)
