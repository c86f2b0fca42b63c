"""How long a report of many score rows takes, and how much memory.

    python -m tests.benchmarks.report_scale [ROWS]

Prints the seconds, the processor seconds and the peak memory of `bob bio recon report` on a score
file of ROWS rows (1,000,000): 1,000 people, most of them against most, and both attacks.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

_HEADER = (
    "probe_template_id,probe_subject_id,bio_ref_template_id,bio_ref_subject_id,score,"
    "probe_attack_type\n"
)
_PEOPLE = 1000


def write_scores(path: Path, rows: int, seed: int = 0) -> None:
    """Write a score file of so many rows: 96 % bona fide, 2 % of each attack."""
    draw = np.random.default_rng(seed)
    attacks = rows // 50
    with path.open("w") as stream:
        stream.write(_HEADER)
        for n in range(rows - 2 * attacks):
            probe, reference = divmod(n % (_PEOPLE * _PEOPLE), _PEOPLE)
            score = draw.normal(0.7 if probe == reference else 0.0, 0.12)
            stream.write(
                f"s{probe:04d}/{n},s{probe:04d},s{reference:04d}/0,s{reference:04d},{score:.6f},\n"
            )
        for kind, mean in (("type1", 0.5), ("type2", 0.4)):
            for n in range(attacks):
                name = f"s{n % _PEOPLE:04d}"
                score = draw.normal(mean, 0.12)
                stream.write(f"{kind}/{name}/{n},{name},{name}/0,{name},{score:.6f},{kind}\n")


def peak_kb() -> int:
    """Peak memory of this program; getrusage would count that of whoever started it."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def main(rows: int = 1_000_000) -> dict[str, float]:
    """Report on `rows` rows; return what it took."""
    with tempfile.TemporaryDirectory() as folder:
        scores = Path(folder, "scores-dev.csv")
        write_scores(scores, rows)
        start, cpu = time.perf_counter(), time.process_time()
        from bob_recon_plugin.report.build import Options, write_report

        write_report([scores], Path(folder, "report.html"), Options())
        return {
            "rows": rows,
            "seconds": round(time.perf_counter() - start, 1),
            "processor_seconds": round(time.process_time() - cpu, 1),
            "peak_gb": round(peak_kb() / 2**20, 2),
        }


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:2]))))
