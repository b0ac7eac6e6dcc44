"""A whole job of Graft and of its peers, in turns: `make peers DATASET=path BACKBONE=local/NAME RUNS=3 PEERS='a b'`.

All have the same images, the same split and the same weights. A run is a cold job of Graft (with an emptied feature
cache), a warm one, the same again, and then each peer's, all with the run's number as their seed. A peer that fails
takes no further part.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING

from benchmarks.floor import BACKBONES
from benchmarks.job import empty, measured
from benchmarks.machine import describe
from benchmarks.material import arguments, scratch
from benchmarks.peers import peer
from benchmarks.peers.ground import Ground
from benchmarks.peers.outcome import Outcome
from benchmarks.peers.table import COLD, WARM, table
from demo.standalone import standalone
from graft.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = arguments("make peers", __doc__)
    parser.add_argument("--runs", type=int, default=3, help="so many jobs of each; medians of them are printed")
    parser.add_argument("--peers", nargs="+", choices=peer.PEERS, default=list(peer.PEERS), help="these alone")
    chosen = parser.parse_args()
    outcomes: dict[str, list[Outcome]] = defaultdict(list)
    failures: dict[str, str] = {}
    with scratch(chosen.dataset) as (folder, dataset):
        ground = Ground.prepare(dataset, BACKBONES / chosen.backbone.removeprefix("local/"), folder / "ground")
        for job, outcome in jobs(ground, folder / "data", chosen.peers, chosen.runs):
            print(f"{job}: {outcome}", flush=True)
            if isinstance(outcome, Outcome):
                outcomes[job].append(outcome)
            else:
                failures[job] = str(outcome)
    print(f"\n### {chosen.backbone} on {dataset.name}: {ground.counts}\n\n{describe()}. {chosen.runs} paired runs.\n")
    print(table(outcomes, failures))


def jobs(
    ground: Ground, data: Path, peers: Sequence[str], runs: int
) -> Iterator[tuple[str, Outcome | peer.PeerFailed]]:
    """What each job took and gave, one after another; the peers' environments are made before, outside the measure."""
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
        dataset = client.wait_for_dataset(client.create_dataset(ground.dataset)["id"])["id"]
        print(f"Dataset sent and validated, once for all jobs, in {time.perf_counter() - began:.1f} s", flush=True)
        for seed in range(runs):
            empty(data / "cache")
            for kind in (COLD, WARM):
                yield kind, graft_job(client, dataset, ground.backbone.name, seed)
            for name in tuple(ready):
                outcome = attempted(name, ground, seed)
                if isinstance(outcome, peer.PeerFailed):
                    ready.remove(name)
                yield peer.PEERS[name], outcome


def graft_job(client: Client, dataset: str, backbone: str, seed: int) -> Outcome:
    """A job with the empty recipe through the HTTP interface."""
    job = measured(client, dataset, f"local/{backbone}", {"seed": seed})
    return Outcome(
        process_seconds=job["total"],
        seconds=job["total"],
        epochs=job["epochs"],
        epoch_seconds=job["cached_epoch"],
        validation=job["validation"],
        test=job["accuracy"],
    )


def attempted(name: str, ground: Ground, seed: int) -> Outcome | peer.PeerFailed:
    """One job of a peer, or why there is none."""
    try:
        return peer.run(name, ground, seed)
    except peer.PeerFailed as error:
        return error


if __name__ == "__main__":
    main()
