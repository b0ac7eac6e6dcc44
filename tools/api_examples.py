"""Examples of the API's operations, from which the reference writes curl and Python for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Example:
    """A request. `$NAME` in texts is an id: a variable of the shell, or of Python in small letters."""

    query: dict[str, Any] = field(default_factory=dict)
    json: dict[str, Any] | None = None
    file: str = ""
    """Sent as the body."""
    headers: dict[str, str] = field(default_factory=dict)
    name: str = ""
    """Stands for {name} of the path, where it is not that of NAMES."""
    output: str = ""
    """File for an answer that is no JSON."""
    not_run: str = ""
    """Reason for which no test runs it."""


VARIABLES = {
    "dataset_id": "$DATASET",
    "job_id": "$JOB",
    "checkpoint_id": "$CHECKPOINT",
    "prediction_id": "$PREDICTION",
    "recommendation_id": "$RECOMMENDATION",
    "upload_id": "$UPLOAD",
    "backbone_id": "$BACKBONE",
    "export_id": "$EXPORT",
    "key_id": "$KEY",
    "digest": "$DIGEST",
}
"""What stands for a parameter of the path."""
NAMES = {"/v1/models": "flowers", "/v1/backbones": "local/rendered_shapes"}
"""What stands for {name}, by the beginning of the path."""
BACKBONE = "timm/mobilenetv3_small_100.lamb_in1k"
TUS = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
LIVE = {"Accept": "text/event-stream"}

EXAMPLES = {
    "POST /v1/datasets": Example(query={"name": "flowers"}, file="photos.tar"),
    "GET /v1/datasets": Example(query={"status": "ready", "limit": 5}),
    "GET /v1/datasets/{dataset_id}": Example(),
    "DELETE /v1/datasets/{dataset_id}": Example(),
    "GET /v1/datasets/{dataset_id}/skipped": Example(query={"limit": 100}),
    "GET /v1/datasets/{dataset_id}/images": Example(query={"label": "rose", "limit": 5}),
    "GET /v1/datasets/{dataset_id}/images/{digest}": Example(query={"size": 256}, output="thumbnail.jpg"),
    "OPTIONS /v1/uploads": Example(headers={"Tus-Resumable": "1.0.0"}, output="protocol.txt"),
    "POST /v1/uploads": Example(headers={**TUS, "Upload-Defer-Length": "1"}, file="photos.tar", output="upload.txt"),
    "GET /v1/uploads/{upload_id}": Example(),
    "PATCH /v1/uploads/{upload_id}": Example(headers={**TUS, "Upload-Offset": "0"}, file="photos.tar"),
    "DELETE /v1/uploads/{upload_id}": Example(headers={"Tus-Resumable": "1.0.0"}),
    "GET /v1/backbones": Example(query={"q": "mobilenet", "max_params": 5_000_000}),
    "GET /v1/backbones/{name}": Example(),
    "POST /v1/backbones/{name}/inspect": Example(),
    "POST /v1/backbones": Example(query={"name": "mine"}, file="best.safetensors"),
    "GET /v1/backbones/{name}/events": Example(name="$BACKBONE", headers=LIVE, output="events.txt"),
    "POST /v1/backbones/{backbone_id}/preprocessing": Example(
        json={"preprocessing": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}},
        not_run="it needs a file of your own",
    ),
    "DELETE /v1/backbones/{name}": Example(name="$BACKBONE"),
    "POST /v1/backbones/recommend": Example(json={"dataset": "$DATASET", "candidates": ["local/rendered_shapes"]}),
    "GET /v1/recommendations": Example(query={"dataset": "$DATASET"}),
    "GET /v1/recommendations/{recommendation_id}": Example(),
    "DELETE /v1/recommendations/{recommendation_id}": Example(),
    "POST /v1/recommendations/{recommendation_id}/cancel": Example(),
    "GET /v1/recommendations/{recommendation_id}/events": Example(headers=LIVE, output="events.txt"),
    "GET /v1/techniques": Example(),
    "POST /v1/recipes/check": Example(
        json={"recipe": {"head": "mlp", "optimizer": "nesterov"}, "dataset": "$DATASET", "backbone": BACKBONE}
    ),
    "POST /v1/jobs": Example(
        json={"dataset": "$DATASET", "backbone": BACKBONE, "recipe": {"epochs": 20}, "metadata": {"team": "garden"}}
    ),
    "GET /v1/jobs": Example(query={"status": "succeeded", "limit": 5}),
    "GET /v1/jobs/compare": Example(query={"ids": "$JOB,$OTHER"}),
    "GET /v1/jobs/{job_id}": Example(),
    "DELETE /v1/jobs/{job_id}": Example(),
    "POST /v1/jobs/{job_id}/cancel": Example(),
    "POST /v1/jobs/{job_id}/pause": Example(),
    "POST /v1/jobs/{job_id}/stop": Example(),
    "POST /v1/jobs/{job_id}/resume": Example(),
    "GET /v1/jobs/{job_id}/events": Example(headers=LIVE, output="events.txt"),
    "GET /v1/jobs/{job_id}/metrics": Example(query={"limit": 1000}),
    "GET /v1/jobs/{job_id}/trials": Example(),
    "GET /v1/jobs/{job_id}/candidates": Example(),
    "GET /v1/jobs/{job_id}/predictions": Example(query={"split": "test", "order": "worst", "limit": 10}),
    "GET /v1/jobs/{job_id}/calibration": Example(),
    "GET /v1/jobs/{job_id}/thresholds": Example(query={"at": "0.8,0.9"}),
    "GET /v1/jobs/{job_id}/slices": Example(query={"by": "size"}),
    "GET /v1/jobs/{job_id}/checkpoints": Example(),
    "GET /v1/checkpoints/{checkpoint_id}": Example(),
    "DELETE /v1/checkpoints/{checkpoint_id}": Example(),
    "GET /v1/checkpoints/{checkpoint_id}/lineage": Example(),
    "POST /v1/checkpoints/retention": Example(json={"keep_best": 3, "keep_newest": 5, "dry_run": True}),
    "GET /v1/checkpoints/{checkpoint_id}/content": Example(output="best.safetensors"),
    "GET /v1/checkpoints/{checkpoint_id}/exports": Example(),
    "GET /v1/checkpoints/{checkpoint_id}/exports/{export_id}": Example(),
    "POST /v1/checkpoints/{checkpoint_id}/push": Example(
        json={"to": "hub", "repo": "ORG/NAME", "token": "hf_…"}, not_run="it needs an account elsewhere"
    ),
    "POST /v1/predict": Example(query={"models": "flowers,$CHECKPOINT", "top_k": 3}, file="photo.jpg"),
    "POST /v1/checkpoints/{checkpoint_id}/predict": Example(query={"top_k": 3}, file="photo.jpg"),
    "POST /v1/models/{name}/predict": Example(query={"top_k": 3}, file="photo.jpg"),
    "POST /v1/checkpoints/{checkpoint_id}/nearest": Example(file="photo.jpg"),
    "POST /v1/models/{name}/nearest": Example(query={"count": 6}, file="photo.jpg"),
    "POST /v1/checkpoints/{checkpoint_id}/saliency": Example(file="photo.jpg", output="map.png"),
    "POST /v1/models/{name}/saliency": Example(query={"class": "rose"}, file="photo.jpg", output="map.png"),
    "POST /v1/predictions": Example(json={"dataset": "$DATASET", "models": ["flowers"]}),
    "GET /v1/predictions": Example(query={"status": "succeeded"}),
    "GET /v1/predictions/{prediction_id}": Example(),
    "DELETE /v1/predictions/{prediction_id}": Example(),
    "POST /v1/predictions/{prediction_id}/cancel": Example(),
    "GET /v1/predictions/{prediction_id}/events": Example(headers=LIVE, output="events.txt"),
    "GET /v1/predictions/{prediction_id}/content": Example(query={"format": "csv"}, output="flowers.csv"),
    "GET /v1/models": Example(),
    "GET /v1/models/{name}": Example(),
    "PUT /v1/models/{name}": Example(json={"checkpoint": "$CHECKPOINT"}),
    "DELETE /v1/models/{name}": Example(),
    "GET /v1/models/{name}/history": Example(),
    "GET /v1/cache": Example(),
    "DELETE /v1/cache": Example(),
    "GET /v1/workers": Example(),
    "POST /v1/keys": Example(json={"name": "ci", "scopes": ["write"], "expires_in": 7776000}),
    "GET /v1/keys": Example(),
    "GET /v1/keys/{key_id}": Example(),
    "DELETE /v1/keys/{key_id}": Example(),
    "GET /healthz": Example(),
    "GET /readyz": Example(),
    "GET /metrics": Example(output="metrics.txt"),
}
"""An example for each operation."""
