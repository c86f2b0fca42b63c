"""What the report of many score rows takes: ``python -m tests.many_rows ROWS``.

In a process of its own: memory is counted from its start.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.turns import peak_kb

_PEOPLE = 1000


def report(rows: int) -> dict[str, float]:
    """`bob bio recon report` on many rows: 1,000 people, 2 % of each attack."""
    with tempfile.TemporaryDirectory() as folder:
        scores = Path(folder, "scores-dev.csv")
        _write_scores(scores, rows)
        start, cpu = time.perf_counter(), time.process_time()
        from bob_recon_plugin.report.build import Options, write_report

        write_report([scores], Path(folder, "report.html"), Options())
        return {
            "seconds": time.perf_counter() - start,
            "processor_seconds": time.process_time() - cpu,
            "peak_gb": peak_kb() / 2**20,
        }


def _write_scores(path: Path, rows: int) -> None:
    draw, attacks = np.random.default_rng(0), rows // 50
    columns = "template_id,probe_subject_id,bio_ref_template_id,bio_ref_subject_id,score"
    with path.open("w") as stream:
        stream.write(f"probe_{columns},probe_attack_type\n")
        for n in range(rows - 2 * attacks):
            probe, target = (f"s{i:04d}" for i in divmod(n % _PEOPLE**2, _PEOPLE))
            score = draw.normal(0.7 if probe == target else 0.0, 0.12)
            stream.write(f"{probe}/{n},{probe},{target}/0,{target},{score:.6f},\n")
        for kind, mean in (("type1", 0.5), ("type2", 0.4)):
            for n in range(attacks):
                name, score = f"s{n % _PEOPLE:04d}", draw.normal(mean, 0.12)
                stream.write(f"{kind}/{name}/{n},{name},{name}/0,{name},{score:.6f},{kind}\n")


if __name__ == "__main__":
    print(json.dumps(report(int(sys.argv[1]))))
