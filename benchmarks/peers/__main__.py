"""Time and accuracy of Graft and of other libraries: `make peers DATASET=path BACKBONE=local/NAME RUNS=3 PEERS='a b'`.

All have the same images, the same split and the same weights. A run is a cold job of Graft (with an emptied feature
cache), a warm one, the same again, and then each peer's, all with the run's number as their seed. A peer that fails
is skipped in later runs.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING

from benchmarks.job import clear_features, measure_job
from benchmarks.machine import describe
from benchmarks.material import BACKBONES, build_parser, scratch
from benchmarks.peers import peer
from benchmarks.peers.inputs import Inputs
from benchmarks.peers.outcome import Outcome
from benchmarks.peers.table import COLD, WARM, format_table
from demo.standalone import standalone
from graft.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


def main() -> None:
    """Run the comparison and print a table in Markdown."""
    parser = build_parser("make peers", __doc__)
    parser.add_argument("--runs", type=int, default=3, help="number of jobs of each; medians are printed")
    parser.add_argument("--peers", nargs="+", choices=peer.PEERS, default=list(peer.PEERS), help="these alone")
    chosen = parser.parse_args()
    outcomes: dict[str, list[Outcome]] = defaultdict(list)
    failures: dict[str, str] = {}
    with scratch(chosen.dataset) as (folder, dataset):
        inputs = Inputs.prepare(dataset, BACKBONES / chosen.backbone.removeprefix("local/"), folder / "inputs")
        for job, outcome in run_jobs(inputs, folder / "data", chosen.peers, chosen.runs):
            print(f"{job}: {outcome}", flush=True)
            if isinstance(outcome, Outcome):
                outcomes[job].append(outcome)
            else:
                failures[job] = str(outcome)
    print(f"\n### {chosen.backbone} on {dataset.name}: {inputs.counts}\n\n{describe()}. {chosen.runs} paired runs.\n")
    print(format_table(outcomes, failures))


def run_jobs(
    inputs: Inputs, data: Path, peers: Sequence[str], runs: int
) -> Iterator[tuple[str, Outcome | peer.PeerFailed]]:
    """Run all jobs in turns and yield each outcome; the peers' environments are installed before, unmeasured."""
    ready = []
    for name in peers:
        print(f"Installing {name}", flush=True)
        try:
            peer.install(name)
            ready.append(name)
        except peer.PeerFailed as error:
            yield peer.PEERS[name], error
    with standalone(data, BACKBONES) as address, Client(address) as client:
        began = time.perf_counter()
        dataset = client.wait_for_dataset(client.create_dataset(inputs.dataset)["id"])["id"]
        print(f"Dataset sent and validated, once for all jobs, in {time.perf_counter() - began:.1f} s", flush=True)
        for seed in range(runs):
            clear_features(data / "cache")
            for kind in (COLD, WARM):
                yield kind, run_graft(client, dataset, inputs.backbone.name, seed)
            for name in tuple(ready):
                outcome = try_peer(name, inputs, seed)
                if isinstance(outcome, peer.PeerFailed):
                    ready.remove(name)
                yield peer.PEERS[name], outcome


def run_graft(client: Client, dataset: str, backbone: str, seed: int) -> Outcome:
    """Run a job of Graft with the empty recipe through its HTTP API."""
    job = measure_job(client, dataset, f"local/{backbone}", {"seed": seed})
    return Outcome(
        process_seconds=job["total"],
        seconds=job["total"],
        epochs=job["epochs"],
        epoch_seconds=job["cached_epoch"],
        validation=job["validation"],
        test=job["accuracy"],
    )


def try_peer(name: str, inputs: Inputs, seed: int) -> Outcome | peer.PeerFailed:
    """Run a peer's job, or return its error."""
    try:
        return peer.run(name, inputs, seed)
    except peer.PeerFailed as error:
        return error


if __name__ == "__main__":
    main()
