"""The meaning of hf_xet's texts, as version 1.8 writes them; genuine transfers are in the integration tests."""

import pytest

from bot.errors import ShoalError
from bot.hub.answers.failures import HubUnavailable, TransferFailed, explain_failure

CAS = "https://cas.example/v2/reconstructions/ab"
TOKEN = "https://hub.example/api/models/ada/cod/xet-write-token/main"
RECONSTRUCTION = "Task error: File reconstruction error: CAS Client Error:"


def raised(error, module="huggingface_hub.file_download", function="xet_get"):
    """The error as if this function of the client had raised it."""
    space = {"__name__": module, "error": error}
    exec(f"def {function}():\n    raise error", space)
    try:
        space[function]()
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    "error, kind, words",
    [
        (
            RuntimeError(f"{RECONSTRUCTION} Request error: HTTP status client error (403 Forbidden), domain: {CAS}"),
            TransferFailed,
            "the Xet storage answers 403 (",
        ),
        (
            RuntimeError(f"{RECONSTRUCTION} Request error: HTTP status server error (503 Unavailable), domain: {CAS}"),
            HubUnavailable,
            "the Xet storage does not answer (",
        ),
        (
            RuntimeError(f"{RECONSTRUCTION} Request middleware error: error sending request for url ({CAS})"),
            HubUnavailable,
            "the Xet storage does not answer (",
        ),
        (
            ConnectionError("Network error: reset"),
            HubUnavailable,
            "the Xet storage does not answer (Network",
        ),
        (
            ConnectionError(f"Network error: HTTP status client error (401 Unauthorized), domain: {TOKEN}"),
            TransferFailed,
            "the Hub answers 401 to the request for a Xet write token; check the token's rights",
        ),
        (
            RuntimeError("Task error: File size mismatch: expected 9 bytes but downloaded 0 bytes"),
            TransferFailed,
            "the Xet transfer failed (Task error: File size mismatch",
        ),
        (PermissionError("Authentication error: expired"), TransferFailed, "the Xet transfer failed (Authentication"),
        (FileNotFoundError("Object not found: ab"), TransferFailed, "the Xet transfer failed (Object not found"),
        (
            RuntimeError("Task error: I/O error: No space left on device (os error 28)"),
            ShoalError,
            "the disk is full (Task error: I/O error",
        ),
    ],
)
def test_each_text_of_hf_xet_names_its_true_cause(error, kind, words):
    failed = explain_failure(raised(error), "https://hub.example", ("ada/cod", "model.safetensors"))
    assert (failed.kind, failed.passing) == (kind, False)
    assert failed.text.startswith(f"ada/cod: model.safetensors: {words}")


def test_errors_of_others_are_not_taken_for_the_hub_s():
    for error in (raised(RuntimeError("CUDA"), "torch.cuda", "xet_get"), raised(KeyError("x"), "bot.cycle", "run")):
        assert explain_failure(error, "https://hub.example") is None
