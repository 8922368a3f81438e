"""How much memory a process has had, as Linux counts it."""

import re
from collections.abc import Iterable
from pathlib import Path


def peak(pids: Iterable[int]) -> int:
    """The most that any of the processes ever had in memory, in bytes."""
    return max(_high_water_mark(pid) for pid in pids)


def _high_water_mark(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    [kibibytes] = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kibibytes) * 1024
