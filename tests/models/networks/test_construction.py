"""Limits on building networks: nothing that is asked for takes gigabytes."""

from __future__ import annotations

import resource

import pytest
import timm
import torch
from torch import nn

from models.networks import construction
from models.networks.construction import NetworkTooLarge, limit_construction


def test_a_network_within_the_limits_is_built_as_always() -> None:
    with limit_construction():
        torch.manual_seed(0)
        limited = timm.create_model("test_resnet").state_dict()
    torch.manual_seed(0)
    plain = timm.create_model("test_resnet").state_dict()
    assert limited.keys() == plain.keys()
    assert all(torch.equal(limited[name], plain[name]) for name in plain)


def test_layers_parameters_and_seconds_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(construction, "MAX_MODULES", 10)
    with pytest.raises(NetworkTooLarge, match="10 layers"), limit_construction():
        nn.Sequential(*(nn.ReLU() for _ in range(11)))
    with limit_construction():
        nn.Sequential(*(nn.ReLU() for _ in range(10)))
    with pytest.raises(NetworkTooLarge, match="parameters"), torch.device("meta"), limit_construction():
        nn.Linear(10**6, 10**6)
    monkeypatch.setattr(construction, "MAX_SECONDS", -1.0)
    with pytest.raises(NetworkTooLarge, match="seconds"), limit_construction():
        nn.Sequential(nn.ReLU())


def test_memory_is_limited_and_the_limit_is_lifted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(construction, "MAX_BYTES", 100 << 20)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(MemoryError), limit_construction():
        list(range(10**9))
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
