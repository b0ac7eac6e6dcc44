"""Ladder of candidates: train by one recipe after another, the cheapest first, and select the best.

Of several backbones the first recipe tries all, and each later one the better half of those before it, by their
validation loss (successive halving; Jamieson & Talwalkar, 2016, arXiv:1502.07943). One that cannot be used is left out.
The head alone is tried on feature maps of several depths too, and, with the better pooling, on larger images (Touvron
et al., 2019, arXiv:1906.06423), where images have the pixels; later recipes go on with the size that was better.

A candidate is selected where its loss on the validation images, after its temperature, is smaller than that of the best
so far, and it does not classify fewer of them correctly beyond the noise of that difference. Only what is delivered is
tested. Each candidate's recipe is that of an ordinary job, which gives the same checkpoint.

What was decided is in the snapshot: an attempt that resumes decides nothing again.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.backbones.errors import BackboneError, NoBackboneUsable
from models.catalog.quality import LEAST_EPOCHS, list_candidates
from models.catalog.recipe import Recipe
from models.evaluation.calibration import fit_temperature
from models.evaluation.metrics import compute_binary_losses, compute_losses
from models.features.trunk import FeaturesNotFinite
from models.messages import CandidateTried, Diagnosed, EpochEnded, Noted, PhaseStarted, Progressed, RecipeResolved
from models.networks.tracing import SurgeryError
from models.pipeline.candidate_costs import count_checkpoint_bytes, measure_epoch_seconds, measure_latency
from models.pipeline.ladder_choices import ImagesTooSmall, choose_larger_side, find_best_of_each, keep_better_half
from models.pipeline.setup import prepare
from models.pipeline.snapshots import collect_state
from models.pipeline.train_recipe import Trained, load_training, train_recipe
from models.training.class_priors import compute_class_weights
from models.training.loop import TrainingDiverged

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from models.catalog.quality import Candidate
    from models.messages import Event
    from models.pipeline.train_recipe import Inputs

SHARE_OF_TIME = 0.8
"""Share of the seconds left that a candidate's epochs are planned to take."""
CONVINCING_IMAGES = 100
"""Validation images without a mistake after which no more is tried: of all images, 3% at most are then missed (95%)."""
TRIES_MORE = "head_not_enough"
"""Finding that advises a quality, which the job has."""


def climb(inputs: Inputs, state: dict[str, Any] | None) -> Generator[Event, None, Trained]:
    """Try the candidates of the spec's recipe, from the first one or where a snapshot's `state` was taken.

    Returns the best one's training. Raises BackboneError, SurgeryError, FeaturesNotFinite, TrainingDiverged.
    """
    ladder = Ladder(inputs, None if state is None else state["ladder"])
    tried, chosen, number = ladder.state["tried"], list(ladder.backbones), 0
    for candidate in ladder.candidates:
        if number:
            chosen = keep_better_half(chosen, tried[:number])
        for backbone in chosen:
            number += 1
            if number > len(tried):
                yield from ladder.try_candidate(number, candidate, backbone, state)
        if ladder.state["best"] is None:
            reasons = "; ".join(f"{one['backbone']}: {one['reason']}" for one in tried)
            raise NoBackboneUsable(f"None of the {len(chosen)} backbones can be used. {reasons}")
    return (yield from ladder.deliver())


class Ladder:
    """Tries candidates in their order, and keeps the training of the best."""

    def __init__(self, inputs: Inputs, state: dict[str, Any] | None) -> None:
        """Start at the first candidate, or where `state` was saved."""
        wanted = inputs.spec.recipe.model_dump(mode="json")
        self.state: dict[str, Any] = state or {"wanted": wanted, "tried": [], "running": None, "best": None}
        """What snapshots keep: the recipe, what was tried, the candidate that is being trained, and the best one."""
        self.candidates = list_candidates(Recipe.model_validate(self.state["wanted"]))
        self.backbones = {backbone.name: backbone for backbone in inputs.spec.backbones or (inputs.spec.backbone,)}
        """All backbones by name, in the order in which they were named."""
        self._inputs = inputs
        inputs.snapshotter.ladder = self.state
        self._best: Trained | None = None
        self._phases: set[str] = set()

    def try_candidate(
        self, number: int, candidate: Candidate, backbone: str, state: dict[str, Any] | None
    ) -> Iterator[Event]:
        """Train a backbone by a candidate's recipe, or leave it out; `state` is a snapshot, perhaps of its training."""
        began = time.monotonic()
        try:
            if self.state["running"] is None:
                planned = self._plan(candidate, backbone).model_dump(mode="json")
                self.state["running"] = {"backbone": backbone, "recipe": planned, "epochs": [], "diagnosis": {}}
                state = None
            trained = yield from self._train(number, candidate.name, state)
            tried = self._compare(number, candidate.name, trained, time.monotonic() - began)
        except (_LeftOut, ImagesTooSmall, BackboneError, SurgeryError, FeaturesNotFinite, TrainingDiverged) as error:
            if len(self.backbones) == 1 and self.state["best"] is None:
                raise
            tried = CandidateTried(
                number=number,
                name=candidate.name,
                backbone=backbone,
                recipe=candidate.recipe.model_dump(mode="json"),
                reason=str(error),
                seconds=round(time.monotonic() - began, 3),
            )
        self.state["tried"].append(tried.model_dump())
        self.state["running"] = None
        yield tried
        yield from self._inputs.snapshotter.save_ladder()

    def deliver(self) -> Generator[Event, None, Trained]:
        """Return the best candidate's training, and report its recipe, its epochs and its diagnosis as the job's."""
        best = self.state["best"]
        trained = self._best or self._load(best)
        yield RecipeResolved(recipe=best["recipe"])
        for ended in best["epochs"]:
            yield EpochEnded.model_validate(ended)
        yield Diagnosed(diagnosis=best["diagnosis"])
        tried = sum(candidate["reason"] is None for candidate in self.state["tried"])
        found = self.state["tried"][best["number"] - 1]
        yield Noted(
            kind="candidate_delivered",
            message=f"{found['name']} of {found['backbone']} is delivered, "
            + (f"the best of {tried} candidates on the validation images" if tried > 1 else "the only one tried")
            + f": {found['validation_accuracy']:.1%} classified correctly",
            data={"number": best["number"], "name": found["name"], "backbone": found["backbone"]},
        )
        return trained._replace(stop_reason=self._inputs.stop_condition.reason or trained.stop_reason)

    def _plan(self, candidate: Candidate, backbone: str) -> Recipe:
        """Plan a candidate: the size of its images, and as many epochs as fit the time that is left.

        Raises _LeftOut, ImagesTooSmall, BackboneError, InputSizeUnsupported.
        """
        best, stop, recipe = self.state["best"], self._inputs.stop_condition, candidate.recipe
        if best is None:
            return recipe
        self._leave_out_if_over()
        if not best["misses"].any() and len(best["misses"]) >= CONVINCING_IMAGES:
            raise _LeftOut("the best so far makes no mistake on the validation images, which can show no better one")
        recipe = self._choose_size(candidate, backbone)
        if not recipe.cut.trains:
            self._require_time(recipe, backbone)
        if not recipe.cut.trains or math.isinf(stop.seconds_left):
            return recipe
        seconds = measure_epoch_seconds(self._narrow(recipe, backbone))
        self._leave_out_if_over()
        left = stop.seconds_left
        epochs = min(recipe.most_epochs, int(SHARE_OF_TIME * left / seconds))
        least = min(recipe.most_epochs, LEAST_EPOCHS)
        if epochs < least:
            raise _LeftOut(f"{least} epochs would take about {least * seconds:,.0f} s, and {left:,.0f} s are left")
        return recipe.model_copy(update={"epochs": epochs})

    def _choose_size(self, candidate: Candidate, backbone: str) -> Recipe:
        """Choose the images' size: larger, with the best pooling so far, or that of the backbone's best candidate."""
        recipe, so_far = candidate.recipe, find_best_of_each(self.state["tried"]).get(backbone)
        if so_far is None or recipe.image_size != "auto":
            if candidate.is_larger:
                raise _LeftOut("the recipe has an image_size")
            return recipe
        side: int = so_far["recipe"]["image_size"]
        if candidate.is_larger:
            spec = self._inputs.spec
            side = choose_larger_side(self.backbones[backbone], spec.local_backbones, side, self._inputs.pack)
            recipe = Recipe.model_validate({**recipe.model_dump(), "pooling": so_far["recipe"]["pooling"]})
        return recipe.model_copy(update={"image_size": side})

    def _require_time(self, recipe: Recipe, backbone: str) -> None:
        """Leave a head alone out that may take more than its share of the time that is left. Raises _LeftOut."""
        so_far, left = find_best_of_each(self.state["tried"]).get(backbone), self._inputs.stop_condition.seconds_left
        seconds = so_far["seconds"] * (recipe.image_size / so_far["recipe"]["image_size"]) ** 2 if so_far else 0.0
        if seconds > SHARE_OF_TIME * left:
            raise _LeftOut(f"it would take about {seconds:,.0f} s, and {left:,.0f} s are left")

    def _leave_out_if_over(self) -> None:
        """Leave a candidate out where the job is to stop. Raises _LeftOut."""
        if (reason := self._inputs.stop_condition.reason) is not None:
            raise _LeftOut("the job was stopped" if reason == "stopped" else "the time budget is used up")

    def _narrow(self, recipe: Recipe, backbone: str) -> Inputs:
        """Narrow the job's inputs to one candidate, which has the same revision of the backbone as others of it."""
        changes = {"recipe": recipe, "backbone": self.backbones[backbone]}
        return replace(self._inputs, spec=self._inputs.spec.model_copy(update=changes))

    def _train(self, number: int, name: str, state: dict[str, Any] | None) -> Generator[Event, None, Trained]:
        """Train by the running candidate's recipe; its epochs and its diagnosis are kept until it is delivered."""
        running = self.state["running"]
        inputs = self._narrow(Recipe.model_validate(running["recipe"]), running["backbone"])
        events = _Returning(train_recipe(inputs, state if state and "training" in state else None))
        for event in events:
            if isinstance(event, EpochEnded):
                running["epochs"].append(event.model_dump())
            elif isinstance(event, RecipeResolved):
                running["recipe"] = event.recipe
            elif isinstance(event, Diagnosed):
                findings = [one for one in event.diagnosis["findings"] if one["kind"] != TRIES_MORE]
                running["diagnosis"] = {**event.diagnosis, "findings": findings}
            elif not (isinstance(event, Noted) and event.kind == TRIES_MORE):
                yield from self._pass_on(number, name, running["backbone"], event)
        return events.value

    def _pass_on(self, number: int, name: str, backbone: str, event: Event) -> Iterator[Event]:
        """Pass on an event of a candidate's training as one of the whole job."""
        match event:
            case PhaseStarted():
                if not self._phases & {event.phase, "training"}:
                    self._phases.add(event.phase)
                    yield event
            case Progressed():
                done = (number - 1 + event.percent / 100) / self._count_planned()
                tried = {"candidate": f"{name} of {backbone}", "percent": round(99 * done, 1), "eta_seconds": None}
                yield event.model_copy(update=tried)
            case Noted():
                of_which = name if len(self.backbones) == 1 else f"{name} of {backbone}"
                message, data = f"{of_which}: {event.message}", {**event.data, "candidate": name, "backbone": backbone}
                yield event.model_copy(update={"message": message, "data": data})
            case _:
                yield event

    def _count_planned(self) -> int:
        """Count the candidates that are tried, if each backbone can be."""
        return sum(max(1, len(self.backbones) >> rung) for rung in range(len(self.candidates)))

    def _compare(self, number: int, name: str, trained: Trained, seconds: float) -> CandidateTried:
        """Compare a candidate with the best so far, and keep the better one."""
        ready, training = trained.ready, trained.training
        labels = ready.validation.labels
        logits = training.validation_logits / fit_temperature(training.validation_logits, labels)
        losses, misses = judge(logits, labels, compute_class_weights(training.run).numpy())
        hits = logits.argmax(1) == labels if labels.ndim == 1 else ((logits > 0) == (labels > 0)).mean(1)
        best, running = self.state["best"], self.state["running"]
        if ready.backbone.revision is not None:
            pinned = self.backbones[running["backbone"]].model_copy(update={"commit": ready.backbone.revision})
            self.backbones[running["backbone"]] = pinned
        is_better = best is None or (
            # Of stages that no step has made better, the probe is delivered, which an earlier candidate was.
            (training.best_epoch > 0 or not ready.recipe.cut.trains)
            and is_improvement(losses, misses, best["losses"].numpy(), best["misses"].numpy())
        )
        if is_better:
            self._best = trained
            self.state["best"] = {
                **running,
                "number": number,
                "losses": torch.from_numpy(losses),
                "misses": torch.from_numpy(misses),
                **_shed(collect_state(training)),
            }
        return CandidateTried(
            number=number,
            name=name,
            backbone=running["backbone"],
            recipe=running["recipe"],
            is_better=is_better,
            validation_accuracy=float(np.mean(hits)),
            validation_loss=float(np.mean(compute_losses(logits, labels))),
            validation_images=len(labels),
            epochs=len(running["epochs"]),
            seconds=round(seconds, 3),
            checkpoint_bytes=count_checkpoint_bytes(ready, training.model),
            seconds_per_image=measure_latency(ready),
        )

    def _load(self, best: dict[str, Any]) -> Trained:
        """Load the best candidate's training from a snapshot."""
        inputs = self._narrow(Recipe.model_validate(best["recipe"]), best["backbone"])
        ready = replace(prepare(inputs.spec, inputs.pack, inputs.context), probe=None, open_probe=None)
        training = load_training(inputs, ready, best)
        training.use_weights(training.selection.state)
        return Trained(ready, training, training.stop_reason)


def judge(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute each image's loss and miss, (n,), by the weights of the classes, (C,).

    Of several labels an image, the mean over labels, of which those that it has are weighted, as in training.
    """
    if labels.ndim == 1:
        of_images = weights[labels]
        return of_images * compute_losses(logits, labels), of_images * (logits.argmax(1) != labels)
    of_labels = np.where(labels > 0, weights, 1.0)
    losses, misses = compute_binary_losses(logits, labels), (logits > 0) != (labels > 0)
    return (of_labels * losses).mean(1), (of_labels * misses).mean(1)


def is_improvement(losses: np.ndarray, misses: np.ndarray, best_losses: np.ndarray, best_misses: np.ndarray) -> bool:
    """Tell whether a candidate is better than the best so far, by each validation image's loss and miss, (n,).

    Its mean loss is smaller, and it does not miss more by more than the standard error of that difference, if both were
    equally good (McNemar, 1947): Σd ≤ √Σd² for the differences d of the misses.
    """
    if np.mean(losses) >= np.mean(best_losses):
        return False
    more = misses - best_misses
    return bool(np.sum(more) <= math.sqrt(np.sum(more**2)))


class _LeftOut(Exception):
    """A candidate is not tried; says why."""


class _Returning:
    """Iterates over a generator's events, and then has what it returns."""

    value: Trained

    def __init__(self, events: Generator[Event, None, Trained]) -> None:
        self._events = events

    def __iter__(self) -> Iterator[Event]:
        self.value = yield from self._events


def _shed(state: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a finished training's state what only further steps need: the optimizer's moments."""
    training = state["training"]
    step = {**training["train_step"], "moments": {}}
    return {**state, "training": {**training, "train_step": step, "improved_state": None}}
