"""The reference of the API is fresh, and has an example for each operation."""

from __future__ import annotations

import re

from tools.api_examples import EXAMPLES, VARIABLES, Example
from tools.api_page import PAGE, render_page, write_curl, write_python
from tools.generated import describe_api


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_page(describe_api()), "docs/api.md is stale, run: make docs"


def test_each_operation_has_an_example_and_no_other_has() -> None:
    paths = describe_api()["paths"]
    assert {f"{method.upper()} {path}" for path, operations in paths.items() for method in operations} == set(EXAMPLES)
    parameters = {name for path in paths for name in re.findall(r"\{(\w+)\}", path)}
    assert parameters == {*VARIABLES, "name"}


def test_links_lead_to_headings() -> None:
    page = render_page(describe_api())
    headings = {line.lstrip("# ").lower().replace(" ", "-") for line in page.splitlines() if line.startswith("#")}
    assert set(re.findall(r"\]\(#(.*?)\)", page)) <= headings


def test_an_example_is_the_same_request_in_curl_and_in_python() -> None:
    example = Example(query={"ids": "$JOB,$OTHER"}, json={"dataset": "$DATASET", "models": ["a $X"]}, output="a.txt")
    assert write_curl("POST", "/v1/jobs/{job_id}/x", example) == (
        'curl -s -o a.txt "localhost:8000/v1/jobs/$JOB/x?ids=$JOB,$OTHER" '
        '--json \'{"dataset": "\'$DATASET\'", "models": ["a \'$X\'"]}\''
    )
    assert write_python("POST", "/v1/jobs/{job_id}/x", example) == (
        'answer = api.post(f"/v1/jobs/{job}/x", params={"ids": f"{job},{other}"}, '
        'json={"dataset": dataset, "models": [f"a {x}"]}).raise_for_status()\n'
        'open("a.txt", "wb").write(answer.content)'
    )
