"""The OpenAPI document: that it is one, and that the running service keeps to it."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import validate
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from support import photos
from support.gateway import Gateway

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
Operation = schemathesis.APIOperation[Any, Any, Any, Any]
MODEL = "nanodet-g"
DETECT = ("/v1/detect", "POST")
EXAMPLES = 25  # of each operation and mode; a detection takes a tenth of a second


@pytest.fixture(scope="module")
def document(embedded: Gateway) -> dict[str, Any]:
    response = embedded.get("/openapi.json")
    assert response.status_code == 200
    return response.json()


@pytest.fixture(scope="module")
def api(embedded: Gateway) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(embedded.url + "/openapi.json")


def make_real(case: Case[Any]) -> None:
    """Put the real model's name and a real photo where the request has one; what else was generated stays.

    Random text names no model and random bytes are no photo: without this, nothing past those two
    checks would ever be reached.
    """
    if "model" in case.path_parameters:
        case.path_parameters["model"] = MODEL
    if case.media_type is not None:
        case.body = body_with_photo(case.media_type, case.body, case.operation.path.endswith("/batch"))


def body_with_photo(media_type: str, body: Any = None, batch: bool = False) -> Any:
    photo = photos.thumbnail("chelsea")
    if media_type == "application/json" and batch:
        images = [{"image": base64.b64encode(photo).decode()}]
        return {**(body if isinstance(body, dict) else {}), "images": images}
    if media_type == "application/json":
        return {**(body if isinstance(body, dict) else {}), "image": base64.b64encode(photo).decode()}
    if media_type == "multipart/form-data":
        return {**(body if isinstance(body, dict) else {}), "image": [photo] if batch else photo}
    return photo


def test_the_document_is_valid_openapi_31(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    validate(document)


def test_every_operation_says_what_it_is(document: dict[str, Any]) -> None:
    """Swagger UI groups by tag, and client generators name functions after the operationId."""
    operations = [
        (f"{method} {path}", operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in {"get", "post", "put", "patch", "delete"}
    ]
    assert operations
    ids = [operation["operationId"] for _, operation in operations]
    assert len(ids) == len(set(ids))
    unexplained = [name for name, operation in operations if not (operation.get("summary") and operation.get("tags"))]
    assert not unexplained


def test_a_photo_is_accepted_in_every_documented_form(document: dict[str, Any], api: schemathesis.BaseSchema) -> None:
    path, method = DETECT
    forms = document["paths"][path][method.lower()]["requestBody"]["content"]
    assert {"multipart/form-data", "application/json"} < set(forms), "the third form is the raw file"

    for media_type in forms:
        sent_as = "image/jpeg" if media_type == "image/*" else media_type
        case = api[path][method].Case(body=body_with_photo(media_type), media_type=sent_as)
        response = case.call_and_validate(checks=CHECKS)
        assert response.status_code == 200, f"{media_type}: {response.text}"


def test_generated_requests_get_documented_answers(api: schemathesis.BaseSchema, subtests: pytest.Subtests) -> None:
    for operation in operations_of(api):
        with subtests.test(operation.label):
            statuses = fuzz(operation)
            assert statuses[200], statuses


def operations_of(api: schemathesis.BaseSchema) -> Iterator[Operation]:
    for result in api.get_all_operations():
        assert isinstance(result, Ok), result
        yield result.ok()


def plain(operation: Operation) -> Case[Any]:
    """The least request that the operation takes."""
    parameters = {"model": MODEL} if "{model}" in operation.path else {}
    if operation.method.upper() == "GET":
        return operation.Case(path_parameters=parameters)
    body = body_with_photo("application/json", batch=operation.path.endswith("/batch"))
    return operation.Case(path_parameters=parameters, body=body, media_type="application/json")


def fuzz(operation: Operation) -> Counter[int]:
    """Send requests within the documented schema, and others outside of it; count what came back."""
    # What is generated may be refused every time, for a class that does not exist or a region beside the photo.
    statuses: Counter[int] = Counter([plain(operation).call_and_validate(checks=CHECKS).status_code])

    def run(mode: GenerationMode) -> None:
        # Derandomised: a failure is a failure of this commit, and comes again.
        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(mode), real=st.booleans())
        def check(case: Case[Any], real: bool) -> None:
            if real and mode is GenerationMode.POSITIVE:
                make_real(case)
            # A wish for a millisecond is within the schema, and is rightly answered 504.
            if mode is GenerationMode.POSITIVE and "X-Request-Timeout" in case.headers:
                case.headers["X-Request-Timeout"] = "20"
            statuses[case.call_and_validate(checks=CHECKS).status_code] += 1

        check()

    run(GenerationMode.POSITIVE)
    with suppress(Unsatisfiable):  # there is nothing to break where every text is a valid value, or where there is none
        run(GenerationMode.NEGATIVE)
    return statuses
